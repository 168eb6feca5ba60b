"""A crop of the face and the mouth that it should have: what the face network is asked, and what it answers.

The network sees 160 x 160 px around the mouth with the head upright, a reference frame of the same person, where each
mouth point is in both, and where it has to go; and both pictures with the points roughly there already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dhcli.families.dh_base.conditions import MouthAsked
from dhcli.families.dh_base.geometry import (
    CROP_SIDE,
    INNER,
    PX_PER_UNIT,
    Geometry,
    face_crop_matrix,
    opening_share,
)
from dhcli.families.dh_base.hue import Hue, hue_of
from dhcli.families.dh_base.interior import Answer, show
from dhcli.families.dh_base.profile import Person
from dhcli.families.dh_base.question import Question
from dhcli.families.dh_base.references import Reference, Stand, yaw_pitch
from dhcli.families.family import Shot
from dhcli.stages import align
from dhcli.stages.mesh import pose_free
from dhcli.types import F32, F64, FaceRow

HAZE = 0.08
"""Weights up to this count as nothing: the network gives cheeks and chin some per cent, which shows nothing new, blurs
skin, and takes as long as the mouth."""
OUTPUTS = ("flow", "reference_flow", "rgb", "weights", "light")
Speak = Callable[[dict[str, F32]], Sequence[F32]]
"""The face network: a `Question` in; OUTPUTS out, flows (n, 2, 160, 160) crop px, rgb (n, 3, 160, 160), weights
(n, 2, 160, 160) of colour and reference, and light (n, 3, 40, 40), which is added to the reference."""


@dataclass(frozen=True, slots=True)
class Mouth:
    """The network's answer for one frame and one reference, in crop px."""

    matrix: F64  # (2, 3) image px -> crop px
    flow: F32  # (160, 160, 2) px, from the new picture's pixel to where it comes from in the frame
    reference_flow: F32  # (160, 160, 2) px, the same in the reference
    colour: F32  # (160, 160, 3) RGB 0..255: what neither of them shows
    weights: F32  # (160, 160, 2) how much of the colour and of the reference to take instead of the frame
    light: F32  # (40, 40, 3) RGB in levels: what the reference lacks of the light that is here
    reference: Reference


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the mouth of one frame is to stand."""

    matrix: F64  # (2, 3) image px -> crop px
    source: F64  # (106, 2) crop px: where the mouth points are
    target: F64  # (106, 2) crop px: where they are to be
    stand: Stand
    opening: float  # of the inner lips, in widths of the mouth


def wanted(face: FaceRow, rest: F64, code: F64, geometry: Geometry) -> Wanted:
    """How `code` puts the mouth of a face. `rest` (106, 3) is the person's mouth at rest.

    The change of shape is taken along the basis in canonical units and turned into the crop by the head's rotation
    without its roll, which the crop has already.
    """
    matrix, mouth = face_crop_matrix(face.pose), face.points[geometry.mouth]
    points = align.apply(matrix, mouth[:, :2])
    angle = -align.roll(face.pose)
    c, s = math.cos(angle), math.sin(angle)
    unroll = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    free = pose_free(mouth, face.pose)
    move = face.weight * (code - geometry.mouth_code(free, rest))
    change = np.einsum("k,kij->ij", move, geometry.basis)
    target = points + (change @ (unroll @ face.pose.rotation).T)[:, :2] * PX_PER_UNIT
    shape = rest[INNER] + np.einsum("k,kij->ij", code, geometry.basis[:, INNER])
    return Wanted(matrix, points, target, Stand(shape[:, :2], yaw_pitch(face)), opening_share(free + change))


@dataclass(frozen=True, slots=True)
class Spoken:
    """The new mouth of one shot: one answer, or two while one reference gives way to the next."""

    mouths: tuple[tuple[float, Mouth], ...]
    """Shares, which add up to 1, and answers."""
    wanted: Wanted
    reference: int
    """Number of the reference, among the person's, that has the largest share."""


class Speaker:
    """Asks a face network for mouths. It keeps the memory of its questions. Not for two threads at once."""

    def __init__(self, network: Speak, geometry: Geometry) -> None:
        self._network, self._geometry = network, geometry
        self._question = Question(0)

    def speak(self, shots: Sequence[Shot], yuv: align.YuvMatrix) -> list[Spoken]:
        """The new mouth of every shot, all in one call of the network; good until the next call.

        Shots come in the order of the output: which reference a frame gets depends on the frames before it.
        """
        asked = [_Asked.of(shot, self._geometry, yuv) for shot in shots]
        rows = [(one, reference) for one in asked for _, _, reference in one.uses]
        if len(rows) > self._question.capacity:
            self._question = Question(len(rows))
        for i, (one, reference) in enumerate(rows):
            own = (one.crop, one.wanted.source)
            self._question.put(i, own, (reference.low, reference.points), one.wanted.target)
        answers = iter(zip(*self._network(self._question.of(len(rows))), strict=True))
        return [one.answered([next(answers) for _ in one.uses]) for one in asked]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of one shot."""

    wanted: Wanted
    rest: F64  # (106, 3) the person's mouth at rest, canonical units
    crop: F32  # (160, 160, 3) RGB 0..255
    hue: Hue
    uses: list[tuple[int, float, Reference]]
    """Number, share and reference."""

    @classmethod
    def of(cls, shot: Shot, geometry: Geometry, yuv: align.YuvMatrix) -> _Asked:
        person: Person = shot.profile[shot.face.person]
        asked: MouthAsked = shot.condition
        goal = wanted(shot.face, person.rest, asked.code_for(person.spread, geometry), geometry)
        crop = align.to_rgb(align.crop_yuv(shot.frame, goal.matrix, CROP_SIDE), yuv)
        if person.references:
            followed = person.follower.follow(shot.frame.index, goal.stand)
            uses = [(use.number, use.share, person.references[use.number]) for use in followed]
        else:  # the frame itself is all there is of this person
            low = np.rint(crop).astype(np.uint8)
            uses = [(0, 1.0, Reference(shot.frame, goal.matrix, low, goal.source, goal.stand))]
        return cls(goal, person.rest, crop, hue_of(crop), uses)

    def answered(self, answers: Sequence[Sequence[F32]]) -> Spoken:
        """With the network's rows for each use."""
        mouths = [
            (share, self._mouth(reference, *answer))
            for (_, share, reference), answer in zip(self.uses, answers, strict=True)
        ]
        return Spoken(tuple(mouths), self.wanted, max(self.uses, key=lambda use: use[1])[0])

    def _mouth(self, reference: Reference, flow: F32, reference_flow: F32, rgb: F32, weights: F32, light: F32) -> Mouth:
        goal, last, weights = self.wanted, (1, 2, 0), _without_haze(weights)
        if reference.drawing is not None:
            show(reference.drawing, goal.target, goal.stand.angle, self.rest, Answer(reference_flow, weights, light))
        return Mouth(
            goal.matrix,
            flow.transpose(last),
            reference_flow.transpose(last),
            self.hue.tone(rgb.transpose(last) * 255),
            weights.transpose(last),
            self.hue.tone(light.transpose(last) * 255),
            reference,
        )


def _without_haze(weights: F32) -> F32:  # (2, 160, 160) -> (2, 160, 160)
    total = weights[0] + weights[1]
    return np.asarray(weights * (np.maximum(0, total - HAZE) / ((1 - HAZE) * np.maximum(total, HAZE))), np.float32)
