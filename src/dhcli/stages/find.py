"""Faces in one frame: where the detector sees them, and the landmarks of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import cv2
import numpy as np

from dhcli.stages.align import YuvMatrix, apply, crop_yuv, to_rgb
from dhcli.stages.cutout import cut_out
from dhcli.stages.mesh import EYE_CORNERS, LANDMARKS, FaceMesh, landmark_box
from dhcli.types import F32, F64, Box, Face, Frame

DETECTOR_SIDE = 192
DETECTOR_CELLS = 48
"""The detector answers for each cell of a 48 x 48 grid."""
LANDMARK_SIDE = 256

SEES_ALL_PX = 384
"""Frames of no more than this have no face that is large enough to use and too small for the detector."""
TILE_SHARE = 0.55
"""Side of a tile, in shorter sides of the frame."""
DETECTED = 0.5
"""Score from which a detection is a face."""
PRESENT = 0.5
"""Presence probability above which the landmarks lie on a face."""
SAME_FACE_IOU = 0.3
"""Two detections that overlap more than this are the same face."""
MARGIN = 1.5
"""Side of the landmark network's region, in face sizes."""
OFF_CENTRE = 0.06
"""How far from the middle of its region, in the region's sides, a face may lie for one look to place its mouth. Farther
out, 5 of 103 frames of a small fast face were off by more than a quarter of the mouth's width; the second look left
none."""
OFF_SIZE = 1.2
"""The same for its size, as a ratio: speaking changes it by less."""

Detect: TypeAlias = Callable[[F32], tuple[F32, F32]]
"""The detector: RGB -1..1 (1, 192, 192, 3) in; boxes and key points (1, 2304, 16) and logits (1, 2304, 1) out."""
Locate: TypeAlias = Callable[[F32], tuple[F32, F32]]
"""The landmark network: RGB 0..1 (1, 256, 256, 3) in; points (1, 1, 1, 1434) and a logit (1, 1, 1, 1) out."""


class FaceNetworks(Protocol):
    """The two networks that find faces, and the landmarks that they place."""

    @property
    def mesh(self) -> FaceMesh:
        """The canonical face."""

    def detect(self, picture: F32) -> tuple[F32, F32]:
        """See `Detect`. Raises DhError model.*, device.*."""

    def locate(self, crop: F32) -> tuple[F32, F32]:
        """See `Locate`. Raises DhError model.*, device.*."""


@dataclass(frozen=True, slots=True)
class Region:
    """The square that the landmark network looks at."""

    centre: tuple[float, float]  # image px
    size: float  # side, px
    angle: float  # rad, of the line between the eyes

    def to_image(self) -> F64:
        """Crop px to image px, (2, 3)."""
        c, s = (f(self.angle) * self.size / LANDMARK_SIDE for f in (math.cos, math.sin))
        half = LANDMARK_SIDE / 2
        x, y = self.centre
        return np.array([[c, -s, x - (c - s) * half], [s, c, y - (s + c) * half]])

    def from_image(self) -> F64:
        """Image px to crop px, (2, 3)."""
        k = LANDMARK_SIDE / self.size
        c, s = math.cos(self.angle) * k, math.sin(self.angle) * k
        linear = np.array([[c, s], [-s, c]])
        return np.column_stack([linear, LANDMARK_SIDE / 2 - linear @ self.centre])

    def is_off(self, other: Region) -> bool:
        """Whether the face of this region lies so far out in the other one that the landmarks found there are poor."""
        moved = math.dist(self.centre, other.centre) / other.size
        return moved > OFF_CENTRE or not 1 / OFF_SIZE < self.size / other.size < OFF_SIZE


def region_from_face(face: Face) -> Region:
    """Where to look for the landmarks of a detected face."""
    (x0, y0), (x1, y1) = face.eyes
    return Region(face.box.centre, max(face.box.width, face.box.height) * MARGIN, math.atan2(y1 - y0, x1 - x0))


def region_from_landmarks(points: F64) -> Region:  # (478, 3)
    """Where to look for the landmarks of the next frame."""
    box = landmark_box(points)
    dx, dy = (points[EYE_CORNERS[1]] - points[EYE_CORNERS[0]])[:2]
    return Region(box.centre, max(box.width, box.height) * MARGIN, math.atan2(dy, dx))


