"""A small face that moves fast keeps its mouth where it is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from dhcli.types import Frame

LIPS = [61, 291, 1]
"""Both corners of the mouth, and the tip of the nose."""


def test_a_small_fast_face_keeps_its_mouth_in_its_place(follow: Any, avatar: list[Frame]) -> None:
    width, height, inset = 640, 360, (132, 100)
    face = {name: cv2.resize(getattr(avatar[0], name), inset, interpolation=cv2.INTER_AREA) for name in "y"}
    face |= {n: cv2.resize(getattr(avatar[0], n), (66, 50), interpolation=cv2.INTER_AREA) for n in "uv"}
    hills = np.random.default_rng(1).integers(60, 180, (18, 32)).astype(np.uint8)
    frames, places = [], []
    for index in range(36):
        frame = Frame(index, np.full((height * 3 // 2, width), 128, np.uint8))
        frame.y[:] = cv2.resize(hills, (width, height), interpolation=cv2.INTER_CUBIC)
        # 11 px a frame at most from side to side, and 10 up and down: a third of the face, which is 33 px high.
        x, y = (int(half * (1 + np.sin(index * speed))) // 2 for half, speed in ((254, 0.045), (130, 0.08)))
        for name, by in (("y", 1), ("u", 2), ("v", 2)):
            getattr(frame, name)[y * 2 // by :][: 100 // by, x * 2 // by : (x * 2 + 132) // by] = face[name]
        frames.append(frame)
        places.append((2 * x, 2 * y))
    track = follow(frames)
    assert track.totals.missing_ranges == ()
    rows = [track.row(i) for i in range(track.frames)]
    lips = np.array([row.points[LIPS, :2] for row in rows if row is not None]) - np.array(places)[:, None]
    mouth = np.linalg.norm(np.ptp(np.median(lips, 0)[:2], 0))
    error = np.linalg.norm(lips - np.median(lips, 0), axis=-1).mean(1)
    assert error.max() < 0.15 * mouth
