"""Frame rates, frame counts and the source frame of each output frame, with exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

Loop = Literal["pingpong", "restart", "hold", "error"]

NTSC = 1001
"""NTSC rates are fractions over 1001, such as 30000/1001: a whole number of frames in 1.001 seconds."""


def snap_rate(rate: float) -> Fraction:
    """The exact frame rate behind a rounded decimal: 29.97 is 30000/1001, 25.0 is 25, 14.5 is 29/2."""
    for whole in (round(rate), round(rate * NTSC / 1000)):
        for exact in (Fraction(whole), Fraction(whole * 1000, NTSC)):
            if whole > 0 and abs(float(exact) - rate) < 0.005:
                return exact
    return Fraction(rate).limit_denominator(1000)


def rate_text(fps: Fraction) -> str:
    """A frame rate as results and events write it, always a fraction: 25/1, 30000/1001."""
    return f"{fps.numerator}/{fps.denominator}"


def frame_count(duration: Fraction, fps: Fraction) -> int:
    """Number of frames that cover `duration` seconds, rounded up so that no sound is cut; at least 1."""
    return max(1, math.ceil(duration * fps))


def source_index(index: int, frames: int, loop: Loop) -> int:
    """Index of the source frame that output frame `index` shows; the video has `frames` frames.

    "pingpong" shows the first and the last frame once at each turn: 0 1 2 3 2 1 0 1 …
    """
    if index < frames or frames == 1:
        return min(index, frames - 1)
    if loop == "restart":
        return index % frames
    if loop == "pingpong":
        period = 2 * (frames - 1)
        at = index % period
        return at if at < frames else period - at
    return frames - 1
