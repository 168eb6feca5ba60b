"""How much of a painted crop to show, px by px of the crop: dh's own soft mask, and those of other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import cv2
import numpy as np

from dhcli.families.face_crop.crops import BRIDGE, JAW, LOW_BRIDGE, OUTLINE
from dhcli.stages import align
from dhcli.stages.align import apply
from dhcli.types import F32, F64

Paste = Literal["box", "mask", "edge", "ellipse", "hull", "half"]
CHEEKS = (266, 371, 355, LOW_BRIDGE, 126, 142, 36)
"""Landmarks from cheek to cheek below the eyes and over the ridge of the nose."""
LOWER_JAW, NOSTRILS = JAW[3:-3], (98, 97, 2, 326, 327)
"""Points 3 to 13 and 31 to 35 of the 68."""
FEATHER, EDGE = 0.045, 0.08
"""Standard deviation of the soft rim, and width of the ramp at the crop's edge, of the crop's side."""
SOFT_SIDE = 64
"""Side of the grid on which the soft mask is drawn, px."""
UNSEEN = 1 / 512
"""Of the mask: half a level at most."""
BELOW = 0.05
"""An open mouth takes the chin lower than it was: the jaw line is moved out by this much of the face's width."""


def soft_mask(points: F64, matrix: F64, size: int) -> F32:  # (478, 2 or more) image px -> (size, size)
    """The lower face with a soft rim, 0 at the edge of the crop."""
    if size > SOFT_SIDE:  # it has no detail that a small one lacks
        small = soft_mask(points, align.resized(matrix, SOFT_SIDE / size), SOFT_SIDE)
        large = np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
        large[large < UNSEEN] = 0
        return large
    places = apply(matrix, points[:, :2])
    jaw, cheeks = places[list(JAW[1:-1])], places[list(CHEEKS)]
    out = jaw - jaw.mean(0)
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
    jaw = jaw + out * (BELOW * np.linalg.norm(jaw[-1] - jaw[0]))
    mask = _blurred(_filled(np.concatenate([jaw, cheeks]), size), FEATHER * size) * _ramp(size)
    mask[mask < UNSEEN] = 0
    return mask


def original_mask(paste: Paste, points: F64, matrix: F64, size: int) -> F32:
    """What the model's own program shows of its crop."""
    return ORIGINALS[paste](apply(matrix, points[:, :2]), size)


def _box(_: F64, size: int) -> F32:
    return np.ones((size, size), np.float32)


def _mask(places: F64, size: int) -> F32:
    """facefusion: the hull of lower jaw and nostrils, blurred by 5 px of 512, the outer half of the rim cut off."""
    hull = cv2.convexHull(places[[*LOWER_JAW, *NOSTRILS]].astype(np.float32))[:, 0].astype(np.float64)
    return np.asarray((np.clip(_blurred(_filled(hull, size), size * 5 / 512), 0.5, 1) - 0.5) * 2, np.float32)


def _edge(_: F64, size: int) -> F32:
    """facefusion: the whole crop with a blurred rim of 0.3 of half its side."""
    blur = int(size * 0.5 * 0.3)
    inner = np.zeros((size, size), np.float32)
    rim = max(blur // 2, 1)
    inner[rim:-rim, rim:-rim] = 1
    return _blurred(inner, blur * 0.25)


def _ellipse(_: F64, size: int) -> F32:
    """wav2lip-onnx-HQ: a rectangle 4 px inside its part of 132 x 176, 8 at the top and none below, blurred by 19 px."""
    inner = np.zeros((size, size), np.float32)
    inner[round(size * 8 / 176) :, round(size * 4 / 132) : round(size * 128 / 132)] = 1
    return np.asarray(_blurred(inner, 3.0 * size / 132) * _ramp(size, 0.03), np.float32)


def _hull(places: F64, size: int) -> F32:
    """HeyGem: the hull of the jaw's inner points and the nose, blurred."""
    hull = cv2.convexHull(places[[*JAW[2:-2], BRIDGE]].astype(np.float32))[:, 0].astype(np.float64)
    return _blurred(_filled(hull, size), size * 4.0 / 256)


def _half(places: F64, size: int) -> F32:
    """MuseTalk: the jaw in the lower half, blurred with a kernel of a twentieth of a square 1.5 times as large."""
    hull = cv2.convexHull(places[list(OUTLINE)].astype(np.float32))[:, 0].astype(np.float64)
    mask = _filled(hull, size)
    mask[: size // 2] = 0
    return _blurred(mask, size * 1.5 * 0.05 * 0.15)  # OpenCV's deviation for such a kernel, of its px


ORIGINALS: Mapping[Paste, Callable[[F64, int], F32]] = {
    "box": _box,
    "mask": _mask,
    "edge": _edge,
    "ellipse": _ellipse,
    "hull": _hull,
    "half": _half,
}


def _filled(polygon: F64, size: int) -> F32:
    canvas = np.zeros((size, size), np.float32)
    corners = np.round(polygon * 16).astype(np.int32)
    return np.asarray(cv2.fillPoly(canvas, [corners], 1.0, lineType=cv2.LINE_8, shift=4), np.float32)


def _blurred(mask: F32, deviation: float) -> F32:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(deviation, 0.3), borderType=cv2.BORDER_REPLICATE), np.float32)


def _ramp(size: int, width: float = EDGE) -> F32:
    """1 inside, smoothly down to 0 at the crop's edge."""
    inside = np.clip((np.minimum(np.arange(size), np.arange(size)[::-1])) / (width * size), 0, 1)
    smooth = inside * inside * (3 - 2 * inside)
    return np.asarray(np.outer(smooth, smooth), np.float32)
