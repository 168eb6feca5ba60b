"""Damage inside a video is told with its place and amount, and the video is used."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.media.info import AudioInfo

Make = Callable[..., Path]
Audio = Callable[[Path], AudioInfo]
Decode = Callable[[Path], SimpleNamespace]

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-bf", "0", "-pix_fmt", "yuv420p")
PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")
PACKET = 188


def shape(make: Make, name: str, size: str) -> bytes:
    return make(name, "-f", "lavfi", "-i", f"color=white:s={size}:r=25:d=0.4", *X264).read_bytes()


@pytest.mark.parametrize("name", ["a.h264", "a.ts"])
@pytest.mark.parametrize(
    ("size", "bars"), [("96x144", ("left", "right")), ("144x96", ("top", "bottom")), ("192x192", ())]
)
def test_another_shape_on_the_way_gets_bars(
    make: Make, decode: Decode, tmp_path: Path, name: str, size: str, bars: tuple[str, ...]
) -> None:
    path = tmp_path / name
    path.write_bytes(shape(make, name, "96x96") + shape(make, name, size))
    got = decode(path)
    assert len(got.frames) == 20
    assert all(frame.y.min() > 200 for frame in got.frames[:10])
    last = got.frames[-1].y
    edges = {"left": last[48, 2], "right": last[48, -3], "top": last[2, 48], "bottom": last[-3, 48]}
    assert tuple(edge for edge, luma in edges.items() if luma < 50) == bars
    assert last[48, 48] > 200
    assert ("input.reshaped" in got.remarks) == bool(bars)


def test_damaged_packets_of_a_broadcast(make: Make, decode: Decode, tmp_path: Path) -> None:
    data = bytearray(make("a.ts", *PICTURES, *X264).read_bytes())
    dice = random.Random(1)  # noqa: S311 - the same noise every time
    middle = len(data) // PACKET // 2
    for number in range(middle, middle + 4):
        data[number * PACKET + 40 : (number + 1) * PACKET] = dice.randbytes(PACKET - 40)
    path = tmp_path / "a.ts"
    path.write_bytes(data)
    got = decode(path)
    assert len(got.frames) == got.info.frames == 50
    assert "pictures are" in got.remarks["input.damaged"]
    assert ", at 0.9" in got.remarks["input.damaged"] or ", at 1.0" in got.remarks["input.damaged"]


def test_transport_streams_one_behind_the_other(make: Make, decode: Decode, tmp_path: Path) -> None:
    parts = [make("a.ts", "-f", "lavfi", "-i", f"testsrc2=s=96x64:r=25:d={seconds}", *X264) for seconds in (1, 0.6)]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    got = decode(path)
    assert (got.info.damage, got.info.cut, got.remarks) == ("", "", {})
    assert len(got.frames) == 40


def test_lost_pictures_are_filled(make: Make, decode: Decode, tmp_path: Path) -> None:
    """MP4 with six pictures of zeros in its middle."""
    data = bytearray(make("a.mp4", *PICTURES, "-c:v", "mjpeg", "-movflags", "+faststart").read_bytes())
    begin = data.index(b"mdat") + 4
    middle = begin + (len(data) - begin) // 2
    data[middle : middle + (len(data) - begin) // 8] = bytes((len(data) - begin) // 8)
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    got = decode(path)
    assert len(got.frames) == 50
    assert "of its 50 pictures are" in got.remarks["input.damaged"]


@pytest.mark.parametrize("where", ["name", "size"])
def test_a_broken_colr_atom(make: Make, decode: Decode, tmp_path: Path, where: str) -> None:
    tags = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-movflags", "+write_colr")
    data = bytearray(make("a.mp4", *PICTURES, *X264, *tags).read_bytes())
    at = data.index(b"colr")
    if where == "name":
        data[at + 4 : at + 8] = b"zzzz"
    else:
        data[at - 4 : at] = (9).to_bytes(4, "big")
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    got = decode(path)
    assert (got.info.damage, got.remarks, len(got.frames)) == ("", {}, 50)


@pytest.mark.parametrize("tag", [b"II*\0\x0f\x27\0\0junkjunk", b"II*\0\x08\0\0\0\x32\0\x12\1\3\0\xff\xff\xff\xff"])
def test_a_jpeg_with_broken_exif(make: Make, decode: Decode, tmp_path: Path, tag: bytes) -> None:
    picture = make("p.jpg", "-f", "lavfi", "-i", "color=gray:s=96x64", "-frames:v", "1").read_bytes()
    note = b"\xff\xe1" + (len(tag) + 8).to_bytes(2, "big") + b"Exif\0\0" + tag
    path = tmp_path / "p.jpg"
    path.write_bytes(picture[:2] + note + picture[2:])
    got = decode(path)
    assert (got.info.damage, got.remarks) == ("", {})
    assert np.abs(got.frames[0].y.astype(int) - 126).max() <= 3


TONE = ("-f", "lavfi", "-i", "sine=d=2:r=22050", "-f", "lavfi", "-i", "anoisesrc=d=2:r=22050:a=0.1:seed=1")
FLAC = ("-filter_complex", "amix", "-c:a", "flac")


@pytest.mark.parametrize(
    ("form", "how"),
    [
        *itertools.product(["-ar 22050", "-ar 44100 -ac 2"], ["zeros", "noise", "hole"]),
        # In frames as small as these ffmpeg does not complain of noise, and plays as much as before.
        *itertools.product(["-ar 96000"], ["zeros", "hole"]),
    ],
)
def test_frames_of_a_flac_are_lost(make: Make, audio: Audio, tmp_path: Path, form: str, how: str) -> None:
    data = bytearray(make("a.flac", *TONE, *FLAC, *form.split()).read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 400)
    noise = random.Random(1).randbytes(400)  # noqa: S311 - the same noise every time
    data[middle] = {"zeros": bytes(400), "noise": noise, "hole": b""}[how]
    path = tmp_path / "a.flac"
    path.write_bytes(data)
    found = audio(path)
    assert not found.cut
    assert found.damage
    lost = 2 - float(found.duration)
    assert lost < 0.4
    assert (lost > 0.02) == (f"{lost:.2f} of 2.00 s of its sound are lost" in found.damage)


def test_a_flac_ends_early(make: Make, audio: Audio, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(make("a.flac", *TONE, *FLAC).read_bytes()[:-9000])
    with pytest.raises(DhError, match="ends early") as caught:
        audio(path)
    assert caught.value.code == "input.truncated"
