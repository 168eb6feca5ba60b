"""A painted crop brought into the light and colour of the picture around it."""

from __future__ import annotations

import cv2
import numpy as np

from dhcli.types import F32

REACH = 0.12
"""Standard deviation over which the difference is spread, of the crop's side."""
COARSE = 48
"""Side of the grid on which it is spread."""
LEAST_WEIGHT = 1e-3
RIM = 0.75
"""Where the mask is below this, the crop shows what the frame shows, and their difference is the model's mistake."""


def matched(made: F32, given: F32, mask: F32) -> F32:  # (s, s, 3), (s, s, 3), (s, s) -> (s, s, 3)
    """`made`, plus the smooth difference that it has from `given` at the mask's rim."""
    size = len(mask)
    rim = (np.clip((RIM - mask) / RIM, 0, 1) * (mask > 0)).astype(np.float32)
    spread = REACH * COARSE
    weight = cv2.GaussianBlur(_coarse(rim), (0, 0), spread)
    sums = cv2.GaussianBlur(_coarse((given - made) * rim[..., None]), (0, 0), spread)
    lacking = np.asarray(sums / np.maximum(weight, LEAST_WEIGHT)[..., None], np.float32)
    return made + np.asarray(cv2.resize(lacking, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def _coarse(values: F32) -> F32:
    """The crop on a grid on which a wide blur is cheap."""
    return np.asarray(cv2.resize(values, (COARSE, COARSE), interpolation=cv2.INTER_AREA), np.float32)
