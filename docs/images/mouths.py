"""Draws docs/images/mouths.png: the sample's mouth, eight times in a row, in several 400x300 videos below each other.

    python docs/images/mouths.py LABEL=VIDEO ...

The frames are those of the last video whose mouths are most unlike the mean one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from before_after import Image, frames

OUT = Path(__file__).with_name("mouths.png")
MOUTH = np.s_[174:244, 170:254]
"""Rows and columns of the mouth; the man hardly moves."""
COUNT, SIZE, BAR = 8, (126, 105), 22
APART = 10
"""Frames between two that are shown."""


def telling(video: Image) -> list[int]:
    """Indices of frames, in order, far apart, whose mouths differ most from the mean one."""
    mouths = video[:, MOUTH[0], MOUTH[1]].astype(np.float32)
    unlike = np.abs(mouths - mouths.mean(0)).mean((1, 2, 3))
    chosen: list[int] = []
    for index in np.argsort(-unlike):
        if len(chosen) < COUNT and all(abs(int(index) - other) >= APART for other in chosen):
            chosen.append(int(index))
    return sorted(chosen)


def row(label: str, video: Image, chosen: list[int]) -> Image:
    """One video: a label above its mouths."""
    large = [cv2.resize(video[i][MOUTH], SIZE, interpolation=cv2.INTER_CUBIC) for i in chosen]
    line = np.concatenate(large, 1)
    bar = np.full((BAR, line.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
    return np.concatenate([bar, line])


def main() -> None:
    videos = {label: frames(Path(path)) for label, _, path in (word.partition("=") for word in sys.argv[1:])}
    chosen = telling(list(videos.values())[-1])
    rows = [row(label, video, [i % len(video) for i in chosen]) for label, video in videos.items()]
    cv2.imwrite(str(OUT), np.concatenate(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
