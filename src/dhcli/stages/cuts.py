"""Sudden changes of the picture, from a thumbnail of its luma. Whether one is a cut, the faces in sight decide."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.types import F32, U8, Box, Frame

THUMB_WIDTH, THUMB_HEIGHT, FACE_THUMB = 32, 18, 16
SAMPLES = 8
"""Rows of the picture that make a row of a thumbnail, at least."""
FLAT = 4.0
"""Standard deviation of luma below which a picture shows nothing."""
SUDDEN = 9.0
"""Least mean change of luma, 0..255; cuts have 20 to 80, people talking 0.2 to 3, a shaking camera up to 15."""
TIMES_USUAL = 4.0
"""A sudden change is this many times the median change of the last frames."""
CHANGED = 8.0
"""Change of a thumbnail's pixel that counts as another content, luma 0..255."""
LEAST_CHANGED = 0.25
"""Share of the picture that a cut changes at least; less is something that passes before the camera."""
MEMORY = 15
"""Frames whose change is the usual one."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a frame differs from the last one that showed something."""

    sudden: bool
    share: float
    """Share of the picture that is another, 0..1."""
    flat: bool
    """It shows nothing: black, white, the middle of a dip to black."""
    picture: F32 | None
    """Thumbnail of the last frame that showed something, this one or an earlier one, (18, 32) luma."""


class ChangeMeter:
    """Compares each frame with the one before; memory and time do not depend on the length of the video."""

    def __init__(self) -> None:
        self._last: F32 | None = None
        self._usual: deque[float] = deque(maxlen=MEMORY)

    def measure(self, frame: Frame) -> Change:
        """The change from the last frame that showed something; a flat one changes nothing and is passed over."""
        thumb = _thumbnail(frame)
        if thumb.std() < FLAT:
            return Change(sudden=False, share=0.0, flat=True, picture=self._last)
        last, self._last = self._last, thumb
        if last is None:
            return Change(sudden=False, share=0.0, flat=False, picture=thumb)
        pixels = np.abs(thumb - last)
        mean, share = float(pixels.mean()), float((pixels > CHANGED).mean())
        usual = statistics.median(self._usual) if self._usual else 0.0
        sudden = mean > max(SUDDEN, TIMES_USUAL * usual) and share >= LEAST_CHANGED
        if not sudden:  # a cut says nothing about how much the next shot moves
            self._usual.append(mean)
        return Change(sudden, share, flat=False, picture=thumb)


def _thumbnail(frame: Frame) -> F32:
    return _shrunk(frame.y, (THUMB_WIDTH, THUMB_HEIGHT), frame.height // (THUMB_HEIGHT * SAMPLES))


def _shrunk(luma: U8, size: tuple[int, int], step: int) -> F32:
    """The mean of every `step`-th pixel and row; of all of a 4K frame it would take 10 ms. `size` is width, height."""
    some = np.ascontiguousarray(luma[:: max(1, step), :: max(1, step)])
    return np.asarray(cv2.resize(some, size, interpolation=cv2.INTER_AREA), np.float32)


def face_thumbnail(frame: Frame, box: Box) -> F32:
    """The luma of the part of a box that lies in the frame, (16, 16)."""
    x0, y0 = (max(0, min(int(low), limit - 2)) for low, limit in ((box.x, frame.width), (box.y, frame.height)))
    x1, y1 = (max(low + 2, int(low + side)) for low, side in ((x0, box.width), (y0, box.height)))
    part = frame.y[y0:y1, x0:x1]
    return _shrunk(part, (FACE_THUMB, FACE_THUMB), min(part.shape) // (FACE_THUMB * SAMPLES))


def resemblance(a: F32, b: F32) -> float:
    """Correlation of two thumbnails, -1..1; brightness and contrast do not matter."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6))
