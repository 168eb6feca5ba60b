"""Thumbnails of 8x8 cells: small enough to keep for each frame, and enough to see a difference between pictures."""

from __future__ import annotations

import functools
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dhcli.types import Frame

SIDE = 8
SHOWN_BYTES = SIDE * SIDE * 3 // 2
SCALE = f"scale={SIDE}:{SIDE}:flags=area"
"""ffmpeg's filter that scales to the same size; its raw frames have `SHOWN_BYTES`."""
THUMBNAIL_BYTES = 2 * SHOWN_BYTES
POINTS = 8
"""Pixels that are read in each cell, in x and in y: all pixels of a 720p frame would take 2 ms instead of 0.1."""
LEAST = 64
"""Least side, px, of a frame with a thumbnail: at crf 51, cells of less than 8x8 pixels lose their content."""
KEPT = 1 << 16
"""Most frames of a video that have a thumbnail: 44 minutes, 20 MB."""
UNLIKE, UNLIKE_PER_SPREAD = 24.0, 0.75
"""A cell that differs by more than this, of 255, shows something else. The limit grows with its pixels' deviation.

At crf 51, the worst, a person's cells are 10 apart, those of a pattern of dots 18.
"""

Places: TypeAlias = npt.NDArray[np.intp]


def thumbnail(frame: Frame) -> bytes:
    """The mean of each cell of the planes Y, U, V, and then the standard deviation of each cell's pixels."""
    points = frame.data.reshape(-1).take(_places(frame.width, frame.height)).astype(np.float32)
    means = points.mean(axis=1)
    spread = np.sqrt(np.maximum((points * points).mean(axis=1) - means * means, 0))
    return np.concatenate([means, spread]).astype(np.uint8).tobytes()


def unlike(rendered: bytes, shown: bytes) -> npt.NDArray[np.intp]:
    """Numbers of the frames that differ between `rendered`, thumbnails, and `shown`, raw frames that `SCALE` made."""
    means, spread = np.split(np.frombuffer(rendered, np.uint8).reshape(-1, THUMBNAIL_BYTES), 2, 1)
    gap = np.abs(np.frombuffer(shown, np.uint8).reshape(-1, SHOWN_BYTES) - means.astype(np.float16))
    return np.flatnonzero((gap - UNLIKE_PER_SPREAD * spread.astype(np.float16) > UNLIKE).any(axis=1))


@functools.lru_cache(4)
def _places(width: int, height: int) -> Places:
    """Offsets of each cell's pixels in a frame's data, (SHOWN_BYTES, POINTS * POINTS)."""
    dice = np.random.default_rng(0)  # random, since a grid would hit only the black fields of a chessboard
    luma, chroma = width * height, width * height // 4
    return np.concatenate(
        [
            _plane(dice, width, height, SIDE, 0),
            _plane(dice, width // 2, height // 2, SIDE // 2, luma),
            _plane(dice, width // 2, height // 2, SIDE // 2, luma + chroma),
        ]
    )


def _plane(dice: np.random.Generator, width: int, height: int, side: int, begin: int) -> Places:
    shape = (side, POINTS, side, POINTS)
    down, across = (np.arange(side * POINTS).reshape(part) for part in ((side, POINTS, 1, 1), (side, POINTS)))
    rows = ((down + dice.random(shape)) * height / (side * POINTS)).astype(np.intp)
    columns = ((across + dice.random(shape)) * width / (side * POINTS)).astype(np.intp)
    places: Places = (begin + rows * width + columns).transpose(0, 2, 1, 3).reshape(side * side, -1)
    return places
