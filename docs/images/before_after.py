"""Draws docs/images/before-after.png: frames of the sample as they were, and as dh renders them. `make picture`.

The frames are those that changed most, at least a second apart, so that nobody chose them by hand.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dhcli.media.ffmpeg_program import find_ffmpeg

ROOT = Path(__file__).parents[2]
AVATAR, SPEECH = ROOT / "examples/media/avatar.mp4", ROOT / "examples/media/speech.wav"
WIDTH, HEIGHT, FPS = 400, 300, 25
COLUMNS, GAP, BAR = 3, 6, 30
WHITE, GREY = (255, 255, 255), (90, 90, 90)

Image = npt.NDArray[np.uint8]


def frames(path: Path) -> npt.NDArray[np.uint8]:
    """All frames of a 400x300 video, (N, 300, 400, 3), BGR."""
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


def most_changed(before: Image, after: Image) -> list[int]:
    """Indices of the frames with the largest difference, at least a second apart, in order of time."""
    change = np.abs(before.astype(np.int16) - after).mean(axis=(1, 2, 3))
    chosen: list[int] = []
    for index in np.argsort(-change):
        if all(abs(int(index) - other) >= FPS for other in chosen):
            chosen.append(int(index))
        if len(chosen) == COLUMNS:
            break
    return sorted(chosen)


def caption(text: str) -> Image:
    """A white bar with a line of text."""
    bar = np.full((BAR, WIDTH, 3), 255, np.uint8)
    cv2.putText(bar, text, (8, BAR - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.55, GREY, 1, cv2.LINE_AA)
    return bar


def picture(before: Image, after: Image) -> Image:
    """One column a moment: the recording above, what dh makes of it below."""
    gap = np.full((HEIGHT * 2 + BAR * 2, GAP, 3), 255, np.uint8)
    columns: list[Image] = []
    for index in most_changed(before, after):
        second = f"{index / FPS:.1f} s"
        above, below = caption(f"avatar.mp4, {second}"), caption(f"dh render with speech.wav, {second}")
        columns += [np.vstack([above, before[index], below, after[index]]), gap]
    return np.hstack(columns[:-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "hello.mp4"
        paths = ["--audio", str(SPEECH), "--video", str(AVATAR), "--save-path", str(output)]
        subprocess.run([sys.executable, "-m", "dhcli", "render", *paths], check=True)
        after = frames(output)
    before = frames(AVATAR)[: len(after)]
    target = Path(__file__).with_name("before-after.png")
    if not cv2.imwrite(str(target), picture(before, after), [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise SystemExit(f"{target} cannot be written")
    print(target.relative_to(ROOT))  # noqa: T201 - the program's answer


if __name__ == "__main__":
    main()
