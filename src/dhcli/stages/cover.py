"""Whether something is in front of a mouth: the pattern of lips, chin and cheeks beside how the person looked before.

The landmark network cannot tell: with a hand or a microphone over the lips it places them as ever, with presence 1.
Samples at the landmarks move with head and speech, so each is always of the same skin, and their correlation with the
samples before does not see light and shadow. Where the upper face's pattern is lost as well, a head turns, leaves or is
lit from elsewhere, and nothing is in front of it.

Frames come in order; memory does not grow with the length of the video.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import cv2
import numpy as np

from dhcli.stages.align import apply, crop_matrix, crop_yuv
from dhcli.stages.mesh import INNER_LIP, LANDMARKS, FaceMesh, Rows
from dhcli.stages.smooth import GAP_S
from dhcli.stages.target import Observation
from dhcli.types import F32, F64, Frame

SIDE, UNITS, CENTRE = 64, 3.8, np.array([0.0, 1.0, 0.0])
"""Of the crop that is sampled: px, canonical units, and its middle. With the pose it takes 0.3 ms a frame."""
IRISES = 468
"""The landmarks from here on."""
CHROMA_WEIGHT = 2.8
"""Of colour beside luma: lips differ from skin by 20 levels of luma and 8 of each colour."""
LEAST_PATTERN = 3.0
"""Root mean square of a pattern, levels of luma, below which it tells nothing; faces have 10 to 16, grey ones 7."""
UNLIKE, STILL_UNLIKE = 0.5, 0.65
"""Correlation below which the lower face becomes another one, and stays one. Of 18,458 frames of 154 clips, their lips
alone, 9 are below 0.5, in two clips of grimaces. In eight clips of people who talk it is 0.91 or more, with noise, blur
and shadow 0.7; with a hand, microphone, cup or bar over the lips 0.45 at most, with letters 0.3 to 0.55."""
SUDDEN, STILL_SUDDEN = 0.22, 0.15
"""By so much less than before is the correlation where something appears, and stays: letters on upper lip or chin leave
0.5 to 0.75 of 0.99. Those who talk lose 0.06 from one look to the next."""
SUDDEN_S = 1.0
"""In this time what was before is forgotten: letters fade in within half of it."""
STEADIER, STILL_STEADIER = 0.3, 0.15
"""By so much the upper face's correlation is higher where the mouth becomes, and stays, covered: there it is 0.9 or
more. With a shadow that sweeps over the face, or a face that leaves the picture, it is 0.1 higher."""
SUDDEN_STEADIER = 0.22
"""The first, where something appears."""
LEAST_LEARNT, LEARNT_S = 5, 0.3
"""Frames, and time, of a person and shot after which something can be told."""
MEMORY_S = 2.0
"""Time constant in which the pattern follows slow changes: heads turn, light changes."""
LEAST_HOLD_S, MOST_HOLD_S = 2.0, 20.0
"""What covers the mouth for twice the time that was learnt from before, between these two, is how the person looks."""


@dataclass(slots=True)
class _Looks:
    """One person in one shot."""

    lower: F32
    """Pattern of the lower face, (n, 3); see `_pattern`."""
    upper: F32
    likeness: float = 1.0
    """Correlation of the lower face a short while before, when it was not covered."""
    frames: int = 1
    """Learnt from."""
    covered: int = 0
    """Frames in a row."""
    before: _Looks | None = None
    """Those that a cover which stayed has replaced."""

    def covers(self, lower: float, upper: float) -> bool:
        """Whether a lower and an upper face with these correlations have something in front of the mouth."""
        if self.covered:
            return lower < max(STILL_UNLIKE, self.likeness - STILL_SUDDEN) and upper >= lower + STILL_STEADIER
        if lower < UNLIKE:
            return upper >= lower + STEADIER
        return lower < self.likeness - SUDDEN and upper >= lower + SUDDEN_STEADIER

    def learn(self, lower: F32, upper: F32, rate: float) -> None:
        self.frames += 1
        rate = max(rate, 1 / self.frames)
        self.lower += np.float32(rate) * (lower - self.lower)
        self.upper += np.float32(rate) * (upper - self.upper)


@dataclass(slots=True)
class CoverWatch:
    """Says of each observation of a tracker whether the mouth is covered."""

    mesh: FaceMesh
    fps: float
    _looks: dict[int, _Looks] = field(default_factory=dict)
    """By person, of this shot."""
    _last: Observation | None = None
    """The last one with points, of this shot."""
    _learnt: int = field(init=False)
    _lower: Rows = field(init=False)
    _upper: Rows = field(init=False)

    def __post_init__(self) -> None:
        self._learnt = max(LEAST_LEARNT, round(LEARNT_S * self.fps))
        x, y, z = self.mesh.canonical.T
        skin = (np.arange(LANDMARKS) < IRISES) & (z < 0.35)  # not the face's outline, beyond which is the background
        # Not the nose: what covers the mouth often covers that, too.
        self._upper = np.flatnonzero(skin & (y > -0.7) & (y < 0.6) & (np.abs(x) < 1.1))
        skin[list(INNER_LIP)] = False
        self._lower = np.flatnonzero(skin & (y > 1.15) & (y < 2.35) & (np.abs(x) < 0.85))

    def look(self, frame: Frame, seen: Observation) -> Observation:
        """The observation, with `covered` where the mouth is; a face that was just lost is judged in its last place."""
        if seen.cut:
            self._looks.clear()
            self._last = None
        last = self._last
        if last is not None and not seen.looked:  # its picture is between those of two frames that were looked at
            return dataclasses.replace(seen, covered=last.covered)
        if seen.points is not None:
            self._last = dataclasses.replace(seen, covered=self._judge(frame, seen.points, seen.person))
            return self._last
        if last is None or last.points is None or seen.index - last.index > GAP_S * self.fps:
            return seen
        looks, patterns = self._looks.get(last.person), self._patterns(frame, last.points)
        if looks is None or patterns is None or looks.frames < self._learnt:
            return seen
        return dataclasses.replace(seen, covered=_likeness(patterns[0], looks.lower) < UNLIKE)

    def _judge(self, frame: Frame, points: F64, person: int) -> bool:
        patterns, looks = self._patterns(frame, points), self._looks.get(person)
        if patterns is None:
            return False
        if looks is None:
            self._looks[person] = _Looks(*patterns)
            return False
        lower, upper = _likeness(patterns[0], looks.lower), _likeness(patterns[1], looks.upper)
        if lower < UNLIKE and looks.before is not None and _likeness(patterns[0], looks.before.lower) >= STILL_UNLIKE:
            looks.before.covered = 0
            self._looks[person] = looks.before
            return False
        if looks.frames < self._learnt or not looks.covers(lower, upper):
            if lower < (STILL_UNLIKE if looks.covered else UNLIKE):
                looks.frames = min(looks.frames, self._learnt)  # the whole face has changed: learn anew, and fast
            looks.covered, looks.likeness = 0, max(lower, looks.likeness - SUDDEN / (SUDDEN_S * self.fps))
            looks.learn(*patterns, 1 / (MEMORY_S * self.fps))
            return False
        looks.covered += 1
        hold_s = min(max(2 * looks.frames / self.fps, LEAST_HOLD_S), MOST_HOLD_S)
        if looks.covered <= hold_s * self.fps:
            return True
        self._looks[person] = _Looks(*patterns, before=dataclasses.replace(looks, before=None))
        return False

    def _patterns(self, frame: Frame, points: F64) -> tuple[F32, F32] | None:
        """Of lower and upper face; None where the face reaches out of the frame."""
        places = points[np.concatenate([self._lower, self._upper]), :2]
        if (places < 0).any() or (places > (frame.width - 1, frame.height - 1)).any():
            return None
        matrix = crop_matrix(self.mesh.pose(points), CENTRE, SIDE / UNITS, SIDE)
        crop = cv2.blur(crop_yuv(frame, matrix, SIDE), (3, 3)).astype(np.float32)
        at = apply(matrix, places).astype(np.float32)
        sampled = cv2.remap(crop, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        samples, n = np.asarray(sampled, np.float32)[:, 0], len(self._lower)
        return _pattern(samples[:n]), _pattern(samples[n:])


def _pattern(samples: F32) -> F32:  # (n, 3) YUV -> (n, 3)
    """How the samples differ from their mean, in levels of luma."""
    return np.asarray((samples - samples.mean(0)) * (1.0, CHROMA_WEIGHT, CHROMA_WEIGHT), np.float32)


def _likeness(now: F32, before: F32) -> float:
    """Their correlation; 1 where there was no pattern that could be lost."""
    if np.sqrt(np.mean(before**2)) < LEAST_PATTERN:
        return 1.0
    return float((now * before).sum() / (np.linalg.norm(now) * np.linalg.norm(before) + 1e-6))
