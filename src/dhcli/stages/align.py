"""Between the frame and a crop of it: affine matrices, head poses, and planar YUV pixels in and out.

Image points are (x, y) px, x right, y down. The canonical face is frontal, its eyes 1.775 units apart. Matrices are 2x3
and map image px to crop px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.types import F32, F64, HD_HEIGHT, U8, Colour, Frame, Pose

CHROMA_SHIFT = np.array([0.0, 0.5])
"""Where a 4:2:0 colour sample (0, 0) lies, luma px: left-sited, the convention of MPEG-2, H.264 and HEVC."""

Area = tuple[int, int, int, int]
"""x0, y0, x1, y1 px; x1 and y1 are no longer part of it."""

KR_KB = {
    "bt709": (0.2126, 0.0722),
    "bt2020nc": (0.2627, 0.0593),
    "bt2020c": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}
BT601 = (0.299, 0.114)


@dataclass(frozen=True, slots=True)
class YuvMatrix:
    """Linear map between 8-bit YUV and RGB 0..255: `rgb = to_rgb @ (yuv - offset)`, and back."""

    to_rgb: F64  # (3, 3)
    from_rgb: F64  # (3, 3)
    offset: F64  # (3,)


def yuv_matrix(colour: Colour, height: int) -> YuvMatrix:
    """The conversion that a video's tags mean (ITU-R BT.601, BT.709, BT.2020, SMPTE 240M, FCC)."""
    unknown = KR_KB["bt709"] if colour.matrix == "unknown" and height >= HD_HEIGHT else BT601
    kr, kb = KR_KB.get(colour.matrix, unknown)
    kg = 1 - kr - kb
    luma, chroma, black = (1.0, 1.0, 0.0) if colour.range == "pc" else (255 / 219, 255 / 224, 16.0)
    to_rgb = np.array(
        [
            [luma, 0.0, 2 * (1 - kr) * chroma],
            [luma, -2 * kb * (1 - kb) / kg * chroma, -2 * kr * (1 - kr) / kg * chroma],
            [luma, 2 * (1 - kb) * chroma, 0.0],
        ]
    )
    return YuvMatrix(to_rgb, np.linalg.inv(to_rgb), np.array([black, 128.0, 128.0]))


def to_rgb(yuv: U8 | F32, matrix: YuvMatrix) -> F32:  # (H, W, 3) -> (H, W, 3)
    """RGB 0..255 of full-resolution YUV, clipped."""
    affine = np.column_stack([matrix.to_rgb, -matrix.to_rgb @ matrix.offset])
    rgb = np.asarray(cv2.transform(yuv.astype(np.float32, copy=False), affine), np.float32)
    return np.clip(rgb, 0, 255, out=rgb)


def from_rgb(rgb: F32, matrix: YuvMatrix) -> F32:  # (H, W, 3) -> (H, W, 3)
    """YUV in 8-bit units, not rounded, of RGB 0..255."""
    affine = np.column_stack([matrix.from_rgb, matrix.offset])
    return np.asarray(cv2.transform(rgb, affine), np.float32)


def chroma_matrix(matrix: F64) -> F64:
    """The same map, but from colour-plane px: a colour sample (x, y) lies at (2x, 2y + 0.5) of the picture."""
    return np.column_stack([2 * matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ CHROMA_SHIFT])


def crop_yuv(frame: Frame, matrix: F64, side: int) -> U8:
    """The square crop, (side, side, 3) YUV at full resolution; beyond the frame its edge pixels repeat."""
    chroma = chroma_matrix(matrix)
    planes = [_sample(frame.y, matrix, side), _sample(frame.u, chroma, side), _sample(frame.v, chroma, side)]
    return np.asarray(cv2.merge(planes), np.uint8)


