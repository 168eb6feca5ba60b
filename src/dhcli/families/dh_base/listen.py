"""A speech through the audio network: loudness, and windows of bounded length.

The waveform comes in chunks and is read twice, once for its loudness and once for the network, so that an hour of sound
needs no more memory than a minute. What stays of each 40 ms is a code of 12 numbers, and what phones are heard in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dhcli.types import F32, F64

SAMPLE_RATE = 16_000
CODE_RATE = 25
"""Codes per second, whatever the video's frame rate is."""
SAMPLES = SAMPLE_RATE // CODE_RATE  # 640 samples a code
WINDOW, HOP = 20 * CODE_RATE, 16 * CODE_RATE
"""Codes in one window of the network and between two windows. It hears 30 s at most and depends a little on all that it
hears, so neighbours share 4 s and fade into each other there."""
SPEECH_RMS = 0.08
"""Loudness of the active speech that the network was trained with, full scale = 1."""
SMOOTHING = 0.6
"""Standard deviation of the codes' average over time, codes."""

INAUDIBLE_RMS = 3e-4
"""A whole recording below this (-70 dB full scale) is silence, however its parts compare."""
PHONE_STEPS = 2
"""Steps of the network's phones in one code."""

Listen = Callable[[F32], tuple[F32, F32 | None]]
"""The audio network: (samples,) in; codes (n, 12) and phones (2 n or more, 2) out, None where it tells no phones."""


@dataclass(frozen=True, slots=True)
class Loudness:
    """What normalises a recording: found in a first pass over it."""

    samples: int
    active_rms: float
    """Root mean square of the samples above a tenth of the 99th percentile of all levels."""

    @property
    def gain(self) -> float:
        return SPEECH_RMS / (self.active_rms + 1e-6) if self.active_rms > 0 else 1.0

    @property
    def silent(self) -> bool:
        return self.active_rms < INAUDIBLE_RMS


@dataclass(frozen=True, slots=True)
class Heard:
    """What the audio network says of a whole speech."""

    codes: F32  # (n, 12) mouth codes, 25 a second
    levels: F32  # (n,) loudness of each code's 40 ms, 1 = full scale of the normalised speech
    phones: F32 | None  # (2 n, 2) probability of b, p, m and of any phone, 50 a second; None: the bundle does not tell


def measure_loudness(chunks: Iterator[F32]) -> Loudness:
    """First pass. Levels go into a histogram of 2048 logarithmic bins (0.7 % wide), so memory does not grow."""
    edges = np.geomspace(1e-6, 8.0, 2047, dtype=np.float32)
    counts, energies = np.zeros(2048, np.int64), np.zeros(2048)
    for chunk in chunks:
        level = np.abs(chunk)
        bins = np.searchsorted(edges, level)
        counts += np.bincount(bins, minlength=2048)
        energies += np.bincount(bins, weights=level.astype(np.float64) ** 2, minlength=2048)
    samples = int(counts.sum())
    if not samples:
        return Loudness(0, 0.0)
    loud = int(np.searchsorted(np.cumsum(counts), 0.99 * samples))
    floor = edges[min(loud, 2046)] * 0.1 if loud else 0.0
    active = np.concatenate([[0.0], edges]) >= floor
    active[0] = False  # below 1e-6 is digital silence
    heard = int(counts[active].sum())
    return Loudness(samples, float(np.sqrt(energies[active].sum() / heard)) if heard else 0.0)


def listen(chunks: Iterator[F32], loudness: Loudness, network: Listen, smoothing: float = SMOOTHING) -> Heard:
    """Second pass: the network's answers for the whole speech, averaged over `smoothing` codes."""
    total = -(-loudness.samples // SAMPLES)
    sums, levels = _Sums(total), np.zeros(total, np.float32)
    start, ahead = 0, np.zeros(0, np.float32)
    for chunk in _padded(chunks, loudness):
        ahead = np.concatenate([ahead, chunk])
        while len(ahead) > (WINDOW + 2) * SAMPLES:  # a code more than the window holds: only then another one follows
            _listen_window(sums, levels, start, ahead[: WINDOW * SAMPLES], network)
            start, ahead = start + HOP, ahead[HOP * SAMPLES :]
    if start < total and not (start and total - start <= WINDOW - HOP):
        _listen_window(sums, levels, start, ahead[: WINDOW * SAMPLES] if start else ahead, network)
    return Heard(_smooth(sums.codes / sums.weight, smoothing).astype(np.float32), levels, sums.mean_phones())


class _Sums:
    """Weighted sums of the windows' answers, and of the weights."""

    def __init__(self, total: int) -> None:
        self.codes, self.phones = np.zeros((total, 12)), np.zeros((total, PHONE_STEPS * 2))
        self.weight = np.zeros((total, 1))
        self._told = True

    def add(self, start: int, ramp: F64, codes: F32, phones: F32 | None) -> None:
        """One window's answers from code `start` on, with the weights `ramp` (n,)."""
        part = slice(start, start + len(ramp))
        self.weight[part, 0] += ramp
        self.codes[part] += ramp[:, None] * codes
        if phones is None:
            self._told = False
        else:
            self.phones[part] += ramp[:, None] * phones[: PHONE_STEPS * len(ramp)].reshape(len(ramp), -1)

    def mean_phones(self) -> F32 | None:
        """As in `Heard`."""
        return (self.phones / self.weight).reshape(-1, 2).astype(np.float32) if self._told else None


def _padded(chunks: Iterator[F32], loudness: Loudness) -> Iterator[F32]:
    # The front end looks 80 ms ahead: without the zeros the last two codes would be missing.
    gain = np.float32(loudness.gain)
    for chunk in chunks:
        yield chunk * gain
    yield np.zeros(2 * SAMPLES, np.float32)


def _listen_window(sums: _Sums, levels: F32, start: int, samples: F32, network: Listen) -> None:
    """Add one window's answers, fading in over what it shares with the one before and out towards the next."""
    total, shared = len(levels), WINDOW - HOP
    codes, phones = network(samples)
    codes = codes[: min(WINDOW, total - start)]
    at = np.arange(len(codes)) + 0.5
    ramp = np.minimum(1.0, at / shared) if start else np.ones(len(codes))
    if start + HOP < total - shared:
        ramp = np.minimum(ramp, (WINDOW - at) / shared)
    sums.add(start, ramp, codes, phones)
    blocks = samples[: len(samples) // SAMPLES * SAMPLES].reshape(-1, SAMPLES)[: len(codes)]
    levels[start : start + len(blocks)] = np.sqrt((blocks**2).mean(1))


def _smooth(codes: F64, deviation: float) -> F64:
    radius = int(4 * deviation + 0.5)
    if not radius:
        return codes
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    padded = np.pad(codes, ((radius, radius), (0, 0)), mode="edge")
    smooth = np.zeros_like(codes)
    for i, weight in enumerate(kernel / kernel.sum()):
        smooth += weight * padded[i : i + len(codes)]
    return smooth
