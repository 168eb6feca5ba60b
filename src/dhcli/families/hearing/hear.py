"""A whole speech as rows: its pauses made silent, through a recipe, and through an encoder if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    blocks: Iterator[F32] = recipe.rows(speech, before_s, after_s)
    rate, width = recipe.rate, recipe.width
    if encoder is not None:
        blocks, rate, width = encoder.encode(blocks), encoder.rate, encoder.width
    rows = Rows(manner.scratch, rate, width, round(before_s * rate))
    for block in blocks:
        rows.append(block)
    if manner.smoothing_ms and not manner.faithful:
        rows.averaged(manner.smoothing_ms)
    return Heard(rows, pauses.silent, pauses.noise_db)
