"""What the face network is asked: the coarse move by the points alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dhcli.families.dh_base.question import Question, coarse_flow, moved
from dhcli.types import F64


@pytest.fixture
def points() -> F64:
    return np.random.default_rng(3).normal((80, 95), (18, 9), (106, 2))


def test_the_coarse_flow_is_the_mean_shift_weighted_by_distance(points: F64) -> None:
    """Cell by cell, as the formula says it."""
    start = points + np.random.default_rng(4).normal(0, 3, points.shape)
    flow = coarse_flow(start, points)
    for row, column in ((0, 0), (10, 9), (12, 11), (13, 6), (19, 19)):
        middle = np.array([column * 8 + 4.0, row * 8 + 4.0])
        weights = [math.exp(-float(((middle - one) ** 2).sum()) / (2 * 7**2)) for one in points]
        shifts = (start - points) * np.array(weights)[:, None]
        assert flow[row, column] == pytest.approx(shifts.sum(0) / (sum(weights) + 0.15), abs=1e-4)


def test_points_come_where_they_are_wanted(points: F64) -> None:
    """A dot 4 px right of where its point shall be is there afterwards; far away nothing moves."""
    picture = np.random.default_rng(5).random((160, 160, 3)).astype(np.float32) * 40
    x, y = 84, 95
    picture[y, x] = 255
    there = np.asarray(moved(picture, coarse_flow(points + np.array([4, 0]), points)))
    assert np.hypot(*(np.array(np.unravel_index(there[..., 0].argmax(), (160, 160))) - (y, x - 4))) <= 1
    assert np.abs(there[:20, :20] - picture[:20, :20]).max() < 1


def test_a_place_may_be_asked_again_about_another_mouth(points: F64) -> None:
    random = np.random.default_rng(6)
    own, other = ((random.random((160, 160, 3)) * 255).astype(np.uint8) for _ in range(2))
    kept = Question(2)
    for low, target in ((own, points), (other, points + 2), (other, points + 5), (own, points)):
        kept.put(1, (low, points + 1), (low, points), target)
        fresh = Question(2)
        fresh.put(1, (low, points + 1), (low.copy(), points), target)
        for one, new in zip(kept.of(2).values(), fresh.of(2).values(), strict=True):
            assert np.array_equal(one[1], new[1])
    assert kept.of(2)["pictures"][1, :3].max() == pytest.approx(own.max() / 255)
