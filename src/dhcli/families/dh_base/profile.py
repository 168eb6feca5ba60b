"""What dh_base keeps of each person in a video: the mouth at rest, and a picture of it wide open, for the teeth."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from dhcli.families.dh_base.geometry import CROP_SIDE, MOUTH_POINTS, Geometry, face_crop_matrix, mouth_opening
from dhcli.stages.align import Area, YuvMatrix, crop_corners, crop_yuv, to_rgb
from dhcli.stages.cutout import Cutout
from dhcli.stages.mesh import pose_free
from dhcli.types import F64, U8, FaceRow

CLOSED_SHARE = 0.15
"""Share of the frames, the most closed ones, whose mean is a person's rest shape."""
MARGIN_PX, MARGIN_SHARE = 8, 0.05
"""Kept around the crop, px and as a share of it: smoothing moves a face by a pixel or two, a fast one by more."""
FAR = 10.0
"""A mouth point is no farther from the canonical face's origin, canonical units; the head is 4.5 high."""
PERSON = np.dtype([("rest", "<f8", (MOUTH_POINTS, 3)), ("reference", "u1", (CROP_SIDE, CROP_SIDE, 3))])


@dataclass(frozen=True, slots=True)
class Person:
    """One person in the video."""

    rest: F64  # (106, 3) canonical units: the mouth when it is closed
    reference: U8  # (160, 160, 3) RGB: the face network's crop with the mouth widest open


class PersonProfiler:
    """Finds rest shapes and references; see `families.family.Profiler`."""

    def __init__(self, geometry: Geometry, yuv: YuvMatrix) -> None:
        self._geometry, self._yuv = geometry, yuv
        self._widest: dict[int, tuple[float, U8]] = {}

    def area(self, face: FaceRow) -> Area:
        """The face network's crop, with a margin."""
        corners = crop_corners(face_crop_matrix(face.pose), (0, 0, CROP_SIDE, CROP_SIDE))
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        margin = MARGIN_PX + MARGIN_SHARE * (x1 - x0)
        return math.floor(x0 - margin), math.floor(y0 - margin), math.ceil(x1 + margin), math.ceil(y1 + margin)

    def see(self, face: FaceRow, picture: Cutout) -> None:
        """Keep the picture of a mouth that is open wider than ever before."""
        opening = mouth_opening(self._mouth(face))
        if opening > self._widest.get(face.person, (-math.inf,))[0]:
            crop = crop_yuv(picture.frame, picture.matrix(face_crop_matrix(face.pose)), CROP_SIDE)
            self._widest[face.person] = opening, np.rint(to_rgb(crop, self._yuv)).astype(np.uint8)

    def finish(self, faces: Callable[[], Iterable[FaceRow]]) -> bytes:
        """All persons, as an array of PERSON."""
        openings: dict[int, array[float]] = {}
        for face in faces():
            if face.seen:
                openings.setdefault(face.person, array("d")).append(mouth_opening(self._mouth(face)))
        limits = {person: float(np.quantile(seen, CLOSED_SHARE)) for person, seen in openings.items()}
        total = {person: np.zeros((MOUTH_POINTS, 3)) for person in limits}
        count = dict.fromkeys(limits, 0)
        for face in faces():
            if face.seen and mouth_opening(mouth := self._mouth(face)) <= limits[face.person]:
                total[face.person] += mouth
                count[face.person] += 1
        people = np.zeros(len(limits), PERSON)
        for person in limits:
            people[person]["rest"] = self._geometry.closed(total[person] / count[person])
            if person in self._widest:
                people[person]["reference"] = self._widest[person][1]
        return people.tobytes()

    def _mouth(self, face: FaceRow) -> F64:
        return pose_free(face.points[self._geometry.mouth], face.pose)


def persons_of(kept: bytes, persons: int) -> tuple[Person, ...]:
    """The persons that `finish` kept. Raises ValueError where these are not `persons` sound ones."""
    people = np.frombuffer(kept, PERSON)
    if len(people) != persons or not (np.abs(people["rest"]) <= FAR).all():
        raise ValueError(f"not the profile of {persons} persons")
    return tuple(Person(one["rest"].astype(np.float64), one["reference"].copy()) for one in people)
