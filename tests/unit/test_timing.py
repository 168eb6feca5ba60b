from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.timing import Loop, frame_count, snap_rate, source_index

RATES = st.sampled_from([Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60), Fraction(29, 2)])
LENGTHS = st.integers(1, 500)
INDICES = st.integers(0, 100_000)
LOOPS: list[Loop] = ["pingpong", "restart", "hold", "error"]


@given(index=INDICES, frames=LENGTHS, loop=st.sampled_from(LOOPS))
def test_source_index_is_a_frame_of_the_video(index: int, frames: int, loop: Loop) -> None:
    assert 0 <= source_index(index, frames, loop) < frames


@given(index=INDICES, frames=LENGTHS, loop=st.sampled_from(LOOPS))
def test_the_first_pass_is_the_video_itself(index: int, frames: int, loop: Loop) -> None:
    assert source_index(index % frames, frames, loop) == index % frames


@given(index=INDICES, frames=st.integers(2, 500))
def test_pingpong_steps_by_one_and_repeats_neither_end(index: int, frames: int) -> None:
    here, there, after = (source_index(index + step, frames, "pingpong") for step in range(3))
    assert abs(there - here) == abs(after - there) == 1
    if there in {0, frames - 1} and frames > 2:
        assert here == after
    assert source_index(index + 2 * (frames - 1), frames, "pingpong") == here


@given(index=INDICES, frames=LENGTHS)
def test_restart_is_periodic_and_hold_stays(index: int, frames: int) -> None:
    assert source_index(index + frames, frames, "restart") == source_index(index, frames, "restart")
    assert source_index(frames + index, frames, "hold") == frames - 1


def test_pingpong_of_four_frames() -> None:
    assert [source_index(i, 4, "pingpong") for i in range(8)] == [0, 1, 2, 3, 2, 1, 0, 1]


@given(duration=st.fractions(min_value=0, max_value=100_000, max_denominator=192_000), fps=RATES)
def test_frames_cover_the_sound_and_not_one_more(duration: Fraction, fps: Fraction) -> None:
    count = frame_count(duration, fps)
    assert count >= 1
    assert count / fps >= duration
    assert count == 1 or (count - 1) / fps < duration


@given(fps=RATES, count=st.integers(1, 10**6))
def test_a_whole_number_of_frames_stays_that_number(fps: Fraction, count: int) -> None:
    assert frame_count(count / fps, fps) == count


@pytest.mark.parametrize(
    ("decimal", "exact"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (24.0, Fraction(24)),
        (25.0, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (30.0, Fraction(30)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (14.5, Fraction(29, 2)),
        (12.5, Fraction(25, 2)),
    ],
)
def test_rounded_rates_mean_exact_ones(decimal: float, exact: Fraction) -> None:
    assert snap_rate(decimal) == exact
