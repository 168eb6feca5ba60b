"""Whisper's encoder: log-mel rows in, the hidden states of all its layers out, 50 a second."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from dhcli.errors import DhError
from dhcli.families.hearing.windows import Windows
from dhcli.families.latent.parts import Part
from dhcli.families.latent.presets import MEL_ROWS, STEPS
from dhcli.families.latent.settings import LatentSettings
from dhcli.types import F32

MARGIN = 50
"""Encoded rows on both sides of a window that neighbours share, 2 s in all, so that nothing jumps every 30 s."""
STEP = 2
"""Rows of sound for one encoded row."""
RANGE = 2.0
"""Below the loudest number of its window a row has its floor: 8 powers of ten, in quarters."""
LAST = "last_hidden_state"
"""Some exports give the last layer under this name, too."""


def whisper(part: Part, settings: LatentSettings) -> Windows:
    """The encoder of a network, with windows of 30 s; see `hearing.encoders.Encoder`."""
    names = _layers(part, settings)

    def ask(window: F32) -> F32:
        floor = window.max() - RANGE
        mel = np.full((MEL_ROWS, window.shape[1]), floor, np.float32)
        mel[: len(window)] = np.maximum(window, floor)
        dtype = next(info.dtype for info in part.network.inputs)
        answers = part.network.run(names, {part.tensors["sound"]: mel.T[None].astype(dtype)}, seldom=True)
        for answer in answers:
            part.check(answer, 1)
        rows = _rows(np.stack(answers, 1)[0] if len(answers) > 1 else answers[0][0], settings)
        return rows[: -(-len(window) // STEP)]

    return Windows(ask, Fraction(50), settings.layers * settings.width, step=STEP, size=STEPS, margin=MARGIN)


def _layers(part: Part, settings: LatentSettings) -> list[str]:
    """The outputs that hold the layers, in order: one with all of them, or one for each."""
    output = next(info for info in part.network.outputs if info.name == part.tensors["output"])
    if len(output.shape) == 4:
        return [output.name]
    alike = [info.name for info in part.network.outputs if len(info.shape) == 3]
    named = [name for name in alike if name != LAST] if len(alike) > settings.layers else alike
    if len(named) != settings.layers:
        raise DhError(
            "model.incompatible",
            f"The network '{part.network.name}' gives {len(named)} layers ({', '.join(alike)}), "
            f"the settings say {settings.layers}.",
            hint="Export whisper's encoder with the hidden states of all its layers, as docs/models.md does.",
        )
    return named


def _rows(states: F32, settings: LatentSettings) -> F32:  # (layers, steps, width) or (steps, layers, width)
    if states.shape[0] == settings.layers:
        states = np.moveaxis(states, 0, 1)
    return np.asarray(states, np.float32).reshape(len(states), settings.layers * settings.width)
