"""What dh_base keeps of each person in a video: the mouth at rest, and frames that show what is inside it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from dhcli.families.dh_base.conditions import opening_spread
from dhcli.families.dh_base.drawn import drawn_reference
from dhcli.families.dh_base.follow import Follower
from dhcli.families.dh_base.geometry import (
    CROP_SIDE,
    INNER,
    MOUTH_POINTS,
    Geometry,
    face_crop_matrix,
    mouth_opening,
)
from dhcli.families.dh_base.interior import LEFT, LIGHT_SIDE, NEVER_OPEN, RIGHT, Placed
from dhcli.families.dh_base.references import Candidates, Reference, Stand, all_grin, candidate, stand_of
from dhcli.stages.align import Area, YuvMatrix, crop_corners
from dhcli.stages.cutout import Cutout
from dhcli.stages.mesh import pose_free
from dhcli.types import F64, FaceRow, Frame

CLOSED_SHARE = 0.15
"""Share of the frames, the most closed ones, whose mean is a person's rest shape."""
MARGIN_PX, MARGIN_SHARE = 8, 0.05
"""Kept around the crop, px and as a share of it: smoothing moves a face by a pixel or two, a fast one by more."""
FAR = 10.0
"""A mouth point is no farther from the canonical face's origin, canonical units; the head is 4.5 high."""
SAMPLE = 300
"""Frames of a person that references are chosen for; more change nothing."""
LARGEST_PX = 1 << 14
"""Of a reference's sides."""
PERSON = np.dtype([("rest", "<f8", (MOUTH_POINTS, 3)), ("spread", "<f8"), ("references", "<u4")])
REFERENCE = np.dtype(
    [
        ("size", "<u4", 2),  # width, height of the picture, whose planes follow behind all of these
        ("matrix", "<f8", (2, 3)),
        ("points", "<f8", (MOUTH_POINTS, 2)),
        ("shape", "<f8", (INNER.stop - INNER.start, 2)),
        ("angle", "<f8", 2),
        ("low", "u1", (CROP_SIDE, CROP_SIDE, 3)),
        ("drawn", "u1"),  # 1: the inside of its mouth is drawn, and the rest is about that
        ("upper", "<f8", 2),
        ("lower", "<f8"),
        ("light", "<f4", (LIGHT_SIDE, LIGHT_SIDE, 3)),
    ]
)
NUMBERS = ("matrix", "points", "shape", "angle", "upper", "lower", "light")
"""Of a reference, those that have to be finite."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person in the video."""

    rest: F64  # (106, 3) canonical units: the mouth when it is closed
    spread: float
    """How far this person opens the mouth, canonical units; see `opening_spread`."""
    references: tuple[Reference, ...]
    """Empty where the landmark network was never asked about this person."""
    follower: Follower
    """Chooses one of them for each frame of the output."""


