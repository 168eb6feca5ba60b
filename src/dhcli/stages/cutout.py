"""A part of a frame as a frame of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dhcli.types import F64, Frame


@dataclass(frozen=True, slots=True)
class Cutout:
    """The pixels of a part of a frame."""

    frame: Frame
    """With the index of the whole one."""
    origin: F64  # (2,) its left top corner in the whole frame, px

    def matrix(self, matrix: F64) -> F64:  # (2, 3) -> (2, 3)
        """A map from the whole frame's px, as one from the cutout's."""
        return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ self.origin])


def cut_out(frame: Frame, low: F64, high: F64, grid: int = 2) -> Cutout:
    """A copy of the pixels between two corners, (x, y) px.

    It is widened to multiples of `grid`, an even number, and clipped at the frame's edges; at least 2 x 2 px stay.
    """
    limit = np.array([frame.width, frame.height])
    x0, y0 = (np.clip(np.floor(low / grid) * grid, 0, limit - 2)).astype(int).tolist()
    x1, y1 = (np.clip(np.ceil(high / grid) * grid, (x0 + 2, y0 + 2), limit)).astype(int).tolist()
    parts = (
        frame.y[y0:y1, x0:x1],
        frame.u[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2],
        frame.v[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2],
    )
    data = np.concatenate([part.reshape(-1) for part in parts]).reshape(-1, x1 - x0)
    return Cutout(Frame(frame.index, data), np.array([x0, y0], np.float64))
