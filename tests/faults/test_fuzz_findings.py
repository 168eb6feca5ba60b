"""Damage that random accidents found and that once made a short video, or a short sound, pass as whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.errors import DhError
from dhcli.media.info import frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.reader import read_frames
from dhcli.runtime.scope import Scope

pytestmark = pytest.mark.slow

Make = Callable[..., bytearray]
PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1")
TONE = ("-f", "lavfi", "-i", "sine=d=1:r=16000")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-pix_fmt", "yuv420p")
MATROSKA = {"a.mkv": X264, "a.webm": ("-c:v", "libvpx", "-b:v", "500k", "-g", "5")}
CLUSTER = b"\x1f\x43\xb6\x75"
"""Begins each group of frames; no other element of a Matroska has this name."""


@pytest.fixture
def make(ffmpeg: Callable[..., None], out: Path) -> Make:
    def run(name: str, *argv: object) -> bytearray:
        ffmpeg(*argv, out / name)
        return bytearray((out / name).read_bytes())

    return run


def refused(path: Path, data: bytearray, look: Callable[..., Any] = probe_video) -> DhError:
    path.write_bytes(data)
    with Scope() as scope, InputFile(path, "input") as file, pytest.raises(DhError) as caught:
        look(scope, file)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_the_first_pictures_of_an_mp4_are_gone(make: Make, out: Path) -> None:
    data = make("a.mp4", *PICTURES, *X264, "-movflags", "+faststart")
    at = data.index(b"mdat") + 4
    data[at : at + 2500] = bytes(2500)
    error = refused(out / "a.mp4", data)
    assert error.code == "input.truncated"
    assert "of 1.00 s" in error.message


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_piece_is_missing_in_the_middle_of_a_matroska(name: str, make: Make, out: Path) -> None:
    data = make(name, *PICTURES, *MATROSKA[name])
    del data[len(data) // 2 : len(data) // 2 + 64]
    assert refused(out / name, data).code in {"input.corrupt", "input.truncated"}


def test_a_piece_of_a_matroska_is_missing_and_ffmpeg_says_nothing(make: Make, out: Path) -> None:
    """17 of 25 frames are left, the last one too. Raw pictures have the same bytes on every machine."""
    small = ("-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=1")
    data = make("a.mkv", *small, "-c:v", "rawvideo", "-fflags", "+bitexact")
    del data[6663:15_663]
    error = refused(out / "a.mkv", data)
    assert error.code == "input.truncated"
    assert "9000 bytes of it are missing" in error.message


def test_a_cluster_of_sound_is_gone(make: Make, out: Path) -> None:
    data = make("a.mka", *TONE, "-c:a", "flac", "-cluster_time_limit", "200")
    second = data.index(CLUSTER, data.index(CLUSTER) + 4)
    del data[second : data.index(CLUSTER, second + 4)]
    assert refused(out / "a.mka", data, probe_audio).code == "input.truncated"


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_matroska_without_a_length_is_whole(name: str, make: Make, out: Path) -> None:
    """As recorders write it that cannot seek back, and with bytes behind it that belong to nothing."""
    live = make(name, *PICTURES, *MATROSKA[name], "-live", "1")
    for data in (live, make(name, *PICTURES, *MATROSKA[name]) + bytes(100)):
        (out / name).write_bytes(data)
        with Scope() as scope, InputFile(out / name, "video") as file:
            assert probe_video(scope, file).frames == 25


def test_an_avi_ends_between_two_pictures(make: Make, out: Path) -> None:
    data = make("a.avi", *PICTURES, "-c:v", "mjpeg")
    at = data.index(b"movi")
    for _ in range(20):
        at = data.index(b"00dc", at + 4)
    error = refused(out / "a.avi", data[:at])
    assert error.code in {"input.truncated", "input.corrupt"}


def test_the_last_frame_of_a_flac_is_gone(make: Make, out: Path) -> None:
    data = make("a.flac", *TONE, "-c:a", "flac", "-frame_size", "1024")
    del data[len(data) // 2 : len(data) // 2 + 900]
    assert refused(out / "a.flac", data[:-900], probe_audio).code == "input.truncated"


def test_the_end_of_an_mp3_is_gone(make: Make, out: Path) -> None:
    data = make("a.mp3", *TONE, "-c:a", "libmp3lame", "-b:a", "64k")
    error = refused(out / "a.mp3", data[: len(data) * 85 // 100], probe_audio)
    assert error.code == "input.truncated"


def test_a_transport_stream_ends_inside_a_packet(make: Make, out: Path) -> None:
    data = make("a.ts", *PICTURES, *X264)
    error = refused(out / "a.ts", data[:-50])
    assert error.code == "input.truncated"
    assert "138 bytes into a packet of 188" in error.message


def test_damage_counts_where_only_the_beginning_of_a_video_is_used(make: Make, out: Path) -> None:
    data = make("a.avi", *PICTURES, "-c:v", "mjpeg")
    at = data.index(b"00dc", data.index(b"00dc", data.index(b"movi")) + 4)
    data[at + 900 : at + 1300] = random.Random(1).randbytes(400)  # noqa: S311 - the same noise every time
    path = out / "a.avi"
    path.write_bytes(data)
    with Scope() as scope, InputFile(path, "video") as file:
        info = probe_video(scope, file)
        assert info.frames == 25
        assert len(list(read_frames(scope, file, info, frame_format(info), count=10))) == 10
        assert "1 of its 10 pictures" in file.remarks["input.damaged"]


def test_what_a_header_rounds_is_no_damage(ffmpeg: Callable[..., None], out: Path) -> None:
    kinds = {
        "a.mp4": X264,
        "b.mkv": X264,
        "c.mov": ("-c:v", "mpeg4"),
        "d.avi": ("-c:v", "mpeg4"),
        "e.webm": ("-c:v", "libvpx"),
    }
    for rate in ("24000/1001", "12.5", "60"):
        for name, how in kinds.items():
            ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=96x64:r={rate}:d=0.7", *how, out / name)
            with Scope() as scope, InputFile(out / name, "video") as file:
                assert probe_video(scope, file).frames in {9, 17, 42}


def test_a_cut_without_encoding_is_no_damage(make: Make, ffmpeg: Callable[..., None], out: Path) -> None:
    make("long.mkv", *PICTURES, *X264)
    for name in ("cut.mkv", "cut.mp4", "cut.mov"):
        ffmpeg("-ss", "0.5", "-i", out / "long.mkv", "-c", "copy", out / name)
        with Scope() as scope, InputFile(out / name, "video") as file:
            assert 12 <= probe_video(scope, file).frames <= 15
    ffmpeg("-itsoffset", "0.4", "-i", out / "long.mkv", "-c", "copy", out / "late.mkv")
    with Scope() as scope, InputFile(out / "late.mkv", "video") as file:
        assert probe_video(scope, file).frames == 25
