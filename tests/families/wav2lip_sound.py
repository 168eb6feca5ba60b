"""What Wav2Lip's own program makes of a speech, written from its formulas: the whole clip at once, in float64.

A reference for tests, which shares no code with `dhcli.sound`. The formulas: pre-emphasis of 0.97; centred transform of
800 samples every 200 with a periodic Hann window, the ends reflected; magnitudes; 80 triangular bands of 55 to 7600 Hz
on Slaney's scale, each of area one (M. Slaney, Auditory Toolbox, 1998; librosa's `filters.mel` is the same); decibels
less 20; -100..0 dB become -4..4.
"""

from __future__ import annotations

import itertools
import math
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np

from dhcli.types import F64

RATE, TRANSFORM, HOP = 16000, 800, 200
BANDS, LOWEST_HZ, HIGHEST_HZ = 80, 55.0, 7600.0
COLUMNS_S, PIECE = 80.0, 16
"""Columns a second, and of one piece."""
LINEAR_HZ, BREAK_HZ = 200 / 3, 1000.0
"""Width of a mel below the frequency from which the scale is logarithmic."""
LOG_STEP = math.log(6.4) / 27


def samples_of(path: Path) -> F64:
    """The waveform of a 16-kHz mono WAV file with 16 bits, full scale = 1."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def mel(samples: F64) -> F64:
    """(80, columns), -4..4; 1 + samples // 200 columns."""
    sharper = np.concatenate([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    padded = np.pad(sharper, TRANSFORM // 2, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(padded, TRANSFORM)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(TRANSFORM) / TRANSFORM)
    magnitudes = np.abs(np.fft.rfft(pieces * window, axis=1)).T
    decibels = 20 * np.log10(np.maximum(1e-5, filters() @ magnitudes)) - 20
    return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)


def filters() -> F64:
    """(80, 401): the triangles over the transform's frequencies."""
    corners = _hertz(np.linspace(_mels(LOWEST_HZ), _mels(HIGHEST_HZ), BANDS + 2))
    bins = np.arange(TRANSFORM // 2 + 1) * RATE / TRANSFORM
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)


def _mels(hertz: float) -> float:
    if hertz < BREAK_HZ:
        return hertz / LINEAR_HZ
    return BREAK_HZ / LINEAR_HZ + math.log(hertz / BREAK_HZ) / LOG_STEP


def _hertz(mels: F64) -> F64:
    knee = BREAK_HZ / LINEAR_HZ
    return np.where(mels < knee, mels * LINEAR_HZ, BREAK_HZ * np.exp(LOG_STEP * (mels - knee)))


def pieces_of(samples: F64, fps: Fraction, frames: int) -> F64:
    """(frames, 80, 16): what each frame hears; silence behind the speech gives the last ones their sixteen columns.

    `int(i * (80 / fps))` in floating point, as the program has it.
    """
    columns = mel(np.concatenate([samples, np.zeros(RATE // 2)]))
    starts = [int(index * (COLUMNS_S / float(fps))) for index in range(frames)]
    return np.stack([columns[:, start : start + PIECE] for start in starts])


def grey_of(pieces: F64) -> F64:
    """(frames, 3), 0..255: three groups of mel bands, each the mean of its piece, -4..4 becoming 0..255."""
    cuts = [0, BANDS // 3, 2 * BANDS // 3, BANDS]
    groups = [pieces[:, start:end].mean((1, 2)) for start, end in itertools.pairwise(cuts)]
    return (np.stack(groups, axis=1) + 4) / 8 * 255
