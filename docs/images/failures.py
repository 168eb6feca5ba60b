"""Draws docs/images/failures.png: what goes wrong, filmed above rendered, with a picture of a person who smiles.

    python docs/images/failures.py PORTRAIT

The other one is the sample with letters over the chin. PORTRAIT is scikit-image's `astronaut.png`, 512x512, by NASA, in
the public domain.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from before_after import AVATAR, FPS, HEIGHT, SPEECH, WIDTH, Image

from dhcli.media.ffmpeg_program import find_ffmpeg

OUT = Path(__file__).with_name("failures.png")
SIZE, BAR, COUNT = (126, 105), 22, 8


@dataclass(frozen=True, slots=True)
class Case:
    """What goes wrong in which picture."""

    label: str
    size: tuple[int, int]  # width and height, px
    mouth: tuple[slice, slice]


LETTERS = Case("letters over the chin move with the jaw", (WIDTH, HEIGHT), np.s_[174:244, 170:254])
SMILE = Case("a still that smiles: wide openings stretch its teeth", (512, 512), np.s_[122:172, 192:252])


def read(path: Path, size: tuple[int, int]) -> Image:
    """All frames, (n, height, width, 3) BGR."""
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3)


def write(pictures: Image, path: Path) -> None:
    """A video of them, nearly lossless."""
    height, width = pictures.shape[1:3]
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "-"]
    subprocess.run(
        [find_ffmpeg(), "-v", "error", "-y", *raw, "-crf", "8", str(path)], input=pictures.tobytes(), check=True
    )


def lettered(pictures: Image) -> Image:
    """With a white line of text over the chin."""
    out = pictures.copy()
    for one in out:
        cv2.putText(one, "BREAKING NEWS", (132, 236), cv2.FONT_HERSHEY_DUPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
    return out


def rendered(video: Path, size: tuple[int, int]) -> Image:
    """With the sample's speech."""
    out = video.with_suffix(".out.mp4")
    files = ["--audio", str(SPEECH), "--video", str(video), "--save-path", str(out)]
    subprocess.run([sys.executable, "-m", "dhcli", "render", *files, "-q"], check=True)
    return read(out, size)


def chosen(case: Case, before: Image, after: Image) -> list[int]:
    """The frames whose mouths changed most, in order, some way apart."""
    change = np.abs(after[:, *case.mouth].astype(np.int16) - before[:, *case.mouth]).mean((1, 2, 3))
    found: list[int] = []
    for index in np.argsort(-change):
        if len(found) < COUNT and all(abs(int(index) - other) >= 8 for other in found):
            found.append(int(index))
    return sorted(found)


def rows(case: Case, before: Image, after: Image) -> Image:
    """A label, the filmed mouths and the rendered ones."""
    before = before[np.arange(len(after)) % len(before)]
    at = chosen(case, before, after)
    lines = [
        np.concatenate([cv2.resize(v[i][case.mouth], SIZE, interpolation=cv2.INTER_CUBIC) for i in at], 1)
        for v in (before, after)
    ]
    bar = np.full((BAR, SIZE[0] * COUNT, 3), 255, np.uint8)
    cv2.putText(bar, case.label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
    return np.concatenate([bar, *lines])


def main() -> None:
    avatar, still = read(AVATAR, (WIDTH, HEIGHT)), cv2.imread(sys.argv[1])
    if still is None:
        sys.exit(f"{sys.argv[1]} is no picture.")
    with tempfile.TemporaryDirectory() as folder:
        pictures = []
        for case, filmed in ((LETTERS, lettered(avatar)), (SMILE, still[None])):
            video = Path(folder) / f"{len(pictures)}.mp4"
            write(np.repeat(filmed, FPS if len(filmed) == 1 else 1, 0), video)
            pictures.append(rows(case, filmed, rendered(video, case.size)))
    cv2.imwrite(str(OUT), np.concatenate(pictures), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
