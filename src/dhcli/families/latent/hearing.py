"""What a latent model hears of a speech: for each frame the rows of whisper around its time."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dhcli.families.family import Manner, Speech
from dhcli.families.hearing.rows import Rows
from dhcli.families.latent.kept import LatentFile
from dhcli.families.latent.settings import LatentSettings
from dhcli.types import F32

LONGEST_WAVE = 10_000.0
"""Of the sines that tell rows apart: their wave lengths go from 2 pi to 2 pi times this (Vaswani 2017, section 3.5)."""
LEFT_OF_FRAME = 2
"""MuseTalk's program puts so many frames' rows of zeros before the speech; with 25 frames a second these are 4."""


class Counted:
    """A speech that counts its samples while it is read; see `families.family.Speech`."""

    def __init__(self, speech: Speech) -> None:
        self._speech, self.samples = speech, 0

    def __call__(self) -> Iterator[F32]:
        """The waveform in chunks; at its end `samples` has their number."""
        samples = 0
        for chunk in self._speech():
            samples += len(chunk)
            yield chunk
        self.samples = samples


@dataclass(frozen=True, slots=True)
class LatentAsked:
    """What a speech asks of one frame."""

    sound: F32  # (window * layers, width)
    manner: Manner
    kept: LatentFile
    """Latents of this job's frames, so that a frame that is shown again is not encoded again."""


@dataclass(frozen=True, slots=True)
class LatentSounds:
    """The rows of a whole speech; see `families.family.Conditions`."""

    rows: Rows
    settings: LatentSettings
    manner: Manner
    kept: LatentFile
    silent: bool
    """Nobody speaks in it."""
    noise_db: float | None

    def at(self, time_s: Fraction) -> LatentAsked:
        """The rows that belong to a time."""
        settings = self.settings
        first = math.floor(time_s * self.rows.rate) + self._shift
        count = settings.window * settings.layers
        sound = self.rows.window(first, settings.window).reshape(count, settings.width)
        if settings.positional:
            sound = sound + sines(count, settings.width)
        return LatentAsked(np.ascontiguousarray(sound, np.float32), self.manner, self.kept)

    @property
    def _shift(self) -> int:
        """First row, counted from the frame's own.

        The network learned with 25 frames a second. MuseTalk's own program moves the window with the rate: at 24 it
        hears 40 ms too early, at 60 40 ms too late.
        """
        if not self.manner.faithful:
            return self.settings.shift
        return -LEFT_OF_FRAME * math.ceil(self.rows.rate / self.manner.fps)


@functools.cache
def sines(count: int, width: int) -> F32:  # -> (count, width)
    """Sines and cosines of each row's number, by turns, at falling frequencies."""
    frequency = np.exp(np.arange(0, width, 2) * (-math.log(LONGEST_WAVE) / width))
    angle = np.arange(count)[:, None] * frequency
    pairs = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(count, -1)
    return np.asarray(pairs[:, :width], np.float32)
