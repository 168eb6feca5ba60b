"""After a hard cut the chosen person is found in the first frame, wherever they are in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dhcli.types import Frame

CUT = 8
"""First frame of the second shot."""


def turned_up(track: Any) -> tuple[int, tuple[int, ...]]:
    """The x of the face in the first frame of the second shot, and the cuts."""
    assert track.totals.missing_ranges == ()
    assert all(track.row(i).person == 0 and track.row(i).weight == 1 for i in range(track.frames))
    return round(track.row(CUT).points[:, 0].mean()), track.totals.cuts


@pytest.mark.parametrize("face", ["left", "largest"])
def test_two_people_change_places(
    follow: Any, avatar: list[Frame], portrait: Frame, beside: Callable[[Frame, Frame], Frame], face: str
) -> None:
    frames = [beside(frame, portrait) for frame in avatar[:CUT]]
    frames += [beside(portrait, frame) for frame in avatar[CUT : 2 * CUT]]
    x, cuts = turned_up(follow(frames, face))
    assert x == pytest.approx(610, abs=15)
    assert cuts == (CUT,)


def test_the_chosen_one_is_preferred_to_who_is_in_his_place(
    follow: Any, avatar: list[Frame], portrait: Frame, beside: Callable[[Frame, Frame], Frame]
) -> None:
    dark = Frame(0, portrait.data // 2 + np.uint8(64))
    frames = [beside(frame, Frame(0, np.full_like(frame.data, 128))) for frame in avatar[:CUT]]
    frames += [beside(dark, frame) for frame in avatar[CUT : 2 * CUT]]
    x, cuts = turned_up(follow(frames, "left"))
    assert x == pytest.approx(610, abs=15)
    assert cuts == (CUT,)


def test_a_cut_within_a_room_where_little_changes(
    follow: Any, avatar: list[Frame], shrink: Callable[[Frame, int], Frame]
) -> None:
    frames = [shrink(frame, 3) for frame in avatar[: 2 * CUT]]
    for frame in frames[CUT:]:
        for name in "yuv":
            plane = getattr(frame, name)
            plane[:] = np.roll(plane, (plane.shape[0] // 2, plane.shape[1] * 5 // 8), (0, 1))
    x, cuts = turned_up(follow(frames))
    assert x == pytest.approx(320, abs=8)
    assert cuts == (CUT,)


def test_a_cut_to_another_size_does_not_mix_the_two(
    follow: Any, avatar: list[Frame], shrink: Callable[[Frame, int], Frame]
) -> None:
    frames = [shrink(frame, 2) for frame in avatar[:CUT]] + avatar[CUT : 2 * CUT]
    track = follow(frames)
    _, cuts = turned_up(track)
    assert cuts == (CUT,)
    assert track.row(CUT).pose.scale == pytest.approx(track.row(CUT + 5).pose.scale, rel=0.05)
