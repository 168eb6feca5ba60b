"""Audio recipes by id: how programs turn 16-kHz sound into the rows of numbers that their networks were trained on.

Weights only work with the recipe they were made with, so each is kept as its program has it. All are streaming: an hour
needs no more memory than a minute.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from dhcli.sound.bands import facefusion_bank, kaldi_bank, slaney_bank
from dhcli.sound.frames import cut, emphasised, framed, silence_around
from dhcli.types import F32, F64

SAMPLE_RATE = 16_000
"""Hz of every recipe's waveform."""
MEL_RANGE = 4.0
"""Rows of the two recipes of Wav2Lip lie within -4..4."""
INT16 = 1 << 15
"""Kaldi's and WeNet's programs take samples as whole numbers of 16 bits."""
LEAST_POWER = 2.0**-23
"""Of Kaldi's bands, below which a logarithm is not taken: the step of a float32 at 1."""
SEGMENT_ROWS = 3000
"""Whisper hears 30 s at once, and levels each by its own loudest row."""
SEGMENT = SEGMENT_ROWS * SAMPLE_RATE // 100
"""Samples of these."""

Speech: TypeAlias = Callable[[], Iterator[F32]]
"""Gives the mono waveform of 16 kHz, full scale = 1, in chunks from the start; may be called more than once."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way from a waveform to rows."""

    name: str
    rate: Fraction
    """Rows a second."""
    width: int
    """Numbers in a row."""
    silence: float
    """What every number is where there is no sound at all."""
    make: Callable[[Speech], Iterator[F32]]

    def rows(self, speech: Speech, before_s: float = 0, after_s: float = 0) -> Iterator[F32]:
        """All rows of a speech, in order, in blocks of (n, width); with silence before and behind it."""
        before, after = round(before_s * SAMPLE_RATE), round(after_s * SAMPLE_RATE)
        return self.make(lambda: silence_around(speech(), before, after))


def _wav2lip_mel(speech: Speech) -> Iterator[F32]:
    """Wav2Lip's `audio.melspectrogram`: amplitudes, in dB from -120 to 0 brought to -4..4."""
    for frames in framed(emphasised(speech()), 800, 200, "reflect"):
        bands = np.abs(np.fft.rfft(frames * _hann(800))) @ slaney_bank(SAMPLE_RATE, 800, 80, 55, 7600).T
        level = 20 * np.log10(np.maximum(1e-5, bands)) - 20
        yield np.clip(2 * MEL_RANGE * (level + 100) / 100 - MEL_RANGE, -MEL_RANGE, MEL_RANGE).astype(np.float32)


def _facefusion_mel(speech: Speech) -> Iterator[F32]:
    """facefusion's: the loudest sample becomes 1; spectra are divided by the sum of the window."""
    loudest = max((float(np.abs(chunk).max()) for chunk in speech() if len(chunk)), default=0.0)
    level = (chunk.astype(np.float64) / (loudest or 1) for chunk in speech())
    whole = _to_multiple(emphasised(level), 200)
    for frames in framed(whole, 800, 200, "zeros"):
        bands = np.abs(np.fft.rfft(frames * _hann(800))) / 400 @ facefusion_bank(SAMPLE_RATE, 800, 80, 55, 7600).T
        yield np.clip(np.log10(np.maximum(1e-5, bands)) * 1.6 + 3.2, -MEL_RANGE, MEL_RANGE).astype(np.float32)


def _wenet_logmel(speech: Speech) -> Iterator[F32]:
    """HeyGem's: powers in dB, 100 a second."""
    window = np.pad(_hann(800), (112, 112))
    for frames in framed(emphasised(speech()), 1024, 160, "reflect"):
        bands = np.abs(np.fft.rfft(frames * window)) ** 2 @ slaney_bank(SAMPLE_RATE, 1024, 80, 0, 8000).T
        yield (10 * np.log10(bands + 1e-5) - 20).astype(np.float32)


def _whisper_logmel(speech: Speech) -> Iterator[F32]:
    """OpenAI's whisper: 3000 rows for each 30 s that begin, each 30 s for themselves."""
    return map(whisper_segment, cut(speech(), SEGMENT))


def whisper_segment(samples: F32) -> F32:  # (n,), n <= SEGMENT -> (3000, 80)
    """What whisper hears of up to 30 s: log10 of powers, down to 8 below the loudest, (x + 4) / 4; silence behind."""
    padded = np.pad(samples, (0, SEGMENT - len(samples)))
    rows = [
        np.abs(np.fft.rfft(frames * _hann(400))) ** 2 @ slaney_bank(SAMPLE_RATE, 400, 80, 0, 8000).T
        for frames in framed([padded], 400, 160, "reflect")
    ]
    level = np.log10(np.maximum(1e-10, np.concatenate(rows)[:SEGMENT_ROWS]))  # the 3001st row is not used
    return np.asarray((np.maximum(level, level.max() - 8) + 4) / 4, np.float32)


def _kaldi_fbank(speech: Speech) -> Iterator[F32]:
    """Kaldi's fbank without dither: 25 ms every 10 ms, whole frames only, natural logarithms of powers."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    for frames in framed(speech(), 400, 160, "none"):
        level = frames * INT16
        level = level - level.mean(1, keepdims=True)
        level = level - 0.97 * np.concatenate([level[:, :1], level[:, :-1]], 1)
        bands = np.abs(np.fft.rfft(level * window, 512)) ** 2 @ kaldi_bank(SAMPLE_RATE, 512, 80, 20, 8000).T
        yield np.log(np.maximum(bands, LEAST_POWER)).astype(np.float32)


def _samples(speech: Speech) -> Iterator[F32]:
    for chunk in speech():
        yield chunk[:, None]


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("wav2lip_mel", Fraction(80), 80, -MEL_RANGE, _wav2lip_mel),
        Recipe("facefusion_mel", Fraction(80), 80, -MEL_RANGE, _facefusion_mel),
        Recipe("wenet_logmel", Fraction(100), 80, -70.0, _wenet_logmel),
        Recipe("whisper_logmel", Fraction(100), 80, -1.5, _whisper_logmel),
        Recipe("kaldi_fbank", Fraction(100), 80, math.log(LEAST_POWER), _kaldi_fbank),
        Recipe("samples", Fraction(SAMPLE_RATE), 1, 0.0, _samples),
    )
}


@functools.cache
def _hann(size: int) -> F64:
    """The periodic window of Hann."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def _to_multiple(chunks: Iterable[F64], of: int) -> Iterator[F64]:
    """The waveform with zeros behind it up to a multiple of `of` samples."""
    samples = 0
    for chunk in chunks:
        samples += len(chunk)
        yield chunk
    if lacking := -samples % of:
        yield np.zeros(lacking)
