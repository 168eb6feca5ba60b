"""Pictures of one hue, grey or toned as sepia: what the face network paints gets that hue, too.

The network has learnt colours. In a grey portrait it paints pink between the teeth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.families.dh_base.geometry import CROP_SIDE
from dhcli.families.dh_base.surroundings import LUMA
from dhcli.types import F32

RIM = 16
"""Crop px at the border that are not looked at; the window of the blend is 0 there."""
SIDE = 32
"""px to which the rest is averaged, against the noise of the chroma planes."""
DARK = 30
"""Luma up to which rounding to 8 bits makes hues of its own."""
ENOUGH = 64
"""Pixels that a statement needs."""
FLOOR = 0.1
"""Added to the mean chroma, so that a grey picture's noise is no colour."""
SPREAD = (0.06, 0.12)
"""Spread of the chroma over its mean: up to the first the picture surely has one hue, from the second on surely more.
Grey video has 0.00, sepia 0.03; faces in ten videos, under lamps and in the dark, 0.19 to 0.65."""


@dataclass(frozen=True, slots=True)
class Hue:
    """The one hue of a picture."""

    sure: float  # 0..1; 0: it has many
    chroma: F32  # (3,): (RGB - luma) / luma

    def tone(self, colours: F32) -> F32:
        """Colours in this hue, as far as it is sure; also differences of colours. (h, w, 3) RGB."""
        if not self.sure:
            return colours
        toned = (colours @ LUMA)[..., None] * (1 + self.chroma)
        return np.asarray(colours + np.float32(self.sure) * (toned - colours), np.float32)


def hue_of(crop: F32) -> Hue:
    """Of the face network's crop, (160, 160, 3) RGB 0..255."""
    part = slice(RIM, CROP_SIDE - RIM)
    pixels = np.asarray(cv2.resize(crop[part, part], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)
    luma = pixels @ LUMA
    bright = luma > DARK
    if np.count_nonzero(bright) < ENOUGH:
        return Hue(0.0, np.zeros(3, np.float32))
    chroma = pixels[bright] / luma[bright, None] - 1
    mean = chroma.mean(0)
    spread = float(np.sqrt(((chroma - mean) ** 2).sum(1).mean())) / (float(np.linalg.norm(mean)) + FLOOR)
    low, high = SPREAD
    return Hue(float(np.clip((high - spread) / (high - low), 0, 1)), np.asarray(mean, np.float32))
