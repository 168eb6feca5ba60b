"""A video made as long as the sound: always the order of `source_index`, whatever the memory."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.media import frame_store, playback
from dhcli.media.info import VideoInfo, frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.playback import Footage, play
from dhcli.media.reader import read_frames
from dhcli.runtime.scope import Scope
from dhcli.timing import Loop, source_index
from dhcli.types import Frame

Make = Callable[..., Path]
Decode = Callable[[Path], SimpleNamespace]
FRAME_BYTES = 96 * 64 * 3 // 2


@pytest.fixture(scope="module")
def short(make: Make) -> Path:
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=30000/1001:d=0.4")
    return make("short.mp4", *source, "-c:v", "libx264", "-g", "5", "-bf", "2", "-pix_fmt", "yuv420p")


def played(scope: Scope, path: Path, whole: SimpleNamespace, count: int, loop: Loop, room: int) -> list[Frame]:
    """The frames as they come; whoever takes one may write into it unless it is read-only, and does."""
    frames = []
    with InputFile(path, "video") as file:
        budget, scratch = room * FRAME_BYTES, Scratch(path.with_name("output.mp4"))
        footage = Footage(file, whole.info, whole.fmt)
        for frame in play(scope, footage, count, loop, scratch=scratch, budget_bytes=budget):
            frames.append(frame.copy())
            if frame.data.flags.writeable:
                frame.data.fill(0)
    return frames


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loop", "on_disk"),
    [("pingpong", False), ("pingpong", True), ("restart", False), ("restart", True), ("hold", False)],
)
@pytest.mark.parametrize("room", [1, 4, 7, 100])
@pytest.mark.parametrize("count", [5, 13, 24, 60])
def test_order_is_that_of_source_index(
    scope: Scope,
    short: Path,
    decode: Decode,
    loop: Loop,
    room: int,
    count: int,
    on_disk: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if on_disk:
        monkeypatch.setattr(frame_store, "MEMORY_BYTES", 0)
    whole = decode(short)
    assert whole.info.frames == 12
    got = played(scope, short, whole, count, loop, room)
    expected = [source_index(at, 12, loop) for at in range(count)]
    assert [frame.index for frame in got] == expected
    assert all((frame.data == whole.frames[index].data).all() for frame, index in zip(got, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s.mkv", "s.ts", "s.avi"])
def test_backward_in_containers_without_an_edit_list(make: Make, scope: Scope, decode: Decode, name: str) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.6")
    path = make(name, *source, "-c:v", "libx264", "-g", "4", "-bf", "0", "-pix_fmt", "yuv420p")
    whole = decode(path)
    got = played(scope, path, whole, 40, "pingpong", 4)
    assert all(
        (frame.data == whole.frames[source_index(at, 15, "pingpong")].data).all() for at, frame in enumerate(got)
    )


def test_a_seek_that_lands_elsewhere_is_noticed(
    scope: Scope, short: Path, decode: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode(short)
    honest = read_frames
    seeks = []

    def astray(*args: Any, first: int = 0, count: int | None = None, **rest: Any) -> Any:
        if first == 0:
            yield from honest(*args, count=count, **rest)
            return
        seeks.append(first)
        for frame in honest(*args, first=first - 1, count=count, **rest):
            yield Frame(frame.index + 1, frame.data)

    monkeypatch.setattr(playback, "read_frames", astray)
    got = played(scope, short, whole, 23, "pingpong", 4)
    expected = [source_index(at, 12, "pingpong") for at in range(23)]
    assert all((frame.data == whole.frames[index].data).all() for frame, index in zip(got, expected, strict=True))
    assert len(seeks) == 1, "and then never again"


@pytest.mark.parametrize("loop", ["pingpong", "restart", "hold", "error"])
def test_still_image_is_repeated(make: Make, scope: Scope, decode: Decode, loop: Loop) -> None:
    path = make("still.png", "-f", "lavfi", "-i", "testsrc2=s=96x64", "-frames:v", "1")
    got = played(scope, path, decode(path), 7, loop, 1)
    assert [frame.index for frame in got] == [0] * 7


def test_too_short_a_video_is_refused_on_request(scope: Scope, short: Path, decode: Decode) -> None:
    whole = decode(short)
    assert len(played(scope, short, whole, 12, "error", 100)) == 12
    with pytest.raises(DhError) as caught:
        played(scope, short, whole, 13, "error", 100)
    assert caught.value.code == "input.too_short"
    assert "12 of 13 frames" in caught.value.message


def test_variable_rate_is_played_at_its_constant_rate(
    make: Make, scope: Scope, video: Callable[[Path], VideoInfo]
) -> None:
    hole = (
        "-vf",
        "select='not(between(n,5,9))'",
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-g",
        "4",
        "-pix_fmt",
        "yuv420p",
    )
    path = make("hole.mp4", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.6", *hole)
    info = video(path)
    assert (info.vfr, info.frames) == (True, 15)
    with InputFile(path, "video") as file:
        scratch, footage = Scratch(path.with_name("output.mp4")), Footage(file, info, frame_format(info))
        kept = list(play(scope, footage, 40, "pingpong", scratch=scratch))
        tight = list(play(scope, footage, 40, "pingpong", scratch=scratch, budget_bytes=3 * FRAME_BYTES))
    assert all((a.data == b.data).all() and a.index == b.index for a, b in zip(kept, tight, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("why", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EOPNOTSUPP])
def test_where_the_disk_grants_no_room_the_video_is_decoded_again(
    scope: Scope, short: Path, decode: Decode, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(why, os.strerror(why))

    whole = decode(short)
    monkeypatch.setattr(frame_store, "MEMORY_BYTES", 3 * FRAME_BYTES)
    monkeypatch.setattr(os, "posix_fallocate", refused)
    got = played(scope, short, whole, 40, "pingpong", 100)
    expected = [source_index(at, 12, "pingpong") for at in range(40)]
    assert all((frame.data == whole.frames[index].data).all() for frame, index in zip(got, expected, strict=True))


def test_a_limit_on_file_sizes_that_is_really_there(
    scope: Scope, short: Path, decode: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode(short)
    monkeypatch.setattr(frame_store, "MEMORY_BYTES", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * FRAME_BYTES, hard))
    try:
        got = played(scope, short, whole, 40, "pingpong", 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [frame.index for frame in got] == [source_index(at, 12, "pingpong") for at in range(40)]


def test_a_disk_that_fails_is_an_error(
    scope: Scope, short: Path, decode: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    whole = decode(short)
    monkeypatch.setattr(frame_store, "MEMORY_BYTES", 0)
    for call in ("posix_fallocate", "pwrite", "preadv"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, broken)
            with pytest.raises(DhError) as caught:
                played(scope, short, whole, 24, "pingpong", 100)
        assert caught.value.code == "output.not_writable"


def test_what_is_kept_leaves_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    least, most = frame_store.MEMORY_BYTES, frame_store.DISK_BYTES
    for free, floor, kept in ((0, 0, least), (1 << 30, 0, 1 << 28), (1 << 30, 1 << 29, 1 << 27), (1 << 40, 0, most)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert frame_store.store_budget(Scratch(tmp_path / "output.mp4", floor)) == kept
