"""What a picture says about the light and the colours around a mouth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dhcli.families.dh_base.geometry import CROP_SIDE, INNER, OUTER, PX_PER_UNIT
from dhcli.types import F32, F64

Mask = npt.NDArray[np.bool_]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Luma of RGB (ITU-R BT.601)."""
SKIN_FROM, SKIN_TO = 1.2, 1.7
"""The skin around the mouth: from so many times the lips' outline to so many."""
ENOUGH = 20
"""Pixels that a statistic needs."""
TOOTH_CHROMA, TOOTH_MOST = 0.34, 0.24
"""A tooth's colour as a share of the skin's, and its highest HSV saturation, 0..1."""
EDGE_LENGTH = 0.8
"""Length of the steepest edges as a share of the crop's side."""
SHARP = 1.1
"""What `_softness` says of a sharp picture, px: no edge in a face is a step."""
TINT_SPREAD = (0.08, 0.16)
"""Spread of the chroma over its mean: sepia prints have 0.01 to 0.05, skin and lips under a lamp 0.28 or more."""


@dataclass(frozen=True, slots=True)
class Light:
    """The light around the mouth. Chroma is (RGB - luma) / luma, (3,)."""

    skin: F32  # (1, n) luma 0..255 of the skin in each column of the picture
    white: float  # luma of a tooth in the same light, per luma of the skin
    highlight: float  # the skin's brightest luma
    black: float  # the picture's darkest luma
    lips: F32  # chroma
    tooth: F32  # chroma
    blur: float  # px: how soft the picture is
    grain: float  # standard deviation of the skin's finest detail, luma


def light_around(picture: F32, points: F64) -> Light:
    """`picture` is a crop (n, n, 3), RGB 0..255, `points` (106, 2) crop px the mouth points in it."""
    side, luma = len(picture), picture @ LUMA
    outer, inner = points[OUTER], points[INNER]
    skin = _inside(_grown(outer, SKIN_TO), side) & ~_inside(_grown(outer, SKIN_FROM), side)
    lips = _inside(outer, side) & ~_inside(_grown(inner, 1.1), side)
    skin = _enough(skin, np.ones_like(skin))
    skin = _enough(skin & (luma > 0.5 * np.quantile(luma[skin], 0.6)), skin)  # no beard, no shadow
    lips = _enough(lips, skin)
    columns = _columns(luma, skin, float(inner[[0, 10], 0].mean()) * side / CROP_SIDE, PX_PER_UNIT * side / CROP_SIDE)
    highlight = float(np.quantile(luma[skin], 0.95))
    return Light(
        columns,
        # Teeth are about as bright as light skin, and on dark skin as bright as what shines there.
        float(np.clip(0.97 * highlight / max(float(columns.mean()), 1.0), 1.0, 1.6)),
        highlight,
        float(np.quantile(luma, 0.01)),
        _chroma(picture[lips]),
        _tooth(_chroma(picture[skin]), _tint(picture[skin | lips])),
        float(np.clip(_softness(luma) - SHARP, 0.3, 1.6)),
        min(
            1.48 * float(np.median(np.abs(fine_detail(luma)[skin]))), 4.0
        ),  # median absolute deviation of a normal distribution
    )


def filled(outline: F64, side: int, blur: float) -> F32:  # (n, 2) crop px -> (side, side)
    """1 inside of a closed line, with a soft edge of `blur` px."""
    shift = 4
    at = ((outline + 0.5) * (side / CROP_SIDE) - 0.5) * 2**shift
    mask = cv2.fillPoly(np.zeros((side, side), np.uint8), [np.rint(at).astype(np.int32)], 255, cv2.LINE_AA, shift)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur), np.float32)


def fine_detail(luma: F32) -> F32:
    """What a blur of 1 px takes away."""
    return np.asarray(luma - cv2.GaussianBlur(luma, (0, 0), 1.0), np.float32)


def _inside(outline: F64, side: int) -> Mask:
    return filled(outline, side, 0.5) > 0.5


def _grown(outline: F64, by: float) -> F64:
    middle = outline.mean(0)
    return np.asarray(middle + (outline - middle) * by, np.float64)


def _enough(where: Mask, otherwise: Mask) -> Mask:
    return where if np.count_nonzero(where) >= ENOUGH else otherwise


def _columns(luma: F32, skin: Mask, middle: float, unit: float) -> F32:  # (1, n)
    """Luma of the skin: a line through what is left and right of the mouth's middle, level beyond the corners."""
    x = np.arange(luma.shape[1])
    both = [
        np.quantile(luma[_enough(skin & (x < middle - 0.2 * unit), skin)], 0.6),
        np.quantile(luma[_enough(skin & (x > middle + 0.2 * unit), skin)], 0.6),
    ]
    ramp = np.clip((x - middle) / (0.6 * unit), -1, 1)
    return np.asarray(np.mean(both) + (both[1] - both[0]) / 2 * ramp, np.float32)[None]


def _chroma(pixels: F32) -> F32:  # (n, 3) -> (3,)
    mean = pixels.mean(0)
    return np.asarray(mean / max(float(mean @ LUMA), 1.0) - 1, np.float32)


def _tint(pixels: F32) -> float:
    """0..1: how sure it is that all the picture has one hue, as a sepia print, in which teeth have it too."""
    luma = pixels @ LUMA
    bright = luma > 30  # below, rounding to 8 bits makes hues of its own
    if np.count_nonzero(bright) < ENOUGH:
        return 0.0
    ratio = pixels[bright] / luma[bright, None] - 1
    mean = ratio.mean(0)
    spread = math.sqrt(float(((ratio - mean) ** 2).sum(1).mean())) / (float(np.linalg.norm(mean)) + 1e-6)
    low, high = TINT_SPREAD
    return float(np.clip((high - spread) / (high - low), 0, 1))


def _tooth(skin: F32, tint: float) -> F32:
    """Chroma of a tooth beside skin of this chroma."""
    own = TOOTH_CHROMA * skin
    saturation = 1 - float((1 + own).min() / (1 + own).max())
    own *= min(1.0, TOOTH_MOST / max(saturation, 1e-6))
    return np.asarray(own + tint * (skin - own), np.float32)


def _softness(luma: F32) -> float:
    """Standard deviation, px, of the blur that the steepest edges have.

    An edge of blur s loses the share s / sqrt(s**2 + b**2) of its slope when it is blurred by b more.
    """
    more = 1.5
    share = min(_steepest(cv2.GaussianBlur(luma, (0, 0), more)) / max(_steepest(luma), 1e-6), 0.95)
    return more * share / math.sqrt(1 - share**2)


def _steepest(luma: cv2.typing.MatLike) -> float:
    across, down = (cv2.Sobel(luma, cv2.CV_32F, dx, 1 - dx, ksize=1) for dx in (1, 0))
    rim = len(luma) // 8
    share = EDGE_LENGTH / len(luma)
    return float(np.quantile(np.hypot(across, down)[rim:-rim, rim:-rim], 1 - share))
