"""A clip beside its original: what moved, what became softer, and what changed that should not have."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.picture.clip import ClipMeter
from dhcli.picture.mouth import MOUTH_CENTRE
from dhcli.stages.align import crop_matrix, invert
from dhcli.types import F64, Frame, Pose

WINDOW_SIDE, WINDOW_PX_PER_UNIT = 160, 50.0
"""The square around the mouth, 3.2 canonical units wide, that may be another one."""
MARGIN_PX = 8
"""Around it: codecs carry a change some pixels farther."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Figures of a clip in parts of its original's; None where one of both is unknown."""

    opening: float | None
    sharpness: float | None
    flicker: float | None
    inside_change: float | None


def beside(clip: ClipMeter, original: ClipMeter, *, same_size: bool) -> Beside:
    """Compare the frames that both have. Pixels compare only where the pictures have the `same_size`."""
    frames = min(clip.frames, original.frames)
    new, old = clip.figures(frames), original.figures(frames)
    return Beside(
        _share(new.opening, old.opening),
        _share(new.sharpness, old.sharpness) if same_size else None,
        _share(clip.flicker(frames), original.flicker(frames)),
        _share(clip.inside_change(frames), original.inside_change(frames)),
    )


def difference_outside(new: Frame, old: Frame, pose: Pose) -> F64:
    """Differences of the luma of all pixels outside the mouth's window, 8-bit levels, (n,)."""
    matrix = crop_matrix(pose, MOUTH_CENTRE, WINDOW_PX_PER_UNIT, WINDOW_SIDE)
    corners = np.array([[0, 0, 1], [WINDOW_SIDE, 0, 1], [WINDOW_SIDE, WINDOW_SIDE, 1], [0, WINDOW_SIDE, 1]], np.float64)
    window = np.zeros(new.y.shape, np.uint8)
    cv2.fillPoly(window, [np.rint(corners @ invert(matrix).T).astype(np.int32)], (1,))
    window = np.asarray(cv2.dilate(window, np.ones((2 * MARGIN_PX + 1,) * 2, np.uint8)), np.uint8)
    different: F64 = np.abs(new.y.astype(np.float64) - old.y)
    outside: F64 = different[window == 0]
    return outside


def _share(new: float | None, old: float | None) -> float | None:
    return new / old if new is not None and old else None
