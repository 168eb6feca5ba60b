"""An encoder that writes damaged or wrong pictures and says that all is well: they are looked at before the rename."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.media.verify import Expected, verify_output
from dhcli.media.writer import Encoding, VideoWriter
from dhcli.runtime.scope import Scope
from dhcli.types import Frame, FrameFormat

pytestmark = pytest.mark.slow

Render = Callable[..., Any]
FakeFfmpeg = Callable[..., Path]
FRAME = 400 * 300 * 3 // 2 + 6

TABLES = '''
def table(data, name, width, skip):
    """What an MP4 says of its first track, the video."""
    at = data.index(name) + 4 + skip
    count = int.from_bytes(data[at : at + 4], "big")
    numbers = [int.from_bytes(data[at + 4 + 4 * i : at + 8 + 4 * i], "big") for i in range(count * width)]
    return [numbers[i : i + width] for i in range(0, len(numbers), width)]
def packets(data):
    """Where each packet lies, and its bytes."""
    sizes = [size for (size,) in table(data, b"stsz", 1, 8)]
    chunks, runs, found = table(data, b"stco", 1, 4), table(data, b"stsc", 3, 4), []
    for number, (at,) in enumerate(chunks, 1):
        for _ in range([run[1] for run in runs if run[0] <= number][-1]):
            found.append((at, sizes[len(found)]))
            at += found[-1][1]
    return found
def damage(path, number):
    """Noise in a packet after its first bytes: length, kind of picture and, in the first one, the settings."""
    with open(path, "r+b") as file:
        at, size = packets(file.read())[number]
        kept = 6 if number else size // 2
        file.seek(at + kept)
        file.write(random.Random(number).randbytes(size - kept))
'''
"""Of a damaged output nothing is wrong but what is in one of its packets."""


@pytest.mark.parametrize("packet", [0, 3, 5, 9], ids=["key frame", "P or B picture", "in the middle", "last"])
def test_a_picture_is_damaged(
    fake_ffmpeg: FakeFfmpeg, render: Render, content: Callable[[], list[str]], packet: int
) -> None:
    done = "code = subprocess.run([REAL, *argv], close_fds=False).returncode"
    fake_ffmpeg("encode", f"import random\n{TABLES}\n{done}\ndamage(argv[-1][5:], {packet})\nsys.exit(code)")
    error = render().result.error
    assert error is not None, "succeeded"
    assert error.code == "output.mismatch"
    flood = "MiB of messages a second" in error.message  # ffmpeg 9.0 complains of some noise without end
    assert flood or f"frame {error.frame} " in error.message
    assert content() == ["out.mp4.json"]


@pytest.mark.parametrize("first", [0, 4, 9])
@pytest.mark.parametrize("planes", ["green", "upside down", "noise"])
def test_other_pictures_than_those_that_were_rendered(
    fake_ffmpeg: FakeFfmpeg, render: Render, content: Callable[[], list[str]], planes: str, first: int
) -> None:
    """From frame `first` on. Each of them is a sound picture, of the right size and at the right time."""
    wrong = {
        "green": "bytes([145]) * 120000 + bytes([54]) * 30000 + bytes([34]) * 30000",
        "upside down": "frame[:120000][::-1] + frame[120000:150000][::-1] + frame[150000:][::-1]",
        "noise": "os.urandom(180000)",
    }[planes]
    lie = f"""
