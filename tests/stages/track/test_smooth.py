"""Gaps, smoothing and fades, on made-up observations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.stages.smooth import Settled, Smoother, kernel
from dhcli.stages.target import Observation


def settle(pattern: str, fps: float = 25.0) -> list[Settled]:
    """`x` is a frame with the face at its own index, `c` one with a covered mouth, `.` one without the face, `h` one
    without it where something hides it, `|` a cut before the next frame."""
    smoother, index, cut = Smoother(fps), 0, False
    rows: list[Settled] = []
    for letter in pattern:
        if letter == "|":
            cut = True
            continue
        points = np.full((478, 3), float(index)) if letter in "xc" else None
        person = -1 if points is None else 0
        rows += smoother.push(Observation(index, points, person, cut, covered=letter in "ch"))
        index, cut = index + 1, False
    return [*rows, *smoother.finish()]


def values(rows: list[Settled]) -> list[float | None]:
    return [None if row.points is None else round(float(row.points[0, 0]), 3) for row in rows]


def fades(rows: list[Settled]) -> list[float]:
    return [round(row.weight, 3) for row in rows]


@given(st.text("xc.h|", max_size=120), st.sampled_from([5.0, 12.5, 25.0, 30000 / 1001, 60.0]))
def test_every_frame_settles_once_in_order(pattern: str, fps: float) -> None:
    rows = settle(pattern, fps)
    letters = pattern.replace("|", "")
    assert [row.index for row in rows] == list(range(len(letters)))
    for row, letter in zip(rows, letters, strict=True):
        assert (row.points is None or row.covered) == (row.weight == 0)
        assert row.covered or not (row.points is not None and letter == "c")
        assert not (row.seen and letter in ".h")
        assert 0 <= row.weight <= 1


@given(st.text("x.", max_size=80), st.text("x.", max_size=80))
def test_shots_do_not_mix(before: str, after: str) -> None:
    rows = settle(f"{before}|{after}")
    alone = settle(before)
    # A cut at the end or the end of the video: for the shot before it is the same.
    assert values(rows)[: len(before)] == values(alone)
    assert fades(rows)[: len(before)] == fades(alone)


def test_steady_motion_lags_nowhere() -> None:
    rows = settle("x" * 30)
    assert values(rows) == list(range(30))
    assert fades(rows) == [1.0] * 30


def test_whole_clip_is_the_gaussian_with_turned_edges() -> None:
    way = np.random.default_rng(1).normal(0, 1, 30)
    padded = np.concatenate([2 * way[0] - way[4:0:-1], way, 2 * way[-1] - way[-2:-6:-1]])
    smoother = Smoother(25.0)
    rows: list[Settled] = []
    for index, at in enumerate(way):
        rows += smoother.push(Observation(index, np.full((478, 3), at), 0, cut=False))
    rows += smoother.finish()
    points = [row.points[0, 0] for row in rows if row.points is not None]
    assert points == pytest.approx(np.convolve(padded, kernel(1.0), "valid"))


def test_smoothing_has_the_same_time_constant_at_any_rate() -> None:
    assert len(kernel(1.0)) == 9
    assert len(kernel(2.4)) == 21
    assert kernel(0.04).tolist() == [1.0]
    assert kernel(2.4).sum() == pytest.approx(1)


def test_short_gap_is_bridged_by_a_straight_line() -> None:
    rows = settle("x" * 20 + "." * 10 + "x" * 20)
    assert values(rows)[5:45] == list(range(5, 45))
    assert [row.seen for row in rows] == [True] * 20 + [False] * 10 + [True] * 20
    assert fades(rows) == [1.0] * 50


def test_longer_gap_is_missing_and_fades() -> None:
    rows = settle("x" * 20 + "." * 11 + "x" * 20)
    assert [row.index for row in rows if row.points is None] == list(range(20, 31))
    assert fades(rows)[14:37] == [1.0, 1.0, 0.8, 0.6, 0.4, 0.2] + [0.0] * 11 + [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


def test_new_mouth_goes_out_before_it_is_covered_and_comes_back_after() -> None:
    rows = settle("x" * 20 + "ccc" + "x" * 20)
    assert fades(rows) == [1] * 13 + [0.8, 0.6, 0.4, 0.2] + [0] * 9 + [0.2, 0.4, 0.6, 0.8] + [1] * 13
    assert [row.index for row in rows if row.covered] == list(range(17, 26))
    assert all(row.seen for row in rows)


def test_mouth_is_covered_where_what_hides_the_face_passes() -> None:
    rows = settle("x" * 20 + "..h." + "x" * 20)
    assert values(rows)[5:39] == list(range(5, 39))
    assert [row.index for row in rows if row.covered] == list(range(19, 26))


def test_cover_in_another_shot_is_another_mouths() -> None:
    assert fades(settle("x" * 10 + "|" + "c" * 3 + "x" * 10))[:10] == [1.0] * 10


def test_gap_before_a_cut_and_at_the_end_is_not_bridged() -> None:
    rows = settle("x" * 10 + "..|" + "x" * 10 + "..")
    assert [row.index for row in rows if row.points is None] == [10, 11, 22, 23]
    assert fades(rows)[:12] == fades(rows)[12:] == [1.0] * 6 + [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]


def test_cut_itself_does_not_fade() -> None:
    assert fades(settle("x" * 8 + "|" + "x" * 8)) == [1.0] * 16


def test_face_for_a_moment_is_a_mistake() -> None:
    assert values(settle("." * 12 + "xxxx" + "." * 12)) == [None] * 28
    assert sum(v is not None for v in values(settle("." * 12 + "xxxxx" + "." * 12))) == 5


def test_frames_settle_while_the_video_goes_on() -> None:
    smoother, pending = Smoother(25.0), 0
    for index in range(100):
        points = None if index % 30 in {10, 11, 12} else np.zeros((478, 3))
        pending += 1 - len(list(smoother.push(Observation(index, points, 0, cut=False))))
        assert pending <= 15  # what is waiting is all that memory holds
