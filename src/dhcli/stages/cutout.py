"""A part of a frame as a frame of its own."""

from __future__ import annotations

import numpy as np

from dhcli.types import F64, Frame


def cut_out(frame: Frame, low: F64, high: F64) -> tuple[Frame, F64]:
    """A copy of the pixels between two corners, (x, y) px, and its own left top corner in the frame.

    It is widened to whole colour samples and clipped at the frame's edges; at least 2 x 2 px stay.
    """
    limit = np.array([frame.width, frame.height])
    x0, y0 = (np.clip(np.floor(low / 2) * 2, 0, limit - 2)).astype(int).tolist()
    x1, y1 = (np.clip(np.ceil(high / 2) * 2, (x0 + 2, y0 + 2), limit)).astype(int).tolist()
    parts = (
        frame.y[y0:y1, x0:x1],
        frame.u[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2],
        frame.v[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2],
    )
    data = np.concatenate([part.reshape(-1) for part in parts]).reshape(-1, x1 - x0)
    return Frame(frame.index, data), np.array([x0, y0], np.float64)
