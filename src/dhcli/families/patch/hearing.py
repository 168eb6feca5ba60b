"""What a patch network hears of a speech: for each frame the rows of sound around its time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dhcli.families.family import Manner
from dhcli.families.hearing.rows import Rows
from dhcli.families.patch.settings import PatchSettings
from dhcli.types import F32


@dataclass(frozen=True, slots=True)
class PatchAsked:
    """What a speech asks of one frame."""

    sound: F32
    """The piece of sound, in the layout of the settings."""
    weight: float
    """Of the input `weight`."""
    manner: Manner


@dataclass(frozen=True, slots=True)
class PatchSounds:
    """The pieces of a whole speech; see `families.family.Conditions`."""

    rows: Rows
    settings: PatchSettings
    manner: Manner
    silent: bool
    """Nobody speaks in it."""
    noise_db: float | None

    def at(self, time_s: Fraction) -> PatchAsked:
        """The piece that belongs to a time: its first row is `shift` rows from the one of the time."""
        settings, gain = self.settings, 1.0 if self.manner.gain is None else self.manner.gain
        first = math.floor(time_s * self.rows.rate) + settings.shift
        rows = self.rows.window(first, settings.window) * np.float32(
            settings.scale * (gain if settings.gain == "scale" else 1)
        )
        piece = (rows.T if settings.transposed else rows).reshape(settings.layout)
        return PatchAsked(
            np.ascontiguousarray(piece, np.float32),
            settings.weight * (gain if settings.gain == "weight" else 1),
            self.manner,
        )
