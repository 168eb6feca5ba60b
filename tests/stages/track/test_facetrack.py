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

from dhcli.disk.scratch import Scratch, scratch_path
from dhcli.errors import DhError
from dhcli.render.analysis import analyse
from dhcli.render.track_file import FaceTrack
from dhcli.types import Frame, FrameFormat

FORMAT = FrameFormat(400, 300, Fraction(25))


@pytest.fixture
def scenes(follow: Any, avatar: list[Frame], portrait: Frame, paint: Any) -> FaceTrack:
    """70 frames, of which 20 to 39 are black, and a second person at the end."""
    track: FaceTrack = follow([paint(f) if 20 <= i < 40 else f for i, f in enumerate(avatar[:60])] + [portrait] * 10)
    return track


def test_rows_are_the_same_in_any_order(scenes: FaceTrack) -> None:
    forward = [scenes.row(index) for index in range(70)]
    assert [index for index, row in enumerate(forward) if row is None] == [*range(20, 40)]
    assert [row.person for row in forward if row is not None] == [0] * 40 + [1] * 10
    for index in [*range(69, -1, -1), 3, 68, 0]:  # ping-pong, and jumps over the blocks
        row, other = forward[index], scenes.row(index)
        assert (row is None) == (other is None)
        if row is not None and other is not None:
            assert np.array_equal(row.mouth, other.mouth)
            assert np.array_equal(row.code, other.code)


def test_what_is_known_of_the_whole_video(scenes: FaceTrack) -> None:
    assert scenes.frames == 70
    totals = scenes.totals
    assert (totals.most_faces, totals.cuts, totals.missing_ranges) == (1, (60,), ((20, 39),))
    assert 3 <= totals.searched <= 7, "at the start, at the cut, and now and then"
    assert len(scenes.persons) == 2


@pytest.mark.parametrize("index", [-1, 70])
def test_rows_beyond_the_video_do_not_exist(scenes: FaceTrack, index: int) -> None:
    with pytest.raises(IndexError, match="of 70"):
        scenes.row(index)


def test_failure_leaves_nothing_behind(model: Any, avatar: list[Frame], tmp_path: Path) -> None:
    def broken() -> Iterator[Frame]:
        yield from itertools.islice(avatar, 3)
        raise DhError("input.corrupt", "damaged")

    with pytest.raises(DhError, match="damaged"):
        analyse(broken(), FORMAT, model, "largest", lambda: None, scratch=Scratch(tmp_path / "x.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_named(model: Any, avatar: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DhError, match="No space left") as caught:
        analyse(avatar[:2], FORMAT, model, "left", lambda: None, scratch=Scratch(tmp_path / "x.mp4"))
    assert caught.value.code == "output.disk_full"
    assert "face track" in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
def test_the_file_lies_beside_the_output_and_has_no_name(
    avatar: list[Frame], model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "no").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no"))
    if not known:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        scratch_path(out / "x.mp4").write_text("of a killed run")
    with analyse(avatar[:3], FORMAT, model, "left", lambda: None, scratch=Scratch(out / "x.mp4")) as track:
        assert list(out.iterdir()) == []
        assert os.fstat(track._file.fd).st_dev == out.stat().st_dev
        assert track.row(2) is not None


def test_a_file_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *mode: int, **rest: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *mode, **rest)

    monkeypatch.setattr(os, "open", refuse)
    Scratch(tmp_path / "x.mp4").open("data").close()
    assert list(tmp_path.iterdir()) == []


def test_caller_hears_of_every_frame(model: Any, avatar: list[Frame], tmp_path: Path) -> None:
    calls: list[str] = []
    analyse(
        avatar[:5],
        FORMAT,
        model,
        "largest",
        lambda: calls.append("frame"),
        scratch=Scratch(tmp_path / "x.mp4"),
        alive=lambda: calls.append("alive"),
    ).close()
    assert calls == ["frame"] * 5 + ["alive"]
