"""Time stamps to frame rates: exact where there is one, sensible where there is none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.media import rate

RATES = st.sampled_from(
    [Fraction(text) for text in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]
)
BASES = st.sampled_from([1000, 12800, 15360, 30000, 90000, 600, 1_000_000])


@given(RATES, BASES, st.integers(2, 400), st.integers(-5000, 5000))
def test_rounded_time_stamps_of_a_constant_rate_give_that_rate(
    fps: Fraction, base: int, count: int, start: int
) -> None:
    pts = np.array([round(start + at * base / fps) for at in range(count)])
    assert rate.constant_rate(pts, Fraction(1, base), [round(float(fps), 2)]) == fps


@given(RATES, BASES, st.integers(10, 300), st.data())
def test_a_missing_frame_is_no_constant_rate_but_the_same_grid(
    fps: Fraction, base: int, count: int, data: st.DataObject
) -> None:
    gone = data.draw(st.integers(1, count - 2))
    pts = np.array([round(at * base / fps) for at in range(count) if at != gone])
    claimed = [round(float(fps), 2)]
    assert rate.constant_rate(pts, Fraction(1, base), claimed) is None
    assert rate.variable_rate(pts, Fraction(1, base), claimed) == fps


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=200),
    st.fractions(Fraction(1), Fraction(120), max_denominator=1001),
)
def test_picks_ascend_and_begin_at_the_first_frame(steps: list[int], fps: Fraction) -> None:
    pts = np.concatenate([[0], np.cumsum(steps)])
    count = rate.frames_at(Fraction(int(pts[-1]) + 40, 1000), fps)
    picks = rate.picks(pts, Fraction(1, 1000), fps, count)
    assert len(picks) == count
    assert picks[0] == 0 or pts[picks[0]] * fps * 2 <= 1000
    assert (np.diff(picks) >= 0).all()
    assert picks[-1] < len(pts)


def test_picks_at_half_and_double_the_rate() -> None:
    pts = np.arange(6)
    assert rate.picks(pts, Fraction(1, 25), Fraction(50), 12).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert rate.picks(pts, Fraction(1, 25), Fraction(25), 6).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("steps", "fps"),
    [
        ([33, 34, 33, 500, 33, 33, 34], "30"),  # a pause in a phone's recording
        ([40] * 9 + [80] * 3, "25"),
        ([10, 90] * 20, "20"),
        ([1] * 50, "60"),  # nonsense
    ],
)
def test_rate_of_a_variable_stream(steps: list[int], fps: str) -> None:
    pts = np.concatenate([[0], np.cumsum(steps)])
    assert rate.variable_rate(pts, Fraction(1, 1000), []) == Fraction(fps)


def test_a_still_has_a_rate() -> None:
    assert rate.constant_rate(np.array([0]), Fraction(1, 1000), []) == 25
    assert rate.constant_rate(np.array([0]), Fraction(1, 1000), [90000.0, 24.0]) == 24
    assert rate.constant_rate(np.array([7, 7, 7]), Fraction(1, 1000), []) == 25
