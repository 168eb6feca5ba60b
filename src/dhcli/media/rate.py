"""Constant frame rates from time stamps: the rate of a stream, and the frame to show at each time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from dhcli.timing import snap_rate

I64 = npt.NDArray[np.int64]

STANDARD = tuple(
    Fraction(rate)
    for rate in (
        "10",
        "12",
        "12.5",
        "15",
        "24000/1001",
        "24",
        "25",
        "30000/1001",
        "30",
        "48",
        "50",
        "60000/1001",
        "60",
        "120",
    )
)
"""Usual rates of cameras and editors."""
NEAR_STANDARD = 0.02
"""A variable rate within 2 % of a standard one becomes that one: phones record 29.87 for 30."""
MIN_RATE, MAX_RATE = Fraction(1), Fraction(240)
STILL_RATE = Fraction(25)
"""The rate of a still image."""
TOO_FAST_RATE = Fraction(60)
"""Instead of an average above MAX_RATE, which comes from broken time stamps or a slow-motion recording's clock."""


def constant_rate(pts: I64, time_base: Fraction, claimed: Iterable[float]) -> Fraction | None:
    """The exact rate at which every time stamp stands within one tick, or None where there is no such rate.

    `pts` ascends, in units of `time_base` s; `claimed` are rounded rates from the header, tried first: within one tick
    of 1/1000 s a short clip cannot tell 30 from 30000/1001.
    """
    if len(pts) < 2:
        return next((rate for rate in map(_snap, claimed) if MIN_RATE <= rate <= MAX_RATE), STILL_RATE)
    span = (int(pts[-1]) - int(pts[0])) * time_base
    if span <= 0:
        return STILL_RATE  # all time stamps are the same
    mean = (len(pts) - 1) / span
    step = int(np.median(np.diff(pts)))
    candidates = [_snap(rate) for rate in claimed] + [snap_rate(float(mean)), mean.limit_denominator(1001)]
    if step > 0:
        candidates.append(1 / (step * time_base))
    for rate in candidates:
        if MIN_RATE <= rate <= MAX_RATE and fits(pts, time_base, rate):
            return rate
    return None


def variable_rate(pts: I64, time_base: Fraction, claimed: Iterable[float]) -> Fraction:
    """The constant rate to give a stream that has none.

    The rate of the most usual step where at least half of the steps are of that length and few are shorter (a recording
    that dropped frames: its grid keeps the motion smooth), else the average; a standard rate where one is within 2 %.
    Never above MAX_RATE: TOO_FAST_RATE then.
    """
    steps = np.diff(pts)
    median = int(np.median(steps))
    mean = (len(pts) - 1) / ((int(pts[-1]) - int(pts[0])) * time_base)
    usual = np.count_nonzero(np.abs(steps - median) <= 1) * 2 >= len(steps)
    grid = 1 / (median * time_base) if median > 0 and usual else Fraction(0)
    rate = grid if grid > mean * (1 - Fraction(NEAR_STANDARD)) else mean
    known = [near for near in map(_snap, claimed) if abs(near / rate - 1) < NEAR_STANDARD]
    known += sorted(
        (near for near in STANDARD if abs(near / rate - 1) < NEAR_STANDARD), key=lambda near: abs(near - rate)
    )
    if rate > MAX_RATE:
        return TOO_FAST_RATE
    return min(max((known or [snap_rate(float(rate))])[0], MIN_RATE), MAX_RATE)


def frames_at(duration: Fraction, rate: Fraction) -> int:
    """How many frames of `rate` cover a stream of `duration` s; at least one."""
    return max(1, math.floor(duration * rate + Fraction(1, 2)))


def picks(pts: I64, time_base: Fraction, rate: Fraction, count: int) -> I64:  # (count,)
    """The decoded frame to show at each of `count` frames at `rate`: the last one due by then, due times rounded."""
    scale = time_base * rate
    due = (2 * (pts - pts[0]) * scale.numerator + scale.denominator) // (2 * scale.denominator)
    return np.maximum(np.searchsorted(due, np.arange(count), side="right") - 1, 0)


def fits(pts: I64, time_base: Fraction, rate: Fraction) -> bool:
    """Whether every time stamp stands within one tick of this constant rate."""
    ideal = np.arange(len(pts)) * float(1 / (rate * time_base))
    # Both ends of the difference were rounded to half a tick; the rest is for float64 itself.
    return bool(np.abs((pts - pts[0]) - ideal).max() <= 1.0 + 1e-6)


def _snap(rate: float) -> Fraction:
    return snap_rate(rate) if rate > 0 else Fraction(0)
