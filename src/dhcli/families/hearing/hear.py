"""A whole speech as rows: its pauses made silent, through a recipe, and through an encoder if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.family import Manner, Speech
from dhcli.families.hearing.encoders import Encoder
from dhcli.families.hearing.rows import Rows
from dhcli.sound.pauses import at_rest, find_pauses
from dhcli.sound.recipes import Recipe
from dhcli.types import F32


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole speech."""

    rows: Rows
    silent: bool
    """Nobody speaks in it."""
    noise_db: float | None
    """Loudness of its pauses beside the voice, dB; None where there are none."""


def hear(
    speech: Speech,
    recipe: Recipe,
    encoder: Encoder | None,
    manner: Manner,
    *,
    before_s: float = 0,
    after_s: float = 0,
) -> Heard:
    """Rows of a speech of 16 kHz, which is read two or three times; with silence put before and behind it.

    Raises DhError model.*, output.*, and what `speech` raises.
    """
    pauses = find_pauses(speech)
    if manner.silence == "rest" and not manner.faithful:
        speech = at_rest(speech, pauses)
    rows = _no_rows(manner.scratch, recipe, encoder, before_s)
    for block in _rows(speech, recipe, encoder, before_s, after_s):
        rows.append(block)
    if manner.smoothing_ms and not manner.faithful:
        rows.averaged(manner.smoothing_ms)
    return Heard(rows, pauses.silent, pauses.noise_db)


def _no_rows(scratch: Scratch, recipe: Recipe, encoder: Encoder | None, before_s: float) -> Rows:
    """Beyond the ends is silence; zeros where an encoder makes the rows, as the original programs have it."""
    if encoder is None:
        return Rows(scratch, recipe.rate, recipe.width, round(before_s * recipe.rate), recipe.silence)
    return Rows(scratch, encoder.rate, encoder.width, round(before_s * encoder.rate))


def _rows(speech: Speech, recipe: Recipe, encoder: Encoder | None, before_s: float, after_s: float) -> Iterator[F32]:
    if encoder is None:
        return recipe.rows(speech, before_s, after_s)
    if encoder.recipe not in {None, recipe.name}:
        raise DhError(
            "model.incompatible",
            f"The encoder hears the recipe '{encoder.recipe}', and the model's settings have '{recipe.name}'.",
            hint="Correct `recipe` or `encoder` in `settings` of model.yaml.",
        )
    before_s, after_s = before_s + encoder.before_s, after_s + encoder.after_s
    return encoder.encode(lambda: recipe.rows(speech, before_s, after_s))
