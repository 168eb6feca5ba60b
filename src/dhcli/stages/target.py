"""The face that a shot is about, what is known of the frame that comes in, and what it shows of the face."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dhcli.stages.appearance import View
from dhcli.stages.cuts import Change
from dhcli.stages.find import Region
from dhcli.stages.mesh import landmark_box
from dhcli.stages.search import Spot
from dhcli.types import F32, F64, Box, Frame

STEP = 0.4
"""Farthest that a face moves from one frame to the next, in its own sizes; more is another face."""
GROWTH = 1.5
"""Most that its size changes from one frame to the next."""
SPEED = 3.0
"""How fast a lost face may wander, in its own sizes a second."""
LEAP_S = 0.5
"""A face that was lost for longer comes in anew anyway."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame shows of the followed face."""

    index: int
    points: F64 | None  # (478, 3) image px
    person: int
    cut: bool
    """A new shot begins with this frame."""
    reason: Literal["", "none", "small"] = ""
    """Why there are no points."""
    looked: bool = True
    """False: the points are those between two frames that were looked at."""
    covered: bool = False
    """Something is in front of the mouth; `CoverWatch` tells."""


@dataclass(slots=True)
class Target:
    """The face of this shot."""

    person: int
    points: F64
    region: Region
    box: Box
    seen_at: int
    scene: F32 | None
    """Thumbnail of the picture one to two checks before it was seen last; the last one may be half dissolved."""
    later_scene: F32 | None
    others: tuple[Spot, ...]
    """The other faces at the last check."""
    luma: F32 | None = None
    """Thumbnail of `box` when it was seen last; None where it moved so much that in SAMPLE_S it does not stay near."""

    @property
    def size(self) -> float:
        """Of the face, px."""
        return max(self.box.width, self.box.height)

    def reaches(self, now: Box, lost_s: float) -> bool:
        """Whether the face can have wandered so far in the time since it was seen."""
        return math.dist(self.box.centre, now.centre) <= self.size * (STEP + SPEED * lost_s)

    def leaps(self, now: Landmarks, lost_s: float) -> bool:
        """Whether the face, just lost and found again, is where or as large as it cannot be without a cut."""
        box = landmark_box(now.points)
        grows = max(box.width, box.height) / self.size
        return lost_s <= LEAP_S and not (self.reaches(box, lost_s) and 1 / GROWTH < grows < GROWTH)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A frame as it comes in, before anybody looks for faces in it."""

    frame: Frame
    change: Change
    due: bool
    """The whole picture is to be searched, and the followed face has to look like itself."""
    faces: tuple[Spot, ...]
    """Those in sight when the whole picture was looked at last."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Landmarks found in the current frame."""

    points: F64
    view: View | None = None


def continues(before: Box, now: Box) -> bool:
    """Whether `now` can be the same face one frame later."""
    size, new = max(before.width, before.height), max(now.width, now.height)
    return math.dist(before.centre, now.centre) < STEP * size and 1 / GROWTH < new / size < GROWTH
