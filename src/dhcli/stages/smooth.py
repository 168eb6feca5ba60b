"""A followed face over time: short gaps bridged, points smoothed, a weight that fades where face or mouth are hidden.

Observations come in order; settled ones leave in order, at most GAP_S and the filter's reach later. Shots never mix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dhcli.stages.target import Observation
from dhcli.types import F64

SIGMA_S = 0.04
"""Standard deviation of the smoothing: one frame at 25 fps, the same time at any other rate."""
GAP_S = 0.4
"""Longest gap that is bridged: a hand that passes. A head stays predictable for about that long."""
FADE_S = 0.16
"""Time in which the new mouth comes in or goes out where the face appears or is lost."""
COVER_S = 0.12
"""Time before and after a covered mouth in which it is not touched either: what covers it is on its way."""
LEAST_S = 0.2
"""A face that comes and goes within less is a mistake of the detector: a title's letters had one for two frames."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The final word on one frame."""

    index: int
    points: F64 | None  # (478, 3) image px, smoothed
    person: int = -1
    weight: float = 0.0
    seen: bool = False
    """False where the face is hidden, so that the points are interpolated, or there are none."""
    looked: bool = False
    """False where the points are interpolated, also of a face that hardly moves, or there are none."""
    covered: bool = False
    """Something is in front of the mouth, or is so within COVER_S; the weight is 0."""


def kernel(sigma: float) -> F64:
    """A Gaussian's weights, sum 1, as far as they matter."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    return np.asarray(weights / weights.sum())


@dataclass(slots=True)
class _Run:
    """Frames from where the face appears to where it is lost. Grows at the end, shrinks at the front."""

    person: int
    first: int
    fades_in: bool
    points: list[F64] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    """Without points where the face is hidden."""
    start: int = 0
    """Index of `points[0]` and `seen[0]`."""
    settled: int = 0
    """Index of the next frame to settle."""

    @property
    def end(self) -> int:
        return self.start + len(self.points)

    def at(self, index: int) -> F64:
        """The points in a frame. Beyond its ends the run goes on as it came, turned about its end: with the edge's
        value instead, a face that moves would lag there by 0.4 of a frame's way.
        """
        last = self.end - 1
        inside = min(max(index, self.start), last)
        mirrored = min(max(2 * inside - index, self.start), last)
        edge = self.points[inside - self.start]
        return edge if mirrored == inside else 2 * edge - self.points[mirrored - self.start]

    def to_cover(self, index: int, reach: int) -> float:
        """Frames from `index` to the next covered one, if it is at most so many."""
        first = max(self.start, index - reach)
        near = self.seen[first - self.start : index + reach + 1 - self.start]
        return min((abs(one.index - index) for one in near if one.covered), default=math.inf)


class Smoother:
    """Turns observations into settled ones."""

    def __init__(self, fps: float) -> None:
        self._kernel = kernel(SIGMA_S * fps)
        self._radius = len(self._kernel) // 2
        self._gap = round(GAP_S * fps)
        self._fade = max(1, round(FADE_S * fps))
        self._least = round(LEAST_S * fps)
        self._cover = max(1, round(COVER_S * fps))
        self._reach = self._cover + self._fade
        """Frames from a covered one within which the weight is less."""
        self._ahead = max(self._radius, self._reach, self._least)
        """Frames that must be known after one that is settled."""
        self._run: _Run | None = None
        self._missing: list[Observation] = []
        """Frames without the face after the run, not settled yet."""

    def push(self, seen: Observation) -> Iterator[Settled]:
        """Take the next observation; gives what has become final by it."""
        run = self._run
        if run is not None and (seen.cut or (seen.points is not None and seen.person != run.person)):
            yield from self._close(fades_out=bool(self._missing))
        if seen.points is None:
            self._missing.append(seen)
            if self._run is None or len(self._missing) > self._gap:
                yield from self._close(fades_out=True)
            return
        if self._run is None:
            edge = seen.cut or seen.index == 0
            self._run = _Run(seen.person, seen.index, not edge, start=seen.index, settled=seen.index)
        self._bridge(self._run, seen.points)
        self._run.points.append(seen.points)
        self._run.seen.append(seen)
        yield from self._settle(self._run, self._run.end - self._ahead, None)

    def finish(self) -> Iterator[Settled]:
        """Everything that is left, at the end of the video."""
        yield from self._close(fades_out=bool(self._missing))

    def _bridge(self, run: _Run, after: F64) -> None:
        before, n = run.points[-1] if run.points else after, len(self._missing)
        for k, hidden in enumerate(self._missing, 1):
            run.points.append(before + (after - before) * (k / (n + 1)))
            run.seen.append(hidden)
        self._missing.clear()

    def _close(self, *, fades_out: bool) -> Iterator[Settled]:
        run, self._run = self._run, None
        if run is not None and run.fades_in and fades_out and run.end - run.first < self._least:
            self._missing[:0] = run.seen  # none of it is settled yet
        elif run is not None:
            yield from self._settle(run, run.end, run.end if fades_out else None)
        for hidden in self._missing:
            yield Settled(hidden.index, None)
        self._missing.clear()

    def _settle(self, run: _Run, until: int, fades_out_at: int | None) -> Iterator[Settled]:
        """Frames before `until`."""
        for index in range(run.settled, until):
            window = range(index - self._radius, index + self._radius + 1)
            points = sum(w * run.at(at) for w, at in zip(self._kernel, window, strict=True))
            weight = 1.0
            if run.fades_in:
                weight = min(weight, (index - run.first + 1) / (self._fade + 1))
            if fades_out_at is not None:
                weight = min(weight, (fades_out_at - index) / (self._fade + 1))
            assert isinstance(points, np.ndarray)
            to_cover = run.to_cover(index, self._reach) - self._cover
            weight = max(0.0, min(weight, to_cover / (self._fade + 1)))
            one = run.seen[index - run.start]
            seen = one.points is not None
            yield Settled(index, points, run.person, weight, seen, seen and one.looked, to_cover <= 0)
        run.settled = max(run.settled, until)
        stale = max(0, run.settled - max(self._radius, self._reach) - run.start)
        del run.points[:stale], run.seen[:stale]
        run.start += stale
