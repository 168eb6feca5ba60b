"""The new mouth into the frame: at native resolution, in the codec's own planes, and nowhere but under a soft window.

Flow, colour and opacity come on the crop's 160 px grid. They are carried to the frame's pixels, not the frame to the
crop, so every original pixel is sampled once, skin and grain stay sharp, and where the window is 0 nothing changes.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from dhcli.stages import align
from dhcli.stages.geometry import CROP_SIDE as CROP
from dhcli.stages.speak import Mouth
from dhcli.types import F32, F64, U8, Frame

TAPER = 8  # crop px over which the window ends at the crop's border, where the ellipse alone would still be at 0.4
SMALL = 0.6  # below this size the layers are averaged down first; sampling alone would alias


@lru_cache(maxsize=1)
def window() -> F32:  # (160, 160)
    """The soft ellipse around the mouth that fades the new picture into the frame, 0..1."""
    y, x = np.mgrid[0:CROP, 0:CROP]
    ellipse = np.clip(1.25 - np.hypot((x - 80) / 70, (y - 88) / 68), 0, 0.25) / 0.25
    soft = cv2.GaussianBlur(ellipse.astype(np.float32), (0, 0), 4)
    ramp = np.clip(np.minimum(np.arange(CROP), np.arange(CROP)[::-1]) / TAPER, 0, 1).astype(np.float32)
    return np.asarray(soft * np.minimum.outer(ramp, ramp), np.float32)


def rectangle(matrix: F64, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of the frame that the crop covers: x0, y0, x1, y1, even numbers, inside the frame."""
    corners = align.apply(align.invert(matrix), np.array([[0.0, 0], [CROP, 0], [0, CROP], [CROP, CROP]]))
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    x0, x1 = (int(np.clip(v, 0, width)) for v in (low[0] // 2 * 2, (high[0] + 1) // 2 * 2))
    y0, y1 = (int(np.clip(v, 0, height)) for v in (low[1] // 2 * 2, (high[1] + 1) // 2 * 2))
    return x0, y0, x1, y1


def blend(frame: Frame, mouth: Mouth, weight: float, yuv: align.YuvMatrix) -> Frame:
    """A copy of the frame with the new mouth in it. `weight` 0..1 scales the window."""
    x0, y0, x1, y1 = rectangle(mouth.matrix, frame.width, frame.height)
    out = frame.copy()
    if x0 >= x1 or y0 >= y1:
        return out
    to_image = np.linalg.inv(mouth.matrix[:, :2]).T.astype(np.float32)
    shift = mouth.flow @ to_image  # (160, 160, 2) image px
    motion = np.dstack([shift, mouth.opacity, window() * np.float32(weight)])
    colour, matrix = align.from_rgb(mouth.colour, yuv), mouth.matrix
    scale = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))  # image px per crop px
    if scale < SMALL:
        motion, colour, matrix = _shrink(motion, colour, matrix, max(16, round(CROP * scale)))
    _paste(frame.y, out.y, (x0, y0, x1, y1), matrix, motion, colour[..., 0], 1)
    half = (x0 // 2, y0 // 2, x1 // 2, y1 // 2)
    for channel, (old, new) in enumerate(((frame.u, out.u), (frame.v, out.v)), start=1):
        _paste(old, new, half, align.chroma_matrix(matrix), motion, colour[..., channel], 2)
    return out


def _shrink(motion: F32, colour: F32, matrix: F64, side: int) -> tuple[F32, F32, F64]:
    k = side / CROP
    smaller = matrix * k
    smaller[:, 2] += (k - 1) / 2  # pixel centres stay where they are
    size = (side, side)
    return (
        np.asarray(cv2.resize(motion, size, interpolation=cv2.INTER_AREA), np.float32),
        np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), np.float32),
        smaller,
    )


def _paste(
    old: U8, new: U8, area: tuple[int, int, int, int], matrix: F64, motion: F32, colour: F32, subsampling: int
) -> None:
    """Write one plane's new pixels. `matrix` maps this plane's px to the layers' px."""
    x0, y0, x1, y1 = area
    local = matrix.copy()
    local[:, 2] += local[:, :2] @ (x0, y0)
    size = (x1 - x0, y1 - y0)
    inverse = cv2.WARP_INVERSE_MAP
    dx, dy, opacity, mask = cv2.split(cv2.warpAffine(motion, local, size, flags=inverse | cv2.INTER_LINEAR))
    fresh = cv2.warpAffine(colour, local, size, flags=inverse | cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if subsampling != 1:
        dx /= subsampling
        dy /= subsampling
    dx += np.arange(x0, x1, dtype=np.float32)
    dy += np.arange(y0, y1, dtype=np.float32)[:, None]
    moved = cv2.remap(old, dx, dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    moved += opacity * (fresh - moved)
    before = old[y0:y1, x0:x1]
    moved -= before
    moved *= mask
    moved += before
    new[y0:y1, x0:x1] = np.clip(np.rint(moved, out=moved), 0, 255, out=moved)
