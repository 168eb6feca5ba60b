"""Speech to mouth codes: loudness, windows of bounded length, rest in silence, and codes at any frame's time.

The waveform comes in chunks and is read twice, once for its loudness and once for the network, so that an hour of sound
needs no more memory than a minute. What stays is one code of 12 numbers for each 40 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

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
SMOOTHING = 0.6  # codes

SILENCE = 0.01
"""Below this part of the active speech's loudness (-40 dB) nobody speaks. The network was never taught to close the
mouth there: in digital silence its codes are larger than in speech."""
INAUDIBLE_RMS = 3e-4
"""A whole recording below this (-70 dB full scale) is silence, however its parts compare."""
PAUSE = 6
"""Codes (0.24 s) that must be silent in a row; shorter stops belong to plosives."""
FALL, RISE = 4, 3
"""Codes that the mouth takes to come to rest after the last sound, and to leave it before the next one."""

Listen = Callable[[F32], F32]
"""The audio network: (samples,) in, (codes, 12) out."""


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
class MouthCodes:
    """Mouth codes of a whole speech; see `families.family.Conditions`."""

    codes: F32  # (n, 12)
    silent: bool
    """Nobody speaks in it."""
    noise_db: float | None = None
    """Level of its background noise against the speech, dB; None: not known."""

    def at(self, time_s: Fraction, gain: float) -> F64:  # (12,)
        """The code at a time, interpolated between its neighbours; the last one holds beyond the end.

        0 is a mouth at rest.
        """
        position = time_s * CODE_RATE
        before = min(int(position), len(self.codes) - 1)
        after = min(before + 1, len(self.codes) - 1)
        part = float(position - int(position))
        code = np.asarray((1 - part) * self.codes[before] + part * self.codes[after], np.float64)
        return code * gain


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


def listen(chunks: Iterator[F32], loudness: Loudness, network: Listen) -> tuple[F32, F32]:
    """Second pass: the network's codes (n, 12), and the loudness of each code's 40 ms (n,), full scale = 1."""
    total = -(-loudness.samples // SAMPLES)
    codes, levels = np.zeros((total, 12)), np.zeros(total, np.float32)
    weight = np.zeros((total, 1))
    start, ahead = 0, np.zeros(0, np.float32)
    for chunk in _padded(chunks, loudness):
        ahead = np.concatenate([ahead, chunk])
        while len(ahead) > (WINDOW + 2) * SAMPLES:  # a code more than the window holds: only then another one follows
            _listen_window(codes, weight, levels, start, ahead[: WINDOW * SAMPLES], network)
            start, ahead = start + HOP, ahead[HOP * SAMPLES :]
    if start < total and not (start and total - start <= WINDOW - HOP):
        _listen_window(codes, weight, levels, start, ahead[: WINDOW * SAMPLES] if start else ahead, network)
    return _smooth(codes / weight).astype(np.float32), levels


def _padded(chunks: Iterator[F32], loudness: Loudness) -> Iterator[F32]:
    # The front end looks 80 ms ahead: without the zeros the last two codes would be missing.
    gain = np.float32(loudness.gain)
    for chunk in chunks:
        yield chunk * gain
    yield np.zeros(2 * SAMPLES, np.float32)


def _listen_window(codes: F64, weight: F64, levels: F32, start: int, samples: F32, network: Listen) -> None:
    """Add one window's codes, fading in over what it shares with the one before and out towards the next."""
    total, shared = len(codes), WINDOW - HOP
    part = network(samples)[: min(WINDOW, total - start)]
    at = np.arange(len(part)) + 0.5
    ramp = np.minimum(1.0, at / shared) if start else np.ones(len(part))
    if start + HOP < total - shared:
        ramp = np.minimum(ramp, (WINDOW - at) / shared)
    codes[start : start + len(part)] += ramp[:, None] * part
    weight[start : start + len(part), 0] += ramp
    blocks = samples[: len(samples) // SAMPLES * SAMPLES].reshape(-1, SAMPLES)[: len(part)]
    levels[start : start + len(blocks)] = np.sqrt((blocks**2).mean(1))


def _smooth(codes: F64) -> F64:
    radius = int(4 * SMOOTHING + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SMOOTHING) ** 2)
    padded = np.pad(codes, ((radius, radius), (0, 0)), mode="edge")
    smooth = np.zeros_like(codes)
    for i, weight in enumerate(kernel / kernel.sum()):
        smooth += weight * padded[i : i + len(codes)]
    return smooth


def rest_in_silence(codes: F32, levels: F32, loudness: Loudness) -> F32:
    """The codes with the mouth at rest (code 0) wherever nobody speaks for a while; speech is left as it is."""
    if loudness.silent:
        return np.zeros_like(codes)
    return codes * speaking(levels)[:, None]


def speaking(levels: F32) -> F32:  # (n,) -> (n,) 0..1
    """How much somebody speaks at each code: 1 in speech and its short stops, 0 in pauses, straight between them."""
    quiet = levels < SILENCE * SPEECH_RMS
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    gate = np.ones(len(levels), np.float32)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin < PAUSE:
            continue
        at = np.arange(end - begin)
        fall = 1 - (at + 1) / FALL if begin else np.zeros(len(at))
        rise = 1 - (len(at) - at) / RISE if end < len(levels) else np.zeros(len(at))
        gate[begin:end] = np.clip(np.maximum(fall, rise), 0, 1)
    return gate
