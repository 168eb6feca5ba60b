"""A followed face over time: short gaps bridged, points smoothed, a weight that fades where the face comes and goes.

Observations come in order; settled ones leave in order, at most GAP_S and the filter's reach later. Shots never mix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dhcli.stages.track import Observation
from dhcli.types import F64

SIGMA_S = 0.04
"""Standard deviation of the smoothing: one frame at 25 fps, the same time at any other rate."""
GAP_S = 0.4
"""Longest gap that is bridged: a hand that passes. A head stays predictable for about that long."""
FADE_S = 0.16
"""Time in which the new mouth comes in or goes out where the face appears or is lost."""
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
    seen: list[Observation | None] = field(default_factory=list)
    """None where the face is hidden."""
    start: int = 0
    """Index of `points[0]`."""
    settled: int = 0
    """Index of the next frame to settle."""

    @property
    def end(self) -> int:
        return self.start + len(self.points)


class Smoother:
    """Turns observations into settled ones."""

    def __init__(self, fps: float) -> None:
        self._kernel = kernel(SIGMA_S * fps)
        self._radius = len(self._kernel) // 2
        self._gap = round(GAP_S * fps)
        self._fade = max(1, round(FADE_S * fps))
        self._least = round(LEAST_S * fps)
        self._ahead = max(self._radius, self._fade, self._least)
        """Frames that must be known after one that is settled."""
        self._run: _Run | None = None
        self._missing: list[int] = []
        """Frames without the face after the run, not settled yet."""

    def push(self, seen: Observation) -> Iterator[Settled]:
        """Take the next observation; gives what has become final by it."""
        run = self._run
        if run is not None and (seen.cut or (seen.points is not None and seen.person != run.person)):
            yield from self._close(fades_out=bool(self._missing))
        if seen.points is None:
            self._missing.append(seen.index)
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
        for k in range(1, n + 1):
            run.points.append(before + (after - before) * (k / (n + 1)))
            run.seen.append(None)
        self._missing.clear()

    def _close(self, *, fades_out: bool) -> Iterator[Settled]:
        run, self._run = self._run, None
        if run is not None and run.fades_in and fades_out and run.end - run.first < self._least:
            self._missing[:0] = range(run.first, run.end)  # none of it is settled yet
        elif run is not None:
            yield from self._settle(run, run.end, run.end if fades_out else None)
        for index in self._missing:
            yield Settled(index, None)
        self._missing.clear()

    def _settle(self, run: _Run, until: int, fades_out_at: int | None) -> Iterator[Settled]:
        """Frames before `until`; the run's edge values repeat beyond its ends."""
        for index in range(run.settled, until):
            window = np.clip(np.arange(index - self._radius, index + self._radius + 1), run.start, run.end - 1)
            points = sum(w * run.points[at - run.start] for w, at in zip(self._kernel, window, strict=True))
            weight = 1.0
            if run.fades_in:
                weight = min(weight, (index - run.first + 1) / (self._fade + 1))
            if fades_out_at is not None:
                weight = min(weight, (fades_out_at - index) / (self._fade + 1))
            assert isinstance(points, np.ndarray)
            observation = run.seen[index - run.start]
            looked = observation is not None and observation.looked
            yield Settled(index, points, run.person, weight, observation is not None, looked)
        run.settled = max(run.settled, until)
        stale = max(0, run.settled - self._radius - run.start)
        del run.points[:stale], run.seen[:stale]
        run.start += stale
