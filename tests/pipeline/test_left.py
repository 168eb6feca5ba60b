"""The options `leave` and `speak`: which frames stay as filmed, and that they do, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.jobs.options import JobOptions, parse_leave
from dhcli.render.left import Left, left_frames
from dhcli.results.result import JobResult
from dhcli.types import Frame

RATES = st.sampled_from([Fraction(1), Fraction(25), Fraction(30000, 1001), Fraction(60)])


@given(st.lists(st.integers(0, 6000), min_size=2, max_size=8, unique=True).map(sorted), st.integers(1, 150), RATES)
def test_a_frame_is_left_exactly_where_a_stretch_shows_it(borders: list[int], frames: int, fps: Fraction) -> None:
    pairs = list(zip(borders[::2], borders[1::2], strict=False))
    left = left_frames(JobOptions(leave=parse_leave(",".join(f"{a / 1000}-{b / 1000}" for a, b in pairs))), frames, fps)
    shown = [any(i * 1000 < b * fps and (i + 1) * 1000 > a * fps for a, b in pairs) for i in range(frames)]
    assert [left.weight(i) == 0 for i in range(frames)] == shown
    assert left.frames == sum(shown)
    apart = [after[0] - before[1] for before, after in zip(left.ranges, left.ranges[1:], strict=False)]
    assert all(step > 1 for step in apart)


@given(st.lists(st.integers(0, 6000), min_size=2, max_size=8, unique=True).map(sorted), st.integers(1, 150), RATES)
def test_outside_of_what_is_spoken_every_frame_is_left(borders: list[int], frames: int, fps: Fraction) -> None:
    text = ",".join(f"{a / 1000}-{b / 1000}" for a, b in zip(borders[::2], borders[1::2], strict=False))
    stretches = parse_leave(text)
    during = left_frames(JobOptions(leave=stretches), frames, fps)
    outside = left_frames(JobOptions(speak=stretches), frames, fps)
    both = left_frames(JobOptions(speak=stretches, leave=stretches), frames, fps)
    shown = [left_in(during, index) != left_in(outside, index) for index in range(frames)]
    assert all(shown), "each frame is in one of them"
    assert both.frames == frames


def left_in(left: Left, index: int) -> bool:
    return any(first <= index <= last for first, last in left.ranges)


@given(st.integers(0, 99), st.integers(0, 99), RATES)
def test_the_new_mouth_goes_and_comes_by_small_steps(a: int, b: int, fps: Fraction) -> None:
    left = left_frames(JobOptions(leave=parse_leave(f"{min(a, b)}-{max(a, b) + 1}")), 2000, fps)
    weights = [left.weight(i) for i in range(2000)]
    assert np.abs(np.diff(weights)).max() <= 1 / (left.fade + 1) + 1e-9


def test_nothing_is_left_without_the_option_or_beyond_the_end() -> None:
    for options in (JobOptions(), JobOptions(leave=parse_leave("2-3")), JobOptions(speak=parse_leave("0-"))):
        left = left_frames(options, 50, Fraction(25))
        assert (left.ranges, left.weight(0), left.weight(49)) == ((), 1.0, 1.0)


def test_left_frames_are_the_sources(
    render: Callable[..., JobResult],
    speech: Path,
    avatar: Path,
    ffmpeg: Callable[..., None],
    decoded: Callable[..., list[Frame]],
    tmp_path: Path,
) -> None:
    sound, video = tmp_path / "short.wav", tmp_path / "short.mkv"
    ffmpeg("-ss", 2, "-t", 0.6, "-i", speech, sound)
    ffmpeg("-i", avatar, "-frames:v", 15, "-c:v", "ffv1", video)
    result = render(sound, video, crf=0, preset="ultrafast", leave="-0.08, 0.32-0.4")
    assert result.status == "succeeded", result.error
    assert result.options["leave"] == "0-0.08, 0.32-0.4"
    assert (result.frames.left, result.frames.left_ranges) == (4, ((0, 1), (8, 9)))
    new, old = decoded(tmp_path / "out.mp4", 400, 300), decoded(video, 400, 300)
    same = [np.array_equal(a.data, b.data) for a, b in zip(new, old, strict=True)]
    assert all(same[i] for i in (0, 1, 8, 9))
    assert not any(same[i] for i in (4, 5, 12, 13)), "there the mouth moves; beside the others, hardly"


@pytest.mark.slow
def test_another_stretch_makes_the_output_stale(
    render: Callable[..., JobResult], speech: Path, avatar: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    sound = tmp_path / "short.wav"
    ffmpeg("-ss", 2, "-t", 0.3, "-i", speech, sound)
    first = render(sound, avatar, leave="0-0.1")
    assert render(sound, avatar, leave="0.0-0.10").started_at == first.started_at, "the same stretch"
    assert render(sound, avatar, leave="0-0.2").started_at > first.started_at
