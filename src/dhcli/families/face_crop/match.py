"""A painted crop brought into the light and colour of the picture around it."""

from __future__ import annotations

import cv2
import numpy as np

from dhcli.types import F32

REACH = 0.12
"""Standard deviation over which the difference is spread, of the crop's side."""
LEAST_WEIGHT = 1e-3
RIM = 0.75
"""Where the mask is below this, the crop shows what the frame shows, and their difference is the model's mistake."""


def matched(made: F32, given: F32, mask: F32) -> F32:  # (s, s, 3), (s, s, 3), (s, s) -> (s, s, 3)
    """`made`, plus the smooth difference that it has from `given` at the mask's rim."""
    size = len(mask)
    rim = np.clip((RIM - mask) / RIM, 0, 1) * (mask > 0)
    spread = REACH * size
    weight = cv2.GaussianBlur(np.asarray(rim, np.float32), (0, 0), spread)
    sums = cv2.GaussianBlur((given - made) * rim[..., None].astype(np.float32), (0, 0), spread)
    return np.asarray(made + sums / np.maximum(weight, LEAST_WEIGHT)[..., None], np.float32)