class _Shown:
    """A person's mouth in all frames that show it."""

    def __init__(self) -> None:
        self.openings = array("d")  # canonical units between the inner lips
        self.closed, self.closed_frames = np.zeros((MOUTH_POINTS, 3)), 0
        """Sum and number of the most closed mouths."""
        self.sample: list[tuple[Stand, float]] = []
        self._added = 0

    def add(self, mouth: F64, face: FaceRow, limit: float) -> None:
        """A pose-free mouth, once all openings are known; up to `limit` it counts as closed."""
        opening = self.openings[self._added]
        if opening <= limit:
            self.closed += mouth
            self.closed_frames += 1
        if self._added % max(1, len(self.openings) // SAMPLE) == 0:
            self.sample.append((stand_of(mouth, face), opening))
        self._added += 1


class PersonProfiler:
    """Finds rest shapes and references; see `families.family.Profiler`."""

    def __init__(self, geometry: Geometry, yuv: YuvMatrix) -> None:
        self._geometry, self._yuv = geometry, yuv
        self._candidates: dict[int, Candidates] = {}

    def area(self, face: FaceRow) -> Area:
        """The face network's crop, with a margin."""
        corners = crop_corners(face_crop_matrix(face.pose), (0, 0, CROP_SIDE, CROP_SIDE))
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        margin = MARGIN_PX + MARGIN_SHARE * (x1 - x0)
        return math.floor(x0 - margin), math.floor(y0 - margin), math.ceil(x1 + margin), math.ceil(y1 + margin)

    def see(self, face: FaceRow, picture: Cutout) -> None:
        """Hold the picture where it shows the mouth as no other does."""
        mouth = self._mouth(face)
        stand, opening = stand_of(mouth, face), mouth_opening(mouth)
        held = self._candidates.setdefault(face.person, Candidates())
        if held.wants(stand, opening):
            points = face.points[self._geometry.mouth, :2]
            new = candidate(face, picture, points, stand, opening, self._yuv)
            if new is not None:
                held.add(new, len(self._candidates))

    def finish(self, faces: Callable[[], Iterable[FaceRow]]) -> bytes:
        """All persons, as an array of PERSON, then their references, as one of REFERENCE, then the pictures' planes.

        A person whose mouth is covered in every frame has a rest of 0 and no reference: none is ever asked for.
        """
        shown: dict[int, _Shown] = {}
        persons = 0
        for face in faces():
            persons = max(persons, face.person + 1)
            if face.seen:
                shown.setdefault(face.person, _Shown()).openings.append(mouth_opening(self._mouth(face)))
        limits = {person: float(np.quantile(one.openings, CLOSED_SHARE)) for person, one in shown.items()}
        for face in faces():
            if face.seen:
                shown[face.person].add(self._mouth(face), face, limits[face.person])
        people, references = np.zeros(persons, PERSON), []
        for person, one in sorted(shown.items()):  # the first frames of a person may be covered
            rest = self._geometry.closed(one.closed / one.closed_frames)
            spread = opening_spread(np.asarray(one.openings))
            chosen = self._references(person, one, rest)
            people[person] = rest, spread, len(chosen)
            references += chosen
        return people.tobytes() + _packed(references)

    def _references(self, person: int, shown: _Shown, rest: F64) -> list[Reference]:
        held = self._candidates.get(person, Candidates())
        closed = held.closed()
        chosen = held.chosen(shown.sample, len(self._candidates))
        only_grins = all_grin(chosen, float(np.linalg.norm(rest[RIGHT] - rest[LEFT])))
        if closed is not None and (only_grins or held.widest < NEVER_OPEN):
            return [drawn_reference(closed, rest, self._geometry, self._yuv)]
        return chosen

    def _mouth(self, face: FaceRow) -> F64:
        return pose_free(face.points[self._geometry.mouth], face.pose)


def _packed(references: list[Reference]) -> bytes:
    heads = np.zeros(len(references), REFERENCE)
    for head, one in zip(heads, references, strict=True):
        head["size"] = one.picture.width, one.picture.height
        head["matrix"], head["points"], head["low"] = one.matrix, one.points, one.low
        head["shape"], head["angle"] = one.stand.shape, one.stand.angle
        if one.drawing is not None:
            head["drawn"] = 1
            head["upper"], head["lower"], head["light"] = one.drawing.upper, one.drawing.lower, one.drawing.low
    return b"".join([heads.tobytes(), *(one.picture.bytes for one in references)])


def persons_of(kept: bytes, persons: int) -> tuple[Person, ...]:
    """The persons that `finish` kept. Raises ValueError where these are not `persons` sound ones."""
    people = np.frombuffer(kept, PERSON, persons)
    if not (np.abs(people["rest"]) <= FAR).all() or not (np.abs(people["spread"]) <= FAR).all():
        raise ValueError(f"not the profile of {persons} persons")
    references = iter(_unpacked(kept[people.nbytes :], int(people["references"].sum())))
    return tuple(_person(one, tuple(next(references) for _ in range(one["references"]))) for one in people)


def _person(head: np.void, references: tuple[Reference, ...]) -> Person:
    return Person(head["rest"].astype(np.float64), float(head["spread"]), references, Follower(references))


def _unpacked(kept: bytes, count: int) -> list[Reference]:
    heads, references = np.frombuffer(kept, REFERENCE, count), list[Reference]()
    at = heads.nbytes
    for head in heads:
        width, height = (int(side) for side in head["size"])
        if not all(2 <= side <= LARGEST_PX and side % 2 == 0 for side in (width, height)):
            raise ValueError(f"a reference of {width}x{height} px")
        if not all(np.isfinite(head[name]).all() for name in NUMBERS):
            raise ValueError("a reference without a place")
        matrix, points, shape, angle, upper = (head[name].astype(np.float64) for name in NUMBERS[:5])
        drawing = Placed(upper, float(head["lower"]), head["light"].copy()) if head["drawn"] else None
        if not abs(np.linalg.det(matrix[:, :2])) > 0:
            raise ValueError("a reference without a size")
        planes = np.frombuffer(kept, np.uint8, width * height * 3 // 2, at).reshape(-1, width)
        at += planes.nbytes
        low, stand = head["low"].copy(), Stand(shape, angle)
        references.append(Reference(Frame(0, planes), matrix, low, points, stand, drawing))
    if at != len(kept):
        raise ValueError("bytes behind the last reference")
    return references
