"""What one frame shows of a face: size, turn, how far the mouth is open, how sharp its inside is.

Lengths are taken in space (x, y and z of the landmarks), so that turning the head does not shorten them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.stages.align import apply, crop_matrix
from dhcli.stages.mesh import INNER_LIP, FaceMesh, pose_free
from dhcli.types import F32, F64, U8, Frame, Pose

OUTER_LIP = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Landmarks around the lips, in order."""
UPPER, LOWER = 13, 14
"""Landmarks in the middle of the inner lips."""
CORNERS = 61, 291
"""Landmarks in the corners of the mouth."""
FACE_WIDTH = 2.733
"""Canonical units from cheek to cheek, landmarks 234 and 454 of the canonical face."""
OPEN_GAP = 0.16
"""Canonical units between the inner lips from which on a mouth has an inside to look at: a sixth of its width."""
LEAST_PIXELS = 12
"""Fewer pixels in the mouth have no variance to speak of."""
MARGIN_PX = 2
"""Kept around the mouth, so that the Laplacian has its neighbours."""
CROP_SIDE, CROP_PX_PER_UNIT = 96, 60.0
MOUTH_CENTRE = np.array([0.0, 1.72, -0.2])
"""The upright crop in which two frames are compared: the mouth, and nothing that moves less; and the canonical point in
its middle."""


@dataclass(frozen=True, slots=True)
class Look:
    """One frame's figures."""

    index: int
    face_px: float
    """Width of the face from cheek to cheek."""
    yaw_deg: float
    """Turn of the head; positive to the picture's right."""
    opening: float
    """Gap between the inner lips, in widths of the mouth."""
    sharpness: float | None
    """Variance of the Laplacian of the luma inside the mouth; None where it is not open far enough."""


def look(frame: Frame, points: F64, mesh: FaceMesh) -> Look:  # (478, 3) image px
    """The figures of a frame whose face has these landmarks."""
    pose = mesh.pose(points)
    shape = pose_free(points, pose)
    return Look(
        frame.index,
        face_width_px(pose),
        yaw_deg(pose),
        opening(shape[UPPER], shape[LOWER], shape[CORNERS[0]], shape[CORNERS[1]]),
        inside_sharpness(frame.y, points) if gap(shape) > OPEN_GAP else None,
    )


def face_width_px(pose: Pose) -> float:
    """Width of the face from cheek to cheek, as if it looked into the camera."""
    return pose.scale * FACE_WIDTH


def yaw_deg(pose: Pose) -> float:
    """Turn of the head to the side, degrees."""
    return math.degrees(math.asin(min(1.0, max(-1.0, -float(pose.rotation[2, 0])))))


def opening(upper: F64, lower: F64, left: F64, right: F64) -> float:  # (3,) each
    """Gap between the inner lips' middles, in distances of the mouth's corners."""
    return float(np.linalg.norm(lower - upper) / max(float(np.linalg.norm(right - left)), 1e-6))


def gap(shape: F64) -> float:  # (478, 3) canonical units
    """Distance of the inner lips' middles, canonical units."""
    return float(np.linalg.norm(shape[LOWER] - shape[UPPER]))


def inside_sharpness(luma: U8, points: F64) -> float | None:  # (H, W), (478, 3) image px
    """Variance of the luma's Laplacian in the polygon of the inner lips; None where it has hardly a pixel."""
    ring = points[list(INNER_LIP), :2]
    x0, y0 = np.maximum(np.floor(ring.min(0)).astype(int) - MARGIN_PX, 0).tolist()
    x1, y1 = (np.ceil(ring.max(0)).astype(int) + MARGIN_PX + 1).tolist()
    part = luma[y0:y1, x0:x1]
    if part.size == 0:
        return None
    inside = _filled(ring - (x0, y0), part.shape)
    if np.count_nonzero(inside) < LEAST_PIXELS:
        return None
    laplacian = np.asarray(cv2.Laplacian(part.astype(np.float32), cv2.CV_32F), np.float32)
    return float(laplacian[inside].var())


def mouth_crop(frame: Frame, points: F64, pose: Pose) -> tuple[F32, np.typing.NDArray[np.bool_]]:
    """The luma around the mouth, upright and of one size for all faces, and which of its pixels lie inside the mouth.

    Both are (96, 96).
    """
    matrix = crop_matrix(pose, MOUTH_CENTRE, CROP_PX_PER_UNIT, CROP_SIDE)
    size = (CROP_SIDE, CROP_SIDE)
    luma = cv2.warpAffine(frame.y, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = _filled(apply(matrix, points[list(INNER_LIP), :2]), size)
    return luma.astype(np.float32), inside


def _filled(ring: F64, shape: tuple[int, ...]) -> np.typing.NDArray[np.bool_]:
    """Which pixels of a picture of this shape lie inside the polygon."""
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(ring).astype(np.int32)], (1,))
    return mask > 0