data = b""
while block := os.read(0, 65536): data += block
at = data.index(b"FRAME")
sent = data[:at]
for number in range((len(data) - at) // {FRAME}):
    frame = data[at + number * {FRAME} + 6 :][: {FRAME} - 6]
    sent += b"FRAME\\n" + ({wrong} if number >= {first} else frame)
sys.exit(subprocess.run([REAL, *argv], input=sent, close_fds=False).returncode)
"""
    fake_ffmpeg("encode", lie)
    error = render().result.error
    assert error is not None, "succeeded"
    assert (error.code, error.frame) == ("output.mismatch", first)
    assert f"frame {first} shows something else" in error.message
    assert content() == ["out.mp4.json"]


def written(path: Path, scope: Scope, fmt: FrameFormat, frames: list[Frame], **options: Any) -> bytes:
    """Encode the frames; what comes back is their thumbnails."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        with VideoWriter(scope, path, fd, fmt, Encoding(**options)) as writer:
            for frame in frames:
                writer.write(frame)
            writer.finish()
    finally:
        os.close(fd)
    return bytes(writer.thumbnails)


def scenes(kind: str, count: int, width: int, height: int) -> list[Frame]:
    dice = np.random.default_rng(0)
    columns: Any = np.arange(width)
    rows: Any = np.arange(height * 3 // 2)[:, None]
    shape = (height * 3 // 2, width)
    made: dict[str, Callable[[int], Any]] = {
        "noise": lambda _: dice.integers(0, 256, shape),
        "snow": lambda _: dice.integers(0, 2, shape) * 255,
        "chessboard": lambda at: (rows + columns + at) % 2 * 255,
        "dots": lambda at: np.where((columns * 7919 + rows * 104729 + at * 31) % 97 < 3, 255, 20),
        "cuts": lambda at: np.full(shape, at * 97 % 256),
        "ramp": lambda at: (rows + 2 * columns + 9 * at) % 256,
    }
    return [Frame(at, made[kind](at).astype(np.uint8)) for at in range(count)]


KINDS = ("noise", "snow", "chessboard", "dots", "cuts", "ramp")
SMALL = (
    ("libx264", 51, "veryfast", (400, 300)),
    ("libx264", 0, "ultrafast", (64, 64)),
    ("libx264", 51, "veryfast", (66, 98)),
    ("libx264", 51, "ultrafast", (16, 16)),
    ("libx265", 51, "ultrafast", (400, 300)),
)
LARGE = (("libx264", 35, "slower", (1280, 720)), ("libx265", 30, "ultrafast", (1280, 720)))
"""Each takes seconds. Two kinds are enough here: the hardest to encode, and the one whose frames differ most."""


@pytest.mark.parametrize(
    ("encoder", "crf", "preset", "size", "kind"),
    [(*how, kind) for how in SMALL for kind in KINDS] + [(*how, kind) for how in LARGE for kind in ("snow", "cuts")],
)
def test_honest_pictures_pass(
    tmp_path: Path, kind: str, encoder: str, crf: int, preset: str, size: tuple[int, int]
) -> None:
    """However coarse, small, large or restless they are."""
    fmt, path = FrameFormat(*size, Fraction(25)), tmp_path / "o.mp4"
    for count in (1, 7):
        frames = scenes(kind, count, *size)
        with Scope() as scope:
            thumbnails = written(path, scope, fmt, frames, encoder=encoder, crf=crf, preset=preset)
            verify_output(scope, path, Expected(fmt, count, encoder=encoder, thumbnails=thumbnails))
        path.unlink()


@pytest.mark.parametrize(("encoder", "preset"), [("libx264", "veryfast"), ("libx265", "ultrafast")])
@pytest.mark.parametrize("wrong", [False, True])
def test_of_a_large_video_a_part_is_decoded(tmp_path: Path, encoder: str, preset: str, *, wrong: bool) -> None:
    """What its key frames show is compared."""
    fmt, path = FrameFormat(3840, 2160, Fraction(25)), tmp_path / "o.mp4"
    frames = scenes("ramp", 6, fmt.width, fmt.height)
    with Scope() as scope:
        thumbnails = written(path, scope, fmt, frames, encoder=encoder, preset=preset)
        if not wrong:
            verify_output(scope, path, Expected(fmt, 6, encoder=encoder, thumbnails=thumbnails))
            return
        with pytest.raises(DhError, match="frame 0 shows something else") as caught:
            verify_output(scope, path, Expected(fmt, 6, encoder=encoder, thumbnails=bytes(len(thumbnails))))
    assert (caught.value.code, caught.value.frame) == ("output.mismatch", 0)
