"""Banks of triangular filters that sum the bins of a spectrum into bands as wide as the ear's."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from dhcli.types import F64


def slaney_mel(hz: F64) -> F64:
    """Slaney's scale (Auditory Toolbox, 1998): linear up to 1 kHz, logarithmic above."""
    linear, above = hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1000) / math.log(6.4)
    return np.where(hz < 1000, linear, above)


def slaney_hz(mel: F64) -> F64:
    """The way back."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))


@functools.cache
def slaney_bank(rate: int, size: int, bands: int, low: float, high: float) -> F64:  # -> (bands, size // 2 + 1)
    """Triangles with their corners at equal steps of `slaney_mel`, each of area 1 over Hz / 2, as librosa has them."""
    ends = slaney_mel(np.array([low, high]))
    corners = slaney_hz(np.linspace(ends[0], ends[1], bands + 2))
    return (
        _triangles(np.asarray(np.fft.rfftfreq(size, 1 / rate), np.float64), corners)
        * (2 / (corners[2:] - corners[:-2]))[:, None]
    )


@functools.cache
def kaldi_bank(rate: int, size: int, bands: int, low: float, high: float) -> F64:  # -> (bands, size // 2 + 1)
    """Kaldi's triangles, straight on the scale 1127 ln(1 + f / 700) and 1 at their tops; the last bin counts for
    nothing.
    """
    mel = np.asarray(1127 * np.log1p(np.fft.rfftfreq(size, 1 / rate) / 700), np.float64)
    ends = 1127 * np.log1p(np.array([low, high]) / 700)
    bank = _triangles(mel, np.linspace(ends[0], ends[1], bands + 2))
    bank[:, -1] = 0
    return bank


@functools.cache
def facefusion_bank(rate: int, size: int, bands: int, low: float, high: float) -> F64:  # -> (bands, size // 2 + 1)
    """facefusion's: bells between neighbouring corners on the scale 2595 log10(1 + f / 700), on whole bins."""
    ends = 2595 * np.log10(1 + np.array([low, high]) / 700)
    hz = 700 * (10 ** (np.linspace(ends[0], ends[1], bands + 2) / 2595) - 1)
    bins = np.floor((size + 1) * hz / rate).astype(int)
    bank = np.zeros((bands, size // 2 + 1))
    for band, (begin, end) in enumerate(itertools.pairwise(bins[: bands + 1].tolist())):
        bank[band, begin:end] = _bell(end - begin)
    return bank


def _triangles(at: F64, corners: F64) -> F64:  # (bins,), (bands + 2,) -> (bands, bins)
    left, top, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return np.maximum(0, np.minimum((at - left) / (top - left), (right - at) / (right - top)))


def _bell(points: int) -> F64:
    """A triangle of so many points, none of them 0, as `scipy.signal.windows.triang` defines it."""
    half = np.arange(1, (points + 1) // 2 + 1)
    if points % 2:
        rise = 2 * half / (points + 1)
        return np.concatenate([rise, rise[-2::-1]])
    rise = (2 * half - 1) / max(points, 1)
    return np.concatenate([rise, rise[::-1]])
