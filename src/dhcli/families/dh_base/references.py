"""Reference frames of a person: which frames of a video show the inside of the mouth best, and their pixels.

The face network moves the lips by itself; what lies behind them it takes from a reference, another frame of the same
person whose lips stand about as wanted, at that frame's own resolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dhcli.families.dh_base.geometry import (
    CROP_SIDE,
    INNER,
    LOWER_LIP,
    PX_PER_UNIT,
    UPPER_LIP,
    face_crop_matrix,
)
from dhcli.families.dh_base.interior import Placed
from dhcli.stages import align
from dhcli.stages.cutout import Cutout, cut_out
from dhcli.types import F64, U8, FaceRow, Frame

MOST = 6
"""References of a person; a seventh lessens the distance to the frames of a talker by less than 1 %."""
CANDIDATES = 24
"""Frames of a person that are held until the video's end, when the references are taken from them."""
HELD_BYTES = 32 << 20
"""Most pixels that candidates of all persons hold; where faces are so large that this would be exceeded, there are
fewer of them."""
KEPT_BYTES, ALL_KEPT_BYTES = 16 << 20, 48 << 20
"""Most pixels of a person's references, and of all persons'."""
AREA: align.Area = (16, 40, 144, 152)
"""What is kept of the crop, crop px: the mouth, and as far around as the network looks for it."""
OPEN = 0.04
"""Canonical units between the inner lips from which a frame shows something of what is inside."""
ANGLE_WEIGHT = 0.4
"""Canonical units of inner-lip distance that 1 rad of yaw or pitch counts as."""
HIDDEN_WEIGHT = 0.2
"""Canonical units of inner-lip distance that a reference counts as which shows nothing of what is wanted."""
ONE_PX = 1 / PX_PER_UNIT
"""Of the crop, canonical units."""
ALIKE = 0.01
"""Frames nearer than this, canonical units, show the same; of two such the sharper one is held."""
PREFERENCE = 0.05
"""Canonical units by which the sharpest candidate is preferred to the softest."""
LEAST_GAIN = 0.01
"""Share of the summed distance that another reference must take away."""
WIDE = 0.5
"""Of the widest mouth's opening; a narrower mouth is no reference."""
GRIN = 1.25
"""Of the width at rest: a wider mouth grins, and a speaking mouth would squeeze its teeth. The references of seven
talkers have 0.87 to 1.22, those of a man who only grins 1.5."""
DIM = 0.6
"""Of the median brightness: a mouth darker than this lies in shadow or behind something."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How a mouth stands."""

    shape: F64  # (20, 2) inner lips in the head, canonical units; not centred: the teeth stand still in the head
    angle: F64  # (2,) yaw and pitch, rad

    @property
    def width(self) -> float:
        """Between the corners of the inner lips, canonical units."""
        return float(np.linalg.norm(self.shape[len(self.shape) // 2] - self.shape[0]))


def stand_of(mouth: F64, face: FaceRow) -> Stand:  # (106, 3) pose-free
    """How the mouth of a face stands."""
    return Stand(mouth[INNER, :2], yaw_pitch(face))


def yaw_pitch(face: FaceRow) -> F64:  # (2,)
    """Where a face looks, rad; the crop is upright and has no roll."""
    return np.asarray(np.arcsin(np.clip(face.pose.rotation[:2, 2], -1, 1)), np.float64)


@dataclass(frozen=True, slots=True)
class Stands:
    """How several mouths stand."""

    shapes: F64  # (n, 20, 2)
    angles: F64  # (n, 2)

    @classmethod
    def of(cls, stands: Iterable[Stand]) -> Stands:
        """Those of single mouths."""
        several = list(stands)
        return cls(np.array([one.shape for one in several]), np.array([one.angle for one in several]))

    @property
    def gaps(self) -> F64:  # (n,)
        """Between the middles of the inner lips, canonical units."""
        apart = self.shapes[:, LOWER_LIP - INNER.start] - self.shapes[:, UPPER_LIP - INNER.start]
        return np.asarray(np.linalg.norm(apart, axis=-1), np.float64)


def distances(some: Stands, others: Stands) -> F64:  # (m, n)
    """How far mouths stand from each other, canonical units: mean distance of the lips, and the turn of the head."""
    lips = np.linalg.norm(some.shapes[:, None] - others.shapes[None], axis=-1).mean(-1)
    return np.asarray(lips + ANGLE_WEIGHT * np.abs(some.angles[:, None] - others.angles[None]).sum(-1), np.float64)


def visible(lent: Stands, wanted: Stands) -> F64:  # (m, n) 0..1
    """Whether references show what is to be seen in a mouth: 0 where their lips are nearly closed over it.

    The face network trusts them by the same measure, and paints fog where it does not.
    """
    ratio = (lent.gaps[:, None] + ONE_PX) / (wanted.gaps[None] + ONE_PX)
    return np.asarray(np.clip((ratio - 0.3) / 0.3, 0, 1), np.float64)


def costs(lent: Stands, wanted: Stands) -> F64:  # (m, n)
    """How badly references would serve for mouths, canonical units."""
    return distances(lent, wanted) + HIDDEN_WEIGHT * (1 - visible(lent, wanted))


@dataclass(frozen=True)
class Reference:
    """A frame of the person that lends the inside of its mouth."""

    picture: Frame
    """The part of the frame around the mouth, as it was decoded."""
    matrix: F64  # (2, 3) px of `picture` -> px of the face network's crop
    low: U8  # (160, 160, 3) RGB: what the network sees
    points: F64  # (106, 2) the mouth's points, crop px
    stand: Stand
    drawing: Placed | None = None
    """Of the inside, where the picture's is drawn; the network's flow onto it is not used then."""

    @cached_property
    def image_px(self) -> float:
        """Px of the picture per px of the crop."""
        return align.spacing(self.matrix)


def all_grin(references: Sequence[Reference], width_at_rest: float) -> bool:
    """Whether none of them shows the mouth as it speaks. The width is that of the closed mouth, canonical units."""
    return all(one.stand.width > GRIN * width_at_rest for one in references)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that may become a reference."""

    reference: Reference
    opening: float  # canonical units between the inner lips
    sharpness: float
    """Mean absolute Laplacian of the luma inside the lips at the crop's resolution, levels."""
    brightness: float
    """90 % quantile of the luma there."""


def candidate(
    face: FaceRow, picture: Cutout, points: F64, stand: Stand, opening: float, yuv: align.YuvMatrix
) -> Candidate | None:
    """The candidate that a face makes; None where its lips lie beyond the crop, and are none.

    `points` (106, 2) are the mouth's in image px.
    """
    matrix = face_crop_matrix(face.pose)
    crop = align.crop_yuv(picture.frame, picture.matrix(matrix), CROP_SIDE)
    inside = cv2.fillPoly(
        np.zeros((CROP_SIDE, CROP_SIDE), np.uint8), [np.rint(align.apply(matrix, points)[INNER]).astype(np.int32)], 1
    ).astype(bool)
    if not inside.any():
        return None
    luma = np.ascontiguousarray(crop[..., 0])
    corners = align.crop_corners(picture.matrix(matrix), AREA)
    part = cut_out(picture.frame, corners.min(0), corners.max(0))
    reference = Reference(
        part.frame,
        part.matrix(picture.matrix(matrix)),
        np.rint(align.to_rgb(crop, yuv)).astype(np.uint8),
        align.apply(matrix, points),
        stand,
    )
    sharpness = float(np.abs(cv2.Laplacian(luma, cv2.CV_32F))[inside].mean())
    return Candidate(reference, opening, sharpness, float(np.quantile(luma[inside], 0.9)))


class Candidates:
    """Frames of one person, as unlike each other as can be, of a video that passes by once."""

    def __init__(self) -> None:
        self._held: list[Candidate] = []
        self._widest = 0.0

    def wants(self, stand: Stand, opening: float) -> bool:
        """Whether a frame may be worth holding. The widest mouth always is, also where it is hardly open."""
        if opening > self._widest or not self._held:
            return True
        return opening > OPEN and float(distances(Stands.of([stand]), self._stands()).min()) > ALIKE

    def add(self, new: Candidate, persons: int = 1) -> None:
        """Hold a frame; where there are too many, of the two that are most alike the softer one goes.

        So many `persons` share the memory.
        """
        if self._widest <= OPEN:  # nothing of the inside was shown before
            self._held.clear()
        self._widest = max(self._widest, new.opening)
        self._held.append(new)
        most = max(MOST, min(CANDIDATES, HELD_BYTES // persons // new.reference.picture.data.nbytes))
        while len(self._held) > most:
            self._drop()

    def _drop(self) -> None:
        stands = self._stands()
        apart = distances(stands, stands)
        np.fill_diagonal(apart, np.inf)
        pair = np.unravel_index(int(np.argmin(apart)), apart.shape)
        del self._held[min((int(i) for i in pair), key=lambda i: self._held[i].sharpness)]

    def _stands(self) -> Stands:
        return Stands.of(one.reference.stand for one in self._held)

    @property
    def widest(self) -> float:
        """Canonical units between the lips where they are farthest apart."""
        return self._widest

    def closed(self) -> Reference | None:
        """The most closed and most frontal mouth; None where nothing was held."""
        return min(
            (one.reference for one in self._held),
            key=lambda one: float(Stands.of([one.stand]).gaps[0] + ANGLE_WEIGHT * np.abs(one.stand.angle).sum()),
            default=None,
        )

    def chosen(self, shown: Sequence[tuple[Stand, float]], persons: int = 1) -> list[Reference]:
        """Up to `MOST` frames that together come nearest to every mouth of the video.

        `shown` has how the mouth stands in a sample of the frames, and how far it is open. The first reference is the
        widest mouth of those that are well visible; each next one is the frame that most lessens the summed distance
        of all frames to their nearest reference. Frames with a wide mouth count more, and sharp ones are preferred. So
        many `persons` share the memory.
        """
        held = sorted(self._telling(), key=lambda one: -one.opening)
        if not held or not shown:
            return []
        wanted, lent = Stands.of(stand for stand, _ in shown), Stands.of(one.reference.stand for one in held)
        openings = np.array([opening for _, opening in shown])
        weights = 0.2 + openings / (openings.max() + 1e-6)
        order = np.argsort(np.argsort([one.sharpness for one in held]))
        softness = PREFERENCE * (1 - order / len(held))
        cost = costs(lent, wanted) + softness[:, None]
        chosen, nearest = [0], cost[0]
        kept_bytes = min(KEPT_BYTES, ALL_KEPT_BYTES // persons)
        most = max(1, min(MOST, kept_bytes // max(one.reference.picture.data.nbytes for one in held)))
        while len(chosen) < most:
            gains = (np.maximum(0, nearest - cost) * weights).sum(1)
            best = int(np.argmax(gains))
            if gains[best] <= LEAST_GAIN * float((nearest * weights).sum()):
                break
            chosen.append(best)
            nearest = np.minimum(nearest, cost[best])
        return [held[i].reference for i in chosen]

    def _telling(self) -> list[Candidate]:
        """Those that are wide open, and neither blurred nor dark there; all that are wide, where there is no other.

        A wide mouth serves for a narrow one, too: the lips cover what is not wanted. The other way round there is fog.
        """
        if not self._held:
            return []
        wide = [one for one in self._held if one.opening >= WIDE * self._widest]
        soft = float(np.quantile([one.sharpness for one in wide], 0.25))
        dark = DIM * float(np.median([one.brightness for one in wide]))
        return [one for one in wide if one.sharpness >= soft and one.brightness >= dark] or wide
