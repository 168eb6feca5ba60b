"""A crop of the face and the mouth code that it should have: what the face network is asked, and what it answers.

The network sees 160 x 160 px around the mouth with the head upright, the same person with the mouth open (for the
teeth), where each mouth point is and where it has to go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.families.dh_base.geometry import CROP_SIDE, MOUTH_POINTS, PX_PER_UNIT, Geometry, face_crop_matrix
from dhcli.families.dh_base.profile import Person
from dhcli.families.family import Shot
from dhcli.stages import align
from dhcli.stages.mesh import pose_free
from dhcli.types import F32, F64, U8, FaceRow

Speak = Callable[[dict[str, F32]], tuple[F32, F32, F32]]
"""The face network: `source`, `reference` (n, 3, 160, 160), `source_points`, `target_points` (n, 106, 2) in;
flow (n, 2, 160, 160), rgb (n, 3, 160, 160) and alpha (n, 1, 160, 160) out."""


@dataclass(frozen=True, slots=True)
class Mouth:
    """The network's answer for one frame, in crop px."""

    matrix: F64  # (2, 3) image px -> crop px
    flow: F32  # (160, 160, 2) px, from the new picture's pixel to where it comes from
    colour: F32  # (160, 160, 3) RGB 0..255
    opacity: F32  # (160, 160) how much of the colour to take instead of the frame's own pixels


def target_points(face: FaceRow, rest: F64, matrix: F64, code: F64, geometry: Geometry) -> tuple[F64, F64]:
    """Where the mouth points are and where `code` puts them, (106, 2) crop px each. `rest` is the mouth at rest.

    The change of shape is taken along the basis in canonical units and turned into the crop by the head's rotation
    without its roll, which the crop has already.
    """
    mouth = face.points[geometry.mouth]
    points = align.apply(matrix, mouth[:, :2])
    angle = -align.roll(face.pose)
    c, s = math.cos(angle), math.sin(angle)
    unroll = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    move = code - geometry.mouth_code(pose_free(mouth, face.pose), rest)
    change = np.einsum("k,kij->ij", face.weight * move, geometry.basis)
    return points, points + (change @ (unroll @ face.pose.rotation).T)[:, :2] * PX_PER_UNIT


class Speaker:
    """Asks a face network for mouths. It keeps the memory of its questions. Not for two threads at once."""

    def __init__(self, network: Speak, geometry: Geometry) -> None:
        self._network, self._geometry = network, geometry
        self._question = _Question(0)

    def speak(self, shots: Sequence[Shot], yuv: align.YuvMatrix) -> list[Mouth]:
        """The new mouth of every shot, all in one call of the network; good until the next call."""
        if len(shots) > self._question.capacity:
            self._question = _Question(len(shots))
        matrices = [face_crop_matrix(shot.face.pose) for shot in shots]
        for i, (shot, matrix) in enumerate(zip(shots, matrices, strict=True)):
            self._question.put(i, shot, matrix, self._geometry, yuv)
        flow, colour, opacity = self._network(self._question.of(len(shots)))
        return [
            Mouth(matrix, flow[i].transpose(1, 2, 0), colour[i].transpose(1, 2, 0) * 255, opacity[i, 0])
            for i, matrix in enumerate(matrices)
        ]


class _Question:
    """What the face network is asked about up to `capacity` shots."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        pictures, points = (capacity, 3, CROP_SIDE, CROP_SIDE), (capacity, MOUTH_POINTS, 2)
        self._feeds: dict[str, F32] = {
            "source": np.empty(pictures, np.float32),
            "reference": np.empty(pictures, np.float32),
            "source_points": np.empty(points, np.float32),
            "target_points": np.empty(points, np.float32),
        }
        self._references: list[U8 | None] = [None] * capacity

    def of(self, count: int) -> dict[str, F32]:
        """The network's inputs for the first `count` shots."""
        return {name: values[:count] for name, values in self._feeds.items()}

    def put(self, i: int, shot: Shot, matrix: F64, geometry: Geometry, yuv: align.YuvMatrix) -> None:
        """Shot number `i`."""
        feeds = self._feeds
        person: Person = shot.profile[shot.face.person]
        crop = align.to_rgb(align.crop_yuv(shot.frame, matrix, CROP_SIDE), yuv)
        _planes(crop, feeds["source"][i])
        if self._references[i] is not person.reference:  # the same one for all of a person's frames
            _planes(person.reference, feeds["reference"][i])
            self._references[i] = person.reference
        feeds["source_points"][i], feeds["target_points"][i] = target_points(
            shot.face, person.rest, matrix, shot.condition, geometry
        )


def _planes(picture: U8 | F32, feed: F32) -> None:  # (H, W, 3), (3, H, W)
    """Write RGB 0..255 as the network takes it, 0..1."""
    cv2.split(picture * np.float32(1 / 255), list(feed))  # a fifth of numpy's time for transposing
