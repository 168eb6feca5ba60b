"""Frames as strips: the same bytes, whatever the size, the container and the rate."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.media import y4m
from dhcli.media.ffmpeg import InputFile, find_ffmpeg
from dhcli.media.info import frame_format
from dhcli.media.probe import probe_video
from dhcli.media.reader import filters, read_frames
from dhcli.runtime.scope import Scope
from dhcli.types import Colour, FrameFormat

Make = Callable[..., Path]
Decode = Callable[[Path], SimpleNamespace]
LARGE = "testsrc2=s=1600x1200:r=25:d=0.3"
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "4", "-pix_fmt", "yuv420p")


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (96, 64, 1),
        (400, 300, 1),
        (1280, 720, 1),
        (1600, 1200, 8),
        (1920, 1080, 4),
        (3840, 2160, 8),
        (2160, 3840, 8),
        (1920, 1082, 1),
    ],
)
def test_large_frames_travel_as_strips(width: int, height: int, expected: int) -> None:
    assert y4m.strips(width, height) == expected


def test_the_header_describes_a_frame_or_a_strip() -> None:
    small = FrameFormat(96, 64, Fraction(30000, 1001), Fraction(4, 3), Colour("pc"))
    assert y4m.header(small) == b"YUV4MPEG2 W96 H64 F30000:1001 Ip A4:3 C420mpeg2 XCOLORRANGE=FULL\n"
    large = FrameFormat(1600, 1200, Fraction(30000, 1001))
    assert y4m.header(large) == b"YUV4MPEG2 W1600 H150 F240000:1001 Ip A1:1 C420mpeg2\n"
    assert y4m.frame_bytes(large) == 1600 * 1200 * 3 // 2 + 8 * len(b"FRAME\n")


@given(st.integers(1, 2000), st.integers(1, 1200))
def test_every_byte_travels_once(width: int, height: int) -> None:
    size = width * height + 2 * ((width + 1) // 2 * ((height + 1) // 2))
    frame = memoryview(bytearray(size))
    for planes in y4m.pictures(frame, width, height):
        for plane in planes:
            np.frombuffer(plane, np.uint8)[:] += 1
    assert not size or set(frame.tobytes()) == {1}


def plainly(path: Path, chain: str = "null") -> list[bytes]:
    """The same frames as ffmpeg gives them in one piece each."""
    argv = [find_ffmpeg(), "-v", "error", "-i", str(path), "-map", "0:v:0", "-vf", chain, "-fps_mode", "passthrough"]
    done = subprocess.run([*argv, "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    size = 1600 * 1200 * 3 // 2
    return [done[at : at + size] for at in range(0, len(done), size)]


@pytest.mark.parametrize("kind", ["constant", "variable", "upright", "still", "moving"])
def test_decoded_frames_are_put_together_again(make: Make, decode: Decode, kind: str) -> None:
    match kind:
        case "constant":
            path = make("a.mp4", "-f", "lavfi", "-i", LARGE, *X264)
        case "variable":
            path = make("a.mkv", "-f", "lavfi", "-i", LARGE, "-vf", "select='mod(n,3)'", "-fps_mode", "vfr", *X264)
        case "upright":
            lying = make("a.mp4", "-f", "lavfi", "-i", "testsrc2=s=1200x1600:r=25:d=0.3", *X264)
            path = make("turned.mp4", "-display_rotation", "90", "-i", lying, "-c", "copy")
        case "still":
            path = make("a.png", "-f", "lavfi", "-i", LARGE, "-frames:v", "1")
        case _:
            path = make("a.gif", "-f", "lavfi", "-i", LARGE)
    whole = decode(path)
    assert (whole.fmt.width, whole.fmt.height) == (1600, 1200)
    decoded = plainly(path, filters(whole.info).removesuffix(",untile=1x8"))
    assert len(decoded) == whole.info.decoded
    assert [frame.data.tobytes() for frame in whole.frames] == [decoded[at] for at in whole.info.picks(whole.fmt.fps)]


def test_a_part_that_begins_in_the_middle(make: Make, scope: Scope) -> None:
    path = make("a.mp4", "-f", "lavfi", "-i", LARGE, *X264)
    with InputFile(path, "video") as file:
        info = probe_video(scope, file)
        part = list(read_frames(scope, file, info, frame_format(info), first=3, count=3))
    assert [frame.data.tobytes() for frame in part] == plainly(path)[3:6]
