"""The option `leave`: frames of the output that stay as filmed, and how the new mouth fades around them."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from dhcli.jobs.options import Stretches
from dhcli.stages.smooth import FADE_S

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last frame of each run, in order and apart."""


@dataclass(frozen=True, slots=True)
class Left:
    """The frames that are left alone."""

    ranges: Ranges
    fade: int
    """Frames before and after a run in which the new mouth shows in part."""

    @property
    def frames(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def weight(self, index: int) -> float:
        """How much of the new mouth output frame `index` may show, 0..1."""
        at = bisect.bisect_right(self.ranges, (index, math.inf))
        distance = min(
            index - self.ranges[at - 1][1] if at else math.inf,
            self.ranges[at][0] - index if at < len(self.ranges) else math.inf,
        )
        return min(1.0, max(0.0, distance / (self.fade + 1)))


def left_frames(stretches: Stretches | None, frames: int, fps: Fraction) -> Left:
    """Every one of the output's `frames` frames that is shown during a stretch, for however short a part of it."""
    ranges: list[tuple[int, int]] = []
    for start, end in stretches.parts if stretches is not None else ():
        first = math.floor(start * fps)
        last = frames - 1 if end is None else min(frames, math.ceil(end * fps)) - 1
        if ranges and first <= ranges[-1][1] + 1:
            first = ranges.pop()[0]
        if first <= last:
            ranges.append((first, last))
    return Left(tuple(ranges), max(1, round(FADE_S * fps)))