def _sample(plane: U8, matrix: F64, side: int) -> cv2.typing.MatLike:
    """One plane of the crop.

    Where the crop shrinks the picture, that is averaged down by a whole number first: linear sampling alone would
    flicker on large faces.
    """
    shrink = math.ceil(spacing(matrix) - 0.25)
    if shrink > 1:
        plane, matrix = _averaged(plane, matrix, side, shrink)
    return cv2.warpAffine(plane, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _averaged(plane: U8, matrix: F64, side: int, by: int) -> tuple[U8, F64]:
    """The part of a plane that a crop shows, each `by` x `by` px one, and the crop's matrix for it."""
    xs, ys = crop_corners(matrix, (0, 0, side, side)).T.tolist()
    x0, x1 = _blocks(xs, plane.shape[1], by)
    y0, y1 = _blocks(ys, plane.shape[0], by)
    part = plane[y0:y1, x0:x1]
    size = (max(1, (x1 - x0) // by), max(1, (y1 - y0) // by))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), regrid(matrix, (x0, y0), (part.shape[1] / size[0], part.shape[0] / size[1]))


def _blocks(where: Sequence[float], limit: int, by: int) -> tuple[int, int]:
    """From where to where the whole blocks go that cover these px of `limit`."""
    # Counted from the plane's edge, so that a face that moves a little meets the same ones; a block more on each side
    # is for the interpolation. Plain numbers: numpy takes longer to clip two of them than OpenCV to shrink the face.
    low = min(max((math.floor(min(where) / by) - 1) * by, 0), max(limit - by, 0))
    high = min(max((math.ceil(max(where) / by) + 1) * by, low + by), max(limit // by * by, by))
    return low, high


def fit_pose(canonical: F64, points: F64) -> Pose:  # (n, 3), (n, 3)
    """The similarity with `points ~ scale * rotation @ canonical + translation` (Umeyama 1991)."""
    from_centre, to_centre = canonical.mean(0), points.mean(0)
    a, b = canonical - from_centre, points - to_centre
    u, sizes, vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])  # no mirror image
    rotation = u @ np.diag(signs) @ vt
    scale = float((sizes * signs).sum() / (a**2).sum() * len(a))
    return Pose(scale, rotation, to_centre - scale * rotation @ from_centre)


def roll(pose: Pose) -> float:
    """The head's rotation in the picture plane, rad."""
    return math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])


def crop_matrix(pose: Pose, centre: F64, px_per_unit: float, side: int) -> F64:
    """The upright crop around a canonical point, (2, 3): image px to px of a `side` x `side` crop."""
    k, angle = px_per_unit / pose.scale, -roll(pose)
    c, s = math.cos(angle) * k, math.sin(angle) * k
    linear = np.array([[c, -s], [s, c]])
    middle = (pose.translation + pose.scale * pose.rotation @ centre)[:2]
    return np.column_stack([linear, side / 2 - linear @ middle])


def spacing(matrix: F64) -> float:
    """Image px per crop px."""
    (a, b, _), (c, d, _) = matrix.tolist()
    return 1 / math.sqrt(abs(a * d - b * c))


def crop_corners(matrix: F64, part: Area) -> F64:  # -> (4, 2)
    """Where the corners of a part of the crop lie, image px."""
    left, top, right, bottom = part
    return apply(invert(matrix), np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float64))


def covered(matrix: F64, part: Area, width: int, height: int) -> Area:
    """What a part of a crop covers of a frame of this size: even numbers, inside the frame."""
    xs, ys = crop_corners(matrix, part).T.tolist()
    x0, x1 = _even(min(xs), max(xs), width)
    y0, y1 = _even(min(ys), max(ys), height)
    return x0, y0, x1, y1


def _even(low: float, high: float, limit: int) -> tuple[int, int]:
    # Plain numbers: numpy's clip would take longer for these eight than OpenCV for blending a colour plane.
    return (
        min(max(math.floor(low) // 2 * 2, 0), limit),
        min(max((math.ceil(high) + 1) // 2 * 2, 0), limit),
    )


def is_empty(area: Area) -> bool:
    """Whether no pixel is in it."""
    x0, y0, x1, y1 = area
    return x0 >= x1 or y0 >= y1


def halved(area: Area) -> Area:
    """The same pixels in a colour plane."""
    x0, y0, x1, y1 = area
    return x0 // 2, y0 // 2, x1 // 2, y1 // 2


def regrid(matrix: F64, origin: tuple[int, int], step: tuple[float, float]) -> F64:
    """The same map, but from the px of a grid whose every px covers `step` image px (x, y), from `origin` on."""
    (x0, y0), (kx, ky) = origin, step
    to_image = np.array([[kx, 0.0, x0 + (kx - 1) / 2], [0.0, ky, y0 + (ky - 1) / 2]])  # centre upon centre
    moved: F64 = matrix[:, :2] @ to_image
    moved[:, 2] += matrix[:, 2]
    return moved


def resized(matrix: F64, by: float) -> F64:
    """The same map, but onto a crop with `by` times the px on each side."""
    larger: F64 = matrix * by
    larger[:, 2] += (by - 1) / 2  # pixel centres stay where they are
    return larger


def apply(matrix: F64, points: F64) -> F64:  # (2, 3), (n, 2) -> (n, 2)
    """The points, mapped."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: F64) -> F64:
    """The map back, (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])
