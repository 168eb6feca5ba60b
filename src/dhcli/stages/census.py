"""Everybody whom a video shows: where they were seen first, for how long, and whose mouth was taken.

The frames that are searched for faces anyway count. A face where one was at the last look is the same person's; any
other one is compared by its looks with those met before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dhcli.stages.appearance import SAME, Appearance, View
from dhcli.types import Box, Face, Frame

MOST = 32
"""Persons that are told apart; what comes later counts as the most similar one."""
IN_PLACE_IOU = 0.2
"""Overlap of a face with itself at the last look, half a second before."""

Look = Callable[[Frame, Face], View | None]
"""What a face looks like; None where nothing has eyes, nose and mouth in their places."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person of a video."""

    box: Box
    """Where the face was when it was seen first, px of the frame."""
    first: int
    """Index of that frame."""
    last: int
    """Of the last frame in which it was seen."""
    looks: int
    """Searched frames that show it."""
    taken: int
    """Frames in which the mouth is this person's."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The face that the tracker follows."""

    person: int
    """The tracker's number."""
    box: Box
    looks: Appearance


@dataclass(slots=True)
class _Met:
    """A person while the video is searched."""

    looks: Appearance
    box: Box
    first: int
    last: int
    times: int = 1
    here: Box | None = None
    """Where the face was at the last look of this shot."""
    taken: set[int] = field(default_factory=set)
    """Persons of the tracker."""


class Census:
    """Counts the persons of a video whose frames come in order."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._met: list[_Met] = []

    def begin_shot(self) -> None:
        """Another shot begins: where faces were says nothing any more."""
        for met in self._met:
            met.here = None

    def see(self, frame: Frame, faces: Sequence[Face], taken: Taken | None) -> None:
        """The faces of a searched frame, and the one that is followed."""
        before = [(met, met.here) for met in self._met if met.here is not None]
        self.begin_shot()
        if taken is not None:
            self._note(self._taken(taken, frame), taken.box, frame)
            faces = [face for face in faces if face.box.iou(taken.box) <= IN_PLACE_IOU]
        for face in faces:
            met = _in_place(face.box, before) or self._known(frame, face)
            if met is not None:
                self._note(met, face.box, frame)

    def _note(self, met: _Met, box: Box, frame: Frame) -> None:
        met.times += met.last != frame.index
        met.here, met.last = box, frame.index

    def _taken(self, taken: Taken, frame: Frame) -> _Met:
        """The one who is followed, known from now on by what the tracker knows."""
        for met in self._met:
            if taken.person in met.taken:
                return met
        same = next((met for met in self._met if _is_same(met.looks, taken.looks)), None)
        if same is None:
            same = _Met(taken.looks, taken.box, frame.index, frame.index)
            self._met.append(same)
        same.taken.add(taken.person)
        return same

    def sightings(self, frames: Callable[[int], int]) -> tuple[Sighting, ...]:
        """Everybody, as they came. `frames` tells in how many frames a person of the tracker was followed."""
        return tuple(
            Sighting(met.box, met.first, met.last, met.times, sum(map(frames, met.taken))) for met in self._met
        )

    def _known(self, frame: Frame, face: Face) -> _Met | None:
        view = self._look(frame, face)
        if view is None:
            return None
        free = [met for met in self._met if met.here is None]
        best = max(free, key=lambda met: met.looks.similarity(view), default=None)
        if best is not None and (best.looks.similarity(view) >= SAME or len(self._met) >= MOST):
            best.looks.learn(view)
            return best
        if len(self._met) >= MOST:
            return None
        met = _Met(Appearance([view]), face.box, frame.index, frame.index)
        self._met.append(met)
        return met


def _in_place(box: Box, before: list[tuple[_Met, Box]]) -> _Met | None:
    """The person whose face was in this place at the last look, of those not found in this frame yet."""
    free = [(met, here) for met, here in before if met.here is None]
    met, here = max(free, key=lambda pair: box.iou(pair[1]), default=(None, None))
    return met if here is not None and box.iou(here) > IN_PLACE_IOU else None


def _is_same(one: Appearance, other: Appearance) -> bool:
    return any(one.similarity(view) >= SAME for view in other.views)
