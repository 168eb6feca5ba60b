"""Which frames are looked at: a share of the render's time, where the mouth moves, and only those with a face."""

from __future__ import annotations

import numpy as np
import pytest

from dhcli.picture.follow import spread
from dhcli.picture.sample import (
    DECODED_PIXEL_NS,
    LEAST_LOOKS,
    LOOK_NS,
    MOST_LOOKS,
    MOST_SPANS,
    SPAN_NS,
    choose_frames,
    choose_spans,
)
from dhcli.types import F64

HD = 1280 * 720
SMALL = 400 * 300


def asked(frames: int) -> F64:
    return np.asarray(np.abs(np.sin(np.arange(frames) * 0.7)) * 0.3, np.float64)


@pytest.mark.parametrize("frames", [18, 178, 1500, 90_000])
def test_frames_of_a_small_video_are_few_scattered_and_have_the_range_of_all(frames: int) -> None:
    openings = asked(frames)
    looked = choose_frames(openings, SMALL)
    assert list(looked) == sorted(set(looked))
    assert LEAST_LOOKS <= len(looked) <= MOST_LOOKS
    assert spread(openings[list(looked)]) == pytest.approx(spread(openings), rel=0.2)
    assert looked[0] < frames / 4
    assert looked[-1] > frames * 3 / 4


def test_only_frames_with_a_face() -> None:
    openings = asked(100)
    openings[20:] = np.nan
    assert max(choose_frames(openings, SMALL)) < 20
    assert choose_frames(np.full(100, np.nan), SMALL) == ()
    assert [span.looked for span in choose_spans(np.full(100, np.nan), [0], HD, 0, 25.0)] == [()]


@pytest.mark.parametrize("frames", [250, 1500, 15_000])
@pytest.mark.parametrize("pixels", [960 * 540, HD, 3840 * 2160])
def test_stretches_begin_with_key_frames_and_cost_a_fortieth_of_the_render(frames: int, pixels: int) -> None:
    keys = list(range(0, frames, 250))
    spans = choose_spans(asked(frames), keys, pixels, 9000, 25.0)
    cost = sum(
        SPAN_NS + span.count * (DECODED_PIXEL_NS * pixels + 9000 * 130) + len(span.looked) * LOOK_NS for span in spans
    )
    least = SPAN_NS + LEAST_LOOKS * LOOK_NS + 25 * (DECODED_PIXEL_NS * pixels + 9000 * 130)
    assert cost <= max(0.03 * (0.4e9 + frames * (13e6 + 25 * pixels + 9000 * 400)), least)
    assert 1 <= len(spans) <= MOST_SPANS
    for span in spans:
        assert span.first in keys
        assert all(span.first <= index < span.first + span.count for index in span.looked)


def test_the_stretches_with_the_most_movement_are_taken() -> None:
    openings = asked(5000)
    openings[:2500] = 0.0
    spans = choose_spans(openings, list(range(0, 5000, 250)), HD, 0, 25.0)
    assert all(span.first >= 2500 for span in spans)


def test_a_single_stretch_goes_on_until_somebody_speaks() -> None:
    openings = asked(250)
    openings[:200] = 0.0
    (span,) = choose_spans(openings, [0], 3840 * 2160, 0, 25.0)
    assert max(span.looked) > 200
