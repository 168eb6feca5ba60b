"""The file that holds a face track."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.avatar import analyse
from dhcli.errors import DhError
from dhcli.facetrack import FaceTrack, load_track
from dhcli.types import Frame, FrameFormat


@pytest.fixture
def stored(follow: Any, avatar: list[Frame], portrait: Frame, paint: Any, tmp_path: Path) -> tuple[FaceTrack, Path]:
    """70 frames, of which 20 to 39 are black, and a second person at the end."""
    frames = [paint(f) if 20 <= i < 40 else f for i, f in enumerate(avatar[:60])] + [portrait] * 10
    path = tmp_path / "cache" / "faces.bin"
    return follow(frames, store_path=path), path


def same(a: FaceTrack, b: FaceTrack, index: int) -> bool:
    left, right = a.row(index), b.row(index)
    if left is None or right is None:
        return left is right
    return (
        (left.person, left.weight, left.pose.scale) == (right.person, right.weight, right.pose.scale)
        and np.array_equal(left.mouth, right.mouth)
        and np.array_equal(left.code, right.code)
        and np.array_equal(left.pose.rotation, right.pose.rotation)
        and np.array_equal(left.pose.translation, right.pose.translation)
    )


def test_kept_track_is_read_back_whole(stored: tuple[FaceTrack, Path], geometry: Any) -> None:
    track, path = stored
    assert list(path.parent.iterdir()) == [path]
    loaded = load_track(path, geometry)
    assert loaded is not None
    with loaded:
        assert loaded.missing_ranges == track.missing_ranges == ((20, 39),)
        assert (loaded.frames, loaded.missing, loaded.cuts) == (70, 20, (60,))
        assert (loaded.searched, loaded.faces_seen_max) == (track.searched, 1)
        assert len(loaded.persons) == 2
        for mine, other in zip(track.persons, loaded.persons, strict=True):
            assert np.array_equal(mine.rest, other.rest)
            assert np.array_equal(mine.reference, other.reference)
        order = [*range(70), *range(69, -1, -1), 3, 68, 0]  # ping-pong, and jumps over the blocks
        assert all(same(track, loaded, index) for index in order)


@pytest.mark.parametrize("index", [-1, 70])
def test_rows_beyond_the_video_do_not_exist(stored: tuple[FaceTrack, Path], index: int) -> None:
    with pytest.raises(IndexError, match="of 70"):
        stored[0].row(index)


@pytest.mark.parametrize("damage", ["empty", "cut", "version", "trailer", "text"])
def test_damaged_file_is_no_track(stored: tuple[FaceTrack, Path], geometry: Any, damage: str) -> None:
    path = stored[1]
    data = bytearray(path.read_bytes())
    if damage == "version":
        data[8] += 1
    elif damage == "trailer":
        data[-1000:] = bytes(1000)
    cut = {"empty": 0, "cut": len(data) // 2}.get(damage, len(data))
    path.write_bytes(b"<html>" if damage == "text" else data[:cut])
    assert load_track(path, geometry) is None


def test_no_file_is_no_track(tmp_path: Path, geometry: Any) -> None:
    assert load_track(tmp_path / "nothing", geometry) is None


def test_failure_leaves_nothing_behind(model: Any, avatar: list[Frame], tmp_path: Path) -> None:
    def broken() -> Iterator[Frame]:
        yield from itertools.islice(avatar, 3)
        raise DhError("input.corrupt", "damaged")

    with pytest.raises(DhError, match="damaged"):
        analyse(
            broken(), FrameFormat(400, 300, Fraction(25)), model, "largest", lambda: None, store_path=tmp_path / "t"
        )
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_named(model: Any, avatar: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DhError, match="No space left") as caught:
        analyse(avatar[:2], FrameFormat(400, 300, Fraction(25)), model, "left", lambda: None, store_path=tmp_path / "t")
    assert caught.value.code == "env.disk_full"
    assert list(tmp_path.iterdir()) == []


def test_nameless_track_leaves_no_file(
    follow: Any, avatar: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert follow(avatar[:3]).row(2) is not None
    assert list(tmp_path.iterdir()) == []


def test_caller_hears_of_every_frame(model: Any, avatar: list[Frame]) -> None:
    calls: list[None] = []
    fmt = FrameFormat(400, 300, Fraction(25))
    analyse(avatar[:5], fmt, model, "largest", lambda: calls.append(None)).close()
    assert len(calls) == 5
