"""A painted crop brought into the light and colour of the picture around it."""

from __future__ import annotations

import cv2
import numpy as np

from dhcli.types import F32

REACH = 0.12
"""Standard deviation over which a difference is spread, of the crop's side."""
COARSE = 48
"""Side of the grid on which a whole crop is compared."""
LEAST_WEIGHT = 1e-3
RIM = 0.75
"""Where the mask is below this, the crop shows what the frame shows, and their difference is the model's mistake."""
GAIN = 0.85, 1.18
"""How much contrast is taken away or given at most."""
STIFF = 64.0
"""Variance, levels squared, that speaks for a gain of 1: a rim without contrast tells of none."""


def matched(made: F32, given: F32, mask: F32, size: int) -> F32:  # (h, w, 3), (h, w, 3), (h, w) -> (h, w, 3)
    """`made` with the contrast that `given` has at the mask's rim, plus the smooth difference that is left there.

    All are the same part of a crop with sides of `size` px, RGB.
    """
    height, width = mask.shape
    step = COARSE / size
    grid = max(2, round(width * step)), max(2, round(height * step))
    small_made, small_given, small_mask = (
        np.asarray(cv2.resize(one, grid, interpolation=cv2.INTER_AREA), np.float32) for one in (made, given, mask)
    )
    rim = np.clip((RIM - small_mask) / RIM, 0, 1) * (small_mask > 0)
    gain, middle = _gain(small_made, small_given, rim)
    difference = (small_given - middle) - (small_made - middle) * gain
    spread = REACH * COARSE
    weight = cv2.GaussianBlur(rim, (0, 0), spread)
    sums = cv2.GaussianBlur(difference * rim[..., None], (0, 0), spread)
    lacking = np.asarray(sums / np.maximum(weight, LEAST_WEIGHT)[..., None], np.float32)
    light = np.asarray(cv2.resize(lacking, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray((made - middle) * gain + middle + light, np.float32)


def _gain(made: F32, given: F32, rim: F32) -> tuple[F32, F32]:  # (h, w, 3), (h, w, 3), (h, w) -> (3,), (3,)
    """Of each channel: contrast of `given` beside that of `made` (least squares), and the level that it leaves."""
    share = (rim / max(float(rim.sum()), LEAST_WEIGHT))[..., None]
    middle = (made * share).sum((0, 1))
    low, high = made - middle, given - (given * share).sum((0, 1))
    gain = ((low * high * share).sum((0, 1)) + STIFF) / ((low * low * share).sum((0, 1)) + STIFF)
    return np.asarray(np.clip(gain, *GAIN), np.float32), np.asarray(middle, np.float32)
