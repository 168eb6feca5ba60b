"""Real networks and real faces. `portrait.jpg` is cut from NASA's portrait of Eileen Collins (public domain)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import pytest

from dhcli.disk.scratch import Scratch
from dhcli.families.dh_base.geometry import Geometry, load_geometry
from dhcli.families.family import Profiler
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.networks.bundle import load_bundle
from dhcli.networks.network import Device
from dhcli.render import face_finder
from dhcli.render.analysis import analyse
from dhcli.render.face_finder import FaceFinder
from dhcli.render.track_file import FaceTrack
from dhcli.types import Frame, FrameFormat

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "dh-base"
WIDTH, HEIGHT = 400, 300


@pytest.fixture(scope="session")
def geometry() -> Geometry:
    return load_geometry((MODEL / "geometry.npz").read_bytes())


@pytest.fixture(scope="session")
def finder() -> FaceFinder:
    return FaceFinder(load_bundle(face_finder.NAME), Device("cpu"))


def decode(path: Path, width: int, height: int, *options: str) -> list[Frame]:
    argv = [find_ffmpeg(), "-v", "error", "-i", str(path), *options, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    raw = subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
    planes = np.frombuffer(raw, np.uint8).reshape(-1, height * 3 // 2, width)
    assert len(planes)
    return [Frame(i, data) for i, data in enumerate(planes)]


@pytest.fixture(scope="session")
def avatar() -> list[Frame]:
    """200 frames of a man, his face at (210, 180)."""
    return decode(ROOT / "examples" / "media" / "avatar.mp4", WIDTH, HEIGHT)


@pytest.fixture(scope="session")
def portrait() -> Frame:
    """A woman, her face at (165, 110)."""
    return decode(Path(__file__).with_name("portrait.jpg"), WIDTH, HEIGHT)[0]


@pytest.fixture(scope="session")
def beside() -> Callable[[Frame, Frame], Frame]:
    """The two pictures beside each other."""

    def both(left: Frame, right: Frame) -> Frame:
        frame = Frame(left.index, np.empty((left.height * 3 // 2, left.width + right.width), np.uint8))
        for name in "yuv":
            getattr(frame, name)[:] = np.hstack([getattr(left, name), getattr(right, name)])
        return frame

    return both


@pytest.fixture(scope="session")
def pair(avatar: list[Frame], portrait: Frame, beside: Callable[[Frame, Frame], Frame]) -> list[Frame]:
    """The man at the left, the woman at the right, 800 px wide."""
    return [beside(frame, portrait) for frame in avatar[:90]]


Paint: TypeAlias = Callable[..., Frame]


@pytest.fixture(scope="session")
def paint() -> Paint:
    """A grey copy of a frame from column 0 to `until`."""

    def grey(frame: Frame, luma: int = 16, until: int | None = None) -> Frame:
        copy = frame.copy()
        copy.y[:, :until] = luma
        copy.u[:, : until and until // 2] = copy.v[:, : until and until // 2] = 128
        return copy

    return grey


@pytest.fixture(scope="session")
def shrink() -> Callable[[Frame, int], Frame]:
    """The frame in the top left corner of a grey one, `factor` times smaller."""

    def smaller(frame: Frame, factor: int) -> Frame:
        canvas = Frame(frame.index, np.full_like(frame.data, 128))
        for name in "yuv":
            plane = getattr(frame, name)
            height, width = (side // factor for side in plane.shape)
            blocks = plane[: height * factor, : width * factor].reshape(height, factor, width, factor)
            getattr(canvas, name)[:height, :width] = blocks.mean((1, 3)).round()
        return canvas

    return smaller


Follow: TypeAlias = Callable[..., FaceTrack]


@pytest.fixture
def follow(finder: FaceFinder, tmp_path: Path, request: pytest.FixtureRequest) -> Follow:
    """Analyse frames put one behind the other; the track closes with the test."""

    def run(
        frames: Iterable[Frame], face: str = "largest", fps: int = 25, profiler: Profiler | None = None
    ) -> FaceTrack:
        row = [Frame(i, frame.data) for i, frame in enumerate(frames)]
        fmt = FrameFormat(row[0].width, row[0].height, Fraction(fps))
        scratch = Scratch(tmp_path / "x.mp4")
        track = analyse(row, fmt, finder, face, lambda: None, scratch=scratch, profiler=profiler)
        request.addfinalizer(track.close)
        return track

    return run


@pytest.fixture(scope="session")
def scenery() -> list[Frame]:
    """2 s of hills that pass by, nobody in them."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    frames = []
    for index in range(50):
        at = x + 2 * index
        crest = HEIGHT / 2 + 40 * np.sin(at / 70) + 15 * np.sin(at / 23)
        frame = Frame(index, np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8))
        frame.y[:] = np.where(y < crest, 200 - y / 4, 70 + 20 * np.sin(at / 9) * np.sin(y / 7))
        frames.append(frame)
    return frames


LETTERS = {
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "X": "10001 10001 01010 00100 01010 10001 10001",
}
"""Rows of 5 dots."""


@pytest.fixture(scope="session")
def title() -> Callable[[str, int], list[Frame]]:
    """20 frames, 480 x 270, of white letters on black, soft at their edges; a dot has `size` px."""

    def draw(text: str, size: int) -> list[Frame]:
        rows = []
        for line in text.splitlines():
            letters = [np.array([[dot == "1" for dot in row] for row in LETTERS[one].split()]) for one in line]
            rows.append(np.hstack([np.pad(one, ((1, 1), (0, 1))) for one in letters])[:, :-1])
        width = max(row.shape[1] for row in rows)
        sides = [(width - row.shape[1]) // 2 for row in rows]
        dots = np.vstack(
            [np.pad(row, ((0, 0), (side, width - row.shape[1] - side))) for row, side in zip(rows, sides, strict=True)]
        )
        dots = np.pad(dots, ((0, 0), (1, 1))).astype(np.float32)
        ink = cv2.resize(dots, None, fx=size, fy=size, interpolation=cv2.INTER_LINEAR)
        frame = Frame(0, np.full((270 * 3 // 2, 480), 128, np.uint8))
        frame.y[:] = 16
        top, left = (270 - ink.shape[0]) // 2, (480 - ink.shape[1]) // 2
        frame.y[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(16 + 219 * ink)
        return [frame] * 20

    return draw
