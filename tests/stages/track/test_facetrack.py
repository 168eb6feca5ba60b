"""The file that holds a face track."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.disk.scratch import Scratch, scratch_path
from dhcli.errors import DhError
from dhcli.render.analysis import analyse
from dhcli.render.face_finder import FaceFinder
from dhcli.render.track_file import FaceTrack
from dhcli.render.track_record import RECORD, packed_row, unpacked_row
from dhcli.stages.mesh import landmark_box, posed
from dhcli.types import FaceRow, Frame, FrameFormat, Pose

FORMAT = FrameFormat(400, 300, Fraction(25))


@pytest.fixture
def scenes(follow: Any, avatar: list[Frame], portrait: Frame, paint: Any) -> FaceTrack:
    """70 frames, of which 20 to 39 are black, and a second person at the end."""
    track: FaceTrack = follow(
        [paint(f) if 20 <= i < 40 else f for i, f in enumerate(avatar[:60])] + [portrait] * 10, "any"
    )
    return track


@pytest.mark.slow
def test_rows_are_the_same_in_any_order(scenes: FaceTrack) -> None:
    forward = [scenes.row(index) for index in range(70)]
    assert [index for index, row in enumerate(forward) if row is None] == [*range(20, 40)]
    assert [row.person for row in forward if row is not None] == [0] * 40 + [1] * 10
    for index in [*range(69, -1, -1), 3, 68, 0]:  # ping-pong, and jumps over the blocks
        row, other = forward[index], scenes.row(index)
        assert (row is None) == (other is None)
        if row is not None and other is not None:
            assert np.array_equal(row.points, other.points)
            assert np.array_equal(row.pose.rotation, other.pose.rotation)


def test_what_is_known_of_the_whole_video(scenes: FaceTrack) -> None:
    assert scenes.frames == 70
    totals = scenes.totals
    assert (totals.most_faces, totals.cuts, totals.missing_ranges) == (1, (60,), ((20, 39),))
    assert 3 <= totals.searched <= 7, "at the start, at the cut, and now and then"
    assert totals.persons == 2


@pytest.mark.slow
@pytest.mark.parametrize("index", [-1, 70])
def test_rows_beyond_the_video_do_not_exist(scenes: FaceTrack, index: int) -> None:
    with pytest.raises(IndexError, match="of 70"):
        scenes.row(index)


def test_failure_leaves_nothing_behind(finder: FaceFinder, avatar: list[Frame], tmp_path: Path) -> None:
    def broken() -> Iterator[Frame]:
        yield from itertools.islice(avatar, 3)
        raise DhError("input.corrupt", "damaged")

    with pytest.raises(DhError, match="damaged"):
        analyse(broken(), FORMAT, finder, "largest", lambda: None, scratch=Scratch(tmp_path / "x.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_named(
    finder: FaceFinder, avatar: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DhError, match="No space left") as caught:
        analyse(avatar[:2], FORMAT, finder, "left", lambda: None, scratch=Scratch(tmp_path / "x.mp4"))
    assert caught.value.code == "output.disk_full"
    assert "face track" in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
def test_the_file_lies_beside_the_output_and_has_no_name(
    avatar: list[Frame], finder: FaceFinder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "no").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no"))
    if not known:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        scratch_path(out / "x.mp4").write_text("of a killed run")
    with analyse(avatar[:3], FORMAT, finder, "left", lambda: None, scratch=Scratch(out / "x.mp4")) as track:
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


def test_caller_hears_of_every_frame(finder: FaceFinder, avatar: list[Frame], tmp_path: Path) -> None:
    calls: list[None] = []
    scratch = Scratch(tmp_path / "x.mp4")
    analyse(avatar[:5], FORMAT, finder, "largest", lambda: calls.append(None), scratch=scratch).close()
    assert len(calls) == 5


@given(
    seed=st.integers(0, 1 << 32),
    size=st.floats(20, 4000),
    angles=st.tuples(*[st.floats(-1.2, 1.2)] * 3),
    person=st.integers(0, 63),
    weight=st.floats(0, 1),
    found=st.sampled_from([(True, True), (True, False), (False, False)]),
)
def test_a_record_keeps_a_face(
    finder: FaceFinder,
    seed: int,
    size: float,
    angles: tuple[float, float, float],
    person: int,
    weight: float,
    found: tuple[bool, bool],
) -> None:
    """In 2.5 kB at most. Faces differ from the canonical one by up to a third of the distance between the eyes."""
    mesh, random = finder.mesh, np.random.default_rng(seed)
    pose = Pose(size / 10, cv2.Rodrigues(np.array(angles))[0].astype(np.float64), random.uniform(-size, 2 * size, 3))
    points = posed(mesh.canonical + random.uniform(-0.3, 0.3, mesh.canonical.shape), pose)
    row = FaceRow(7, person, weight, pose, landmark_box(points), points, *found)
    record = packed_row(row, mesh)
    kept = unpacked_row(7, record[0], mesh)
    assert RECORD.itemsize <= 2500
    assert (kept.index, kept.person, kept.seen, kept.looked) == (7, person, *found)
    assert kept.weight == pytest.approx(weight, abs=1e-6)
    assert np.abs(kept.points[:, :2] - points[:, :2]).max() <= size / 30_000
    assert np.abs(kept.points[:, 2] - points[:, 2]).max() <= size / 1000
    assert kept.pose.scale == pytest.approx(pose.scale)
    assert np.allclose(kept.pose.rotation, pose.rotation, atol=1e-6)
    assert np.allclose(kept.pose.translation, pose.translation, rtol=1e-6)
    assert kept.box.centre == pytest.approx(row.box.centre, rel=1e-6, abs=1e-6 * size)
