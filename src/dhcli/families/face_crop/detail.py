"""What a network changed in a crop, told so that a frame of any resolution can do the same with its own px."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.types import F32, U8

FLOW_SIDE = 128
"""The way that px went is looked for in pictures whose longer side has so many."""
MOST_MOVED = 0.12
"""Of the picture's longer side; a mouth does not move farther from one picture to another."""
TRUST = 22.0
"""Levels of luma between the moved picture and the network's at which the moved one counts for a third."""
SOFT = 1 / 48
"""Standard deviation, of the crop's side, below which a difference is only the network's softness and stays out."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a part of a crop: its px moved, plus a difference; a new picture where that is not trusted."""

    flow: F32  # (h, w, 2) crop px, from the new picture's px to where it was
    lacking: F32  # (h, w, 3) or (h, w) what the moved picture lacks of the new one, without fine detail
    new: F32  # (h, w, 3) or (h, w)
    trust: F32  # (h, w) 0..1: how much of the moved picture to take

    def of(self, channel: int) -> Change:
        """The same for one plane."""
        lacking, new = (np.ascontiguousarray(one[..., channel]) for one in (self.lacking, self.new))
        return Change(self.flow, lacking, new, self.trust)


def changed(given: F32, made: F32, detail: float, size: int) -> Change:  # (h, w, 3) YUV, twice
    """How the px of one picture became those of the other; both are parts of crops with sides of `size` px.

    `detail` 0..1 scales the trust in moved px; at 0 the new picture stands alone.
    """
    height, width = made.shape[:2]
    if not detail:
        still, none = np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.float32)
        return Change(still, made - given, made, none)
    flow = _flow(given[..., 0], made[..., 0])
    lacking = made - np.asarray(moved(given, flow[..., 0], flow[..., 1], (0, 0)), np.float32)
    fine = size / 96
    error = cv2.GaussianBlur(np.abs(_blurred(lacking[..., 0], fine)), (0, 0), fine)
    trust = np.exp(-np.square(np.asarray(error, np.float32) / TRUST)) * np.float32(detail)
    return Change(flow, _blurred(lacking, SOFT * size), made, np.asarray(trust, np.float32))


def moved(picture: U8 | F32, x: cv2.typing.MatLike, y: cv2.typing.MatLike, origin: tuple[int, int]) -> F32:
    """The part of a picture from `origin` on, each px taken from where the way (x, y) px leads."""
    height, width = x.shape[:2]
    columns = np.arange(origin[0], origin[0] + width, dtype=np.float32)
    rows = np.arange(origin[1], origin[1] + height, dtype=np.float32)[:, None]
    # Linear sampling between px would take a third of the finest detail.
    taken = cv2.remap(picture, x + columns, y + rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32)


def _flow(given: F32, made: F32) -> F32:  # (h, w) luma, twice -> (h, w, 2)
    """Where each px of the new picture came from, px; 0 where the pictures are alike (Kroeger et al. 2016)."""
    height, width = made.shape
    scale = FLOW_SIDE / max(height, width)
    small = max(16, round(width * scale)), max(16, round(height * scale))
    before, after = (_levels(cv2.resize(one, small, interpolation=_kind(scale))) for one in (given, made))
    if np.array_equal(before, after):
        return np.zeros((height, width, 2), np.float32)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(1)
    search.setVariationalRefinementIterations(3)
    found = cv2.GaussianBlur(search.calc(after, before, None), (0, 0), 1.0)  # type: ignore[call-overload]
    most = MOST_MOVED * max(height, width)
    flow = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) / np.float32(scale)
    return np.asarray(np.clip(flow, -most, most), np.float32)


def _kind(scale: float) -> int:
    return cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC


def _levels(picture: cv2.typing.MatLike) -> U8:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _blurred(picture: F32, deviation: float) -> F32:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), np.float32)
