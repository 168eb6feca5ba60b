"""Frames that stay as filmed: the options `leave`, `speak`, `lead` and `tail`; how the new mouth fades around them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from dhcli.jobs.options import JobOptions, Stretches
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


def left_frames(
    options: JobOptions, frames: int, fps: Fraction, speech: tuple[Fraction, Fraction] | None = None
) -> Left:
    """Every one of the output's `frames` frames that is shown during a stretch to leave, for however short a part of
    it, or in no stretch to speak, or before or after the `speech`: its begin and end, s.
    """
    fade = max(1, round(FADE_S * fps))
    ranges = [*_during(options.leave, frames, fps), *_outside(options.speak, frames, fps)]
    if speech is not None:  # here the fades lie outside: no sound is spoken by half a mouth
        ranges += [(0, math.floor(speech[0] * fps) - fade - 1), (math.ceil(speech[1] * fps) + fade, frames - 1)]
    return Left(_joined(ranges), fade)


def _during(stretches: Stretches | None, frames: int, fps: Fraction) -> Iterator[tuple[int, int]]:
    for start, end in stretches.parts if stretches is not None else ():
        yield math.floor(start * fps), frames - 1 if end is None else min(frames, math.ceil(end * fps)) - 1


def _outside(stretches: Stretches | None, frames: int, fps: Fraction) -> Iterator[tuple[int, int]]:
    if stretches is None:
        return
    first = 0
    for begin, last in _during(stretches, frames, fps):
        yield first, min(begin, frames) - 1
        first = max(first, last + 1)
    yield first, frames - 1


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges in order, those that touch or overlap as one; empty ones are left out."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if first > last:
            continue
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined)
