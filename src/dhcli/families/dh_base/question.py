"""What the face network is asked: pictures, and where the mouth's points are in them and are to be.

It sees the source, and the source and the reference with every point already about where it is to go; it finds what is
left. OpenCV moves the two in a fifth of the time that ONNX Runtime takes.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from cv2.typing import MatLike

from dhcli.families.dh_base.geometry import CROP_SIDE, MOUTH_POINTS
from dhcli.types import F32, F64, U8

INPUTS = ("pictures", "reference", "source_points", "reference_points", "target_points")
CELLS = 20
"""Of the coarse flow along a side."""
BELL_PX, BELL_LEAST = 7.0, 0.15
"""Sigma of the bell around each point, and the weight of no movement."""


class Question:
    """What the face network is asked about up to `capacity` mouths. It keeps its memory."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        picture, points = (3, CROP_SIDE, CROP_SIDE), (MOUTH_POINTS, 2)
        shapes = dict(zip(INPUTS, ((9, *picture[1:]), picture, points, points, points), strict=True))
        self._feeds: dict[str, F32] = {name: np.empty((capacity, *one), np.float32) for name, one in shapes.items()}
        self._references: list[U8 | None] = [None] * capacity

    def of(self, count: int) -> dict[str, F32]:
        """The network's inputs for the first `count` mouths: pictures RGB 0..1 and points in crop px."""
        return {name: values[:count] for name, values in self._feeds.items()}

    def put(self, i: int, source: tuple[F32 | U8, F64], reference: tuple[U8, F64], target: F64) -> None:
        """Mouth number `i`: crops (160, 160, 3) RGB 0..255 with their points (106, 2), and where those are to go."""
        (crop, points), (low, lent) = source, reference
        feeds = self._feeds
        pictures = feeds["pictures"][i]
        _planes(crop, pictures[:3])
        _planes(moved(crop, coarse_flow(points, target)), pictures[3:6])
        _planes(moved(low, coarse_flow(lent, target)), pictures[6:])
        if self._references[i] is not low:  # mostly the same one as in the frame before
            _planes(low, feeds["reference"][i])
            self._references[i] = low
        feeds["source_points"][i], feeds["reference_points"][i], feeds["target_points"][i] = points, lent, target


def coarse_flow(start: F64, target: F64) -> F32:  # (106, 2) each, crop px -> (20, 20, 2) crop px
    """From target points to where they start: a mean of their shifts, weighted by a Gaussian of the distance.

    Far away from all points it is 0. The network computes the same (`coarse_flows` in training/face_network.py).
    """
    distance = _middles()[:, None, None] - target.astype(np.float32)  # (20, 106, 2)
    bells = np.exp(distance * distance * np.float32(-1 / (2 * BELL_PX**2)))
    across, down = bells[..., 0], bells[..., 1]
    shift = (start - target).astype(np.float32)
    moves = [down @ (across * shift[:, axis]).T for axis in (0, 1)]
    return np.asarray(np.stack(moves, -1) / (down @ across.T + np.float32(BELL_LEAST))[..., None], np.float32)


def moved(picture: F32 | U8, flow: F32) -> MatLike:  # (160, 160, 3), (20, 20, 2) crop px
    """The picture under a coarse flow: each px comes from where the flow points, the border repeated."""
    far = cv2.resize(flow, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_LINEAR)
    x, y = cv2.split(cv2.add(far, _grid()))
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _planes(picture: MatLike, feed: F32) -> None:  # (H, W, 3), (3, H, W)
    """Write RGB 0..255 as the network takes it, 0..1."""
    cv2.split(picture * np.float32(1 / 255), list(feed))  # a fifth of numpy's time for transposing


@lru_cache(maxsize=1)
def _middles() -> F32:  # (20,)
    """Of the cells, crop px."""
    return np.asarray((np.arange(CELLS) + 0.5) * (CROP_SIDE / CELLS), np.float32)


@lru_cache(maxsize=1)
def _grid() -> F32:  # (160, 160, 2)
    y, x = np.mgrid[0:CROP_SIDE, 0:CROP_SIDE]
    return np.asarray(np.stack([x, y], -1), np.float32)