def find_faces(
    detect: Detect, frame: Frame, yuv: YuvMatrix, threshold: float = DETECTED, *, turns: int = 0
) -> list[Face]:
    """All faces with a score above `threshold`, the largest first. Raises what the network raises.

    `turns` counts quarter turns, counter-clockwise, that set the picture upright first: the detector finds at most half
    of a face that lies on its side or stands on its head.
    """
    scale = DETECTOR_SIDE / max(frame.height, frame.width)
    canvas, left, top = _letterbox(frame, yuv, scale)
    canvas = np.rot90(canvas, turns)
    values, logits = detect(canvas[None] / np.float32(127.5) - np.float32(1))
    score = 1 / (1 + np.exp(-np.clip(logits[0, :, 0].astype(np.float64), -80, 80)))
    keep = np.flatnonzero(score > threshold)
    rows, columns = np.divmod(keep, DETECTOR_CELLS)
    anchors = (np.stack([columns, rows], 1) + 0.5) / DETECTOR_CELLS * DETECTOR_SIDE
    points = values[0, keep].astype(np.float64).reshape(-1, 8, 2)  # centre, size, six key points
    points[:, 0] += anchors
    points[:, 2:] += anchors[:, None]
    for _ in range(turns):
        points[:, 1] = points[:, 1, ::-1]
        points[:, [0, 2, 3, 4, 5, 6, 7]] = _turned_back(points[:, [0, 2, 3, 4, 5, 6, 7]])
    offset = np.array([left, top])
    faces = [
        Face(_box((p[0] - offset) / scale, p[1] / scale), (p[2:4] - offset) / scale, float(s))
        for p, s in zip(points, score[keep], strict=True)
    ]
    return sorted(_suppress(faces), key=lambda face: -face.box.area)


def find_small_faces(detect: Detect, frame: Frame, yuv: YuvMatrix, threshold: float = DETECTED) -> list[Face]:
    """Like `find_faces`, but in overlapping tiles of the frame: faces a third as large, at eight times the cost."""
    side = TILE_SHARE * min(frame.width, frame.height)
    faces: list[Face] = []
    for top in _starts(frame.height, side):
        for left in _starts(frame.width, side):
            corner = np.array([left, top])
            tile = cut_out(frame, corner, corner + side)
            faces += [_shifted(face, tile.origin) for face in find_faces(detect, tile.frame, yuv, threshold)]
    return sorted(_suppress(faces), key=lambda face: -face.box.area)


def _turned_back(points: F64) -> F64:  # (n, 7, 2) detector px
    """Points of the detector's square before it was turned by a quarter, counter-clockwise."""
    return np.stack([DETECTOR_SIDE - points[..., 1], points[..., 0]], -1)


def _starts(extent: int, side: float) -> F64:
    """Where tiles begin that cover `extent` and share a fifth with their neighbours."""
    return np.linspace(0, extent - side, math.ceil((extent - side) / (0.8 * side)) + 1)


def _shifted(face: Face, origin: F64) -> Face:
    box = Box(face.box.x + float(origin[0]), face.box.y + float(origin[1]), face.box.width, face.box.height)
    return Face(box, face.eyes + origin, face.score)


def _letterbox(frame: Frame, yuv: YuvMatrix, scale: float) -> tuple[F32, int, int]:
    """The whole frame in the middle of the detector's square, RGB 0..255, and its left and top there."""
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    planes = [
        cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA if p.shape[1] >= width else cv2.INTER_LINEAR)
        for p in (frame.y, frame.u, frame.v)
    ]
    canvas = np.zeros((DETECTOR_SIDE, DETECTOR_SIDE, 3), np.float32)
    left, top = (DETECTOR_SIDE - width) // 2, (DETECTOR_SIDE - height) // 2
    canvas[top : top + height, left : left + width] = to_rgb(np.asarray(cv2.merge(planes), np.uint8), yuv)
    return canvas, left, top


def _box(centre: F64, size: F64) -> Box:
    (x, y), (width, height) = centre - size / 2, size
    return Box(float(x), float(y), float(width), float(height))


def _suppress(faces: Sequence[Face]) -> list[Face]:
    """The best detection of each face; neighbouring cells all see the same one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if min(face.box.width, face.box.height) > 0 and all(face.box.iou(k.box) <= SAME_FACE_IOU for k in kept):
            kept.append(face)
    return kept


def locate_landmarks(locate: Locate, frame: Frame, region: Region, yuv: YuvMatrix) -> tuple[F64, float]:
    """The 478 landmarks, (478, 3) image px with z in the same scale, and the probability 0..1 that a face is there."""
    crop = to_rgb(crop_yuv(frame, region.from_image(), LANDMARK_SIDE), yuv)
    crop *= np.float32(1 / 255)
    raw, presence = locate(crop[None])
    points = raw.reshape(LANDMARKS, 3).astype(np.float64)
    points[:, :2] = apply(region.to_image(), points[:, :2])
    points[:, 2] *= region.size / LANDMARK_SIDE
    logit = min(80.0, max(-80.0, float(presence.reshape(-1)[0])))
    return points, 1 / (1 + math.exp(-logit))


def landmarks_in(locate: Locate, frame: Frame, region: Region, yuv: YuvMatrix) -> F64 | None:
    """The landmarks of the face in a region, None where there is none.

    Where they lie far from its middle, those that a second look around them finds.
    """
    points, presence = locate_landmarks(locate, frame, region, yuv)
    around = region_from_landmarks(points)
    if presence > PRESENT and around.is_off(region):
        points, presence = locate_landmarks(locate, frame, around, yuv)
    return points if presence > PRESENT else None
