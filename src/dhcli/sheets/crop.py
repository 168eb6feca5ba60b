"""Pixels of contact sheets: mouths cut out upright and enlarged, small pictures of frames, and JPEG files."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.sheets.mark import marked
from dhcli.stages.align import YuvMatrix, crop_matrix, crop_yuv, to_rgb
from dhcli.types import F64, U8, Frame, Pose

CENTRE = np.array([0.0, 1.62, -0.2])
"""Canonical point in the middle of a tile: a little above the mouth, so that nose and chin are both in it."""
UNITS = 2.7
"""Width of a tile, canonical units: the mouth, about 1 wide, and the cheeks beside it."""
HEAD, HEAD_UNITS = np.array([0.0, 0.5, 0.0]), 5.4
"""Middle and width of a head with its hair, canonical units."""
QUALITY = 84
GREY = 127
"""Between two tiles: neither light nor dark pages make it glare."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Size of the crop of a mouth, px."""

    width: int
    height: int

    def matrix(self, pose: Pose) -> F64:
        """Image px to px of a square crop, whose middle rows are the tile."""
        return crop_matrix(pose, CENTRE, self.width / UNITS, self.width)


def mouth_tile(frame: Frame, matrix: F64, yuv: YuvMatrix, tile: Tile) -> U8:
    """The crop as BGR, (height, width, 3)."""
    square = crop_yuv(frame, matrix, tile.width)
    top = (tile.width - tile.height) // 2
    return _bgr(np.ascontiguousarray(square[top : top + tile.height]), yuv)


def small_picture(frame: Frame, yuv: YuvMatrix, width: int) -> U8:
    """The whole frame as BGR of this width."""
    height = max(2, round(frame.height * width / frame.width))
    planes = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in (frame.y, frame.u, frame.v)]
    return _bgr(np.asarray(cv2.merge(planes), np.uint8), yuv)


def face_tile(frame: Frame, pose: Pose, yuv: YuvMatrix, side: int) -> U8:
    """The upright head as BGR, (side, side, 3)."""
    return _bgr(crop_yuv(frame, crop_matrix(pose, HEAD, side / HEAD_UNITS, side), side), yuv)


def stacked(above: U8 | None, below: U8, gap: int = 2) -> U8:
    """Two tiles, one above the other; only the lower one where there is no upper one."""
    if above is None:
        return below
    return np.concatenate([above, np.full((gap, below.shape[1], 3), GREY, np.uint8), below])


def jpeg(picture: U8, quality: int = QUALITY) -> bytes:
    """The picture, BGR, as the bytes of a JPEG file with the mark of dh."""
    done, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV writes no JPEG of {picture.shape}")
    return marked(coded.tobytes())


def _bgr(yuv_picture: U8, yuv: YuvMatrix) -> U8:
    rgb = to_rgb(yuv_picture, yuv)
    return np.ascontiguousarray(np.rint(rgb).astype(np.uint8)[..., ::-1])
