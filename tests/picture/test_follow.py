"""Correlation and lag of a mouth that follows, comes late, says something else, or does not move."""

from __future__ import annotations

import numpy as np
import pytest

from dhcli.picture.follow import follow, spread
from dhcli.types import F64

FPS = 25.0
FRAMES = 250
AT = np.arange(FRAMES) / FPS


def speech(seed: int = 1) -> F64:
    """An opening that changes as in speech, some times a second."""
    noise = np.random.default_rng(seed).normal(size=FRAMES)
    return np.asarray(0.15 + 0.1 * np.convolve(noise, np.hanning(7) / 2, "same"), np.float64)


@pytest.mark.parametrize("frames", [0, 2, 5])
def test_a_late_picture_has_a_positive_lag(frames: int) -> None:
    asked = speech()
    found = follow(AT[frames:], asked[: FRAMES - frames], AT, asked)
    assert found is not None
    assert found.lag_ms == pytest.approx(frames * 40, abs=10)
    assert found.correlation > 0.99


def test_an_early_picture_has_a_negative_one() -> None:
    asked = speech()
    found = follow(AT[:-5], asked[5:], AT, asked)
    assert found is not None
    assert found.lag_ms == pytest.approx(-200, abs=10)


def test_twelve_frames_tell_as_much() -> None:
    asked = speech()
    some = np.random.default_rng(3).choice(np.arange(20, 240), 12, replace=False)
    found = follow(AT[some], asked[some - 3], AT, asked)
    assert found is not None
    assert found.lag_ms == pytest.approx(120, abs=20)


def test_amplitude_does_not_matter_and_another_speech_does() -> None:
    asked = speech()
    half = follow(AT, asked / 2 + 0.1, AT, asked)
    other = follow(AT, speech(9)[::-1], AT, asked)
    assert half is not None
    assert other is not None
    assert half.correlation > 0.99
    assert other.correlation < 0.4
    assert other.lag_ms is None


def test_frames_that_ask_nothing_do_not_count() -> None:
    asked, shown = speech(), speech()
    asked[100:150], shown[100:150] = np.nan, 5.0
    found = follow(AT, shown, AT, asked)
    assert found is not None
    assert found.correlation > 0.99


def test_a_still_mouth_a_silent_speech_and_few_frames_tell_nothing() -> None:
    asked = speech()
    still = 0.1 + 0.005 * asked
    assert follow(AT, still, AT, asked) is None
    assert follow(AT, asked, AT, still) is None
    assert follow(AT[:5], asked[:5], AT, asked) is None
    assert follow(AT, asked, AT, np.full(FRAMES, np.nan)) is None


def test_a_range_leaves_out_what_is_seen_once() -> None:
    values = np.concatenate([np.linspace(0.1, 0.3, 99), [9.0, np.nan]])
    assert spread(values) == pytest.approx(0.18, abs=0.01)
    assert spread(np.array([np.nan])) is None
    assert spread(np.linspace(0, 1, 7)) is None, "too few frames tell no range"
