"""What a speech asks of one person's mouth: codes at any time, in the person's own size, closed at b, p and m."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhcli.disk.scratch import Scratch
from dhcli.families.dh_base.conditions import (
    LEAD_S,
    OWN_SHARE,
    PRESSED,
    USUAL_OWN_SPREAD,
    WIDTH_GAIN,
    MouthAsked,
    MouthCodes,
    auto_gain,
    closures_in,
    conditions_of,
    opening_spread,
)
from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.geometry import CORNERS, LOWER_LIP, UPPER_LIP, Geometry
from dhcli.families.dh_base.listen import CODE_RATE, Heard, measure_loudness
from dhcli.families.family import Manner
from dhcli.types import F32, F64

MANNER = Manner(Fraction(25), Scratch(Path("unused")))
BILABIALS = ((0.37, 0.41), (4.00, 4.10), (4.52, 4.62), (4.79, 4.84), (4.94, 5.05), (5.75, 5.80), (6.74, 6.79))
"""When the speech has its m, m, m, b, p, p and m, s, as another recogniser found them with the help of the text."""


@pytest.fixture(scope="module")
def asked(dh_base: DhBase, samples: F32) -> MouthCodes:
    return dh_base.listen(lambda: iter([samples]), MANNER)


def gaps(asked: MouthCodes, geometry: Geometry, times: F64, gain: float | None = None) -> F64:
    """How much farther apart the lips are than at rest, for a person of spread 0.3, canonical units."""
    asked = dataclasses.replace(asked, gain=gain)
    wanted = [asked.at(Fraction(time)).code_for(0.3, geometry) for time in times]
    return np.array(wanted) @ geometry.gap_of_code


@given(st.integers(0, 500), st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(24)]))
@settings(max_examples=60)
def test_codes_are_read_at_the_frames_times(index: int, fps: Fraction) -> None:
    track = MouthCodes(np.arange(400, dtype=np.float32)[:, None].repeat(12, 1), silent=False)
    expected = min(float(index / fps * CODE_RATE), 399.0)
    assert track.at(index / fps).code == pytest.approx(np.full(12, expected))


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_a_silent_recording_keeps_the_mouth_closed(dh_base: DhBase, level: float) -> None:
    noise = np.random.default_rng(1).normal(0, level, 16_000).astype(np.float32)
    asked = dh_base.listen(lambda: iter([noise]), MANNER)
    assert asked.silent
    assert not any(asked.at(Fraction(i, 25)).code_for(0.3, dh_base.geometry).any() for i in range(25))


def test_a_number_scales_and_zero_keeps_the_mouth_still(asked: MouthCodes, dh_base: DhBase) -> None:
    times = np.arange(0, 7, 0.04)
    still = dataclasses.replace(asked, gain=0.0)
    assert not np.any([still.at(Fraction(time)).code_for(0.3, dh_base.geometry) for time in times])
    single, double = (gaps(asked, dh_base.geometry, times, gain) for gain in (1.0, 2.0))
    free = np.array([asked.at(Fraction(time)).closing == 0 for time in times])
    assert free.mean() > 0.7
    assert double[free] == pytest.approx(2 * single[free])


@pytest.mark.parametrize("own", [0.2, 0.3, 0.36])
def test_auto_opens_the_mouth_as_far_as_the_person_does(asked: MouthCodes, dh_base: DhBase, own: float) -> None:
    times = np.arange(0, 7, 0.02)
    opening = np.array([asked.at(Fraction(time)).code_for(own, dh_base.geometry) for time in times])
    assert opening_spread(opening @ dh_base.geometry.gap_of_code) == pytest.approx(OWN_SHARE * own, rel=0.06)


def test_auto_widens_the_mouth_and_leaves_its_opening(asked: MouthCodes, dh_base: DhBase) -> None:
    width_of_code = dh_base.geometry.width_of_code
    assert abs(dh_base.geometry.mouth[list(CORNERS)] - [61, 291]).max() == 0, "the landmarks of the mouth's corners"
    for time in np.arange(0, 7, 0.5):
        free = dataclasses.replace(asked.at(Fraction(time)), closing=0.0)
        auto = free.code_for(0.3, dh_base.geometry)
        gain = auto_gain(0.3, asked.spread)
        plain = dataclasses.replace(free, gain=gain).code_for(0.3, dh_base.geometry)
        assert auto @ dh_base.geometry.gap_of_code == pytest.approx(plain @ dh_base.geometry.gap_of_code)
        assert auto @ width_of_code == pytest.approx(WIDTH_GAIN * plain @ width_of_code)


@pytest.mark.parametrize("unknown", [0.0, 0.05, float("nan")])
def test_who_does_not_speak_in_the_video_gets_a_usual_size(unknown: float) -> None:
    assert auto_gain(unknown, 0.19) == pytest.approx(OWN_SHARE * USUAL_OWN_SPREAD / 0.19)


def test_auto_stays_in_bounds() -> None:
    gains = [auto_gain(own, speech) for own in (0.09, 0.2, 0.5, 5.0) for speech in (0.0, 0.2, 9.0)]
    assert (min(gains), max(gains)) == (0.6, 2.0)


@pytest.mark.parametrize("fps", [24, 25, 30, 50])
def test_lips_touch_at_b_p_and_m(asked: MouthCodes, dh_base: DhBase, fps: int) -> None:
    times = np.arange(0, 7, 1 / fps)
    gap = gaps(asked, dh_base.geometry, times)
    for begin, end in BILABIALS:
        assert gap[(times > begin - 0.03) & (times < end + 0.03)].min() <= 0
    near = np.any([(times > begin - 0.15) & (times < end + 0.15) for begin, end in BILABIALS], 0)
    alone = gaps(dataclasses.replace(asked, closures=()), dh_base.geometry, times)
    assert np.array_equal(gap[~near], alone[~near]), "nothing else is changed"
    assert np.array([alone[(times > b - 0.03) & (times < e + 0.03)].min() > 0.005 for b, e in BILABIALS]).all()


def test_closing_is_smooth(asked: MouthCodes) -> None:
    closing = np.array([asked.at(Fraction(i, 1000)).closing for i in range(7000)])
    assert (closing.min(), closing.max()) == (0, 1)
    assert np.abs(np.diff(closing)).max() < 0.03, "some 60 ms from open to closed"


def test_pressed_lips_close_along_the_whole_line(dh_base: DhBase, golden: dict[str, F64]) -> None:
    geometry = dh_base.geometry
    for code in golden["source_codes"][::10]:
        closed = np.tensordot(geometry.pressed(code, PRESSED, 1.0), geometry.basis, 1)
        apart = [closed[LOWER_LIP + i, 1] - closed[UPPER_LIP - i, 1] for i in range(-4, 5)]
        assert max(apart) < 0.01
        assert apart[4] <= -PRESSED + 1e-9
        assert geometry.pressed(code, PRESSED, 0.0) == pytest.approx(code)


def test_each_phone_with_closed_lips_counts_once() -> None:
    phones = np.zeros((100, 2), np.float32)
    phones[[0, 20, 21, 60, 80, 99], 0] = 0.8, 0.3, 0.6, 0.2, 1.0, 0.7
    times = [0, (20 * 0.3 + 21 * 0.6) / 0.9 / 50, 1.6, 1.98]
    assert closures_in(phones) == pytest.approx([time - LEAD_S for time in times])
    assert closures_in(phones[:0]) == ()
    assert closures_in(None) == ()


def test_a_bundle_without_phones_speaks_as_before(dh_base: DhBase, samples: F32, hear: Callable[[F32], Heard]) -> None:
    heard = dataclasses.replace(hear(samples), phones=None)
    asked = conditions_of(
        heard, measure_loudness(iter([samples])), dh_base.geometry, dataclasses.replace(MANNER, gain=1.0)
    )
    code = asked.at(Fraction(4))
    assert (asked.noise_db, code.closing) == (None, 0.0)
    assert np.array_equal(code.code_for(0.3, dh_base.geometry), heard.codes[100])


def test_with_a_tiny_gain_lips_hardly_close(dh_base: DhBase) -> None:
    for gain, share in ((0.0, 0.0), (0.05, 0.2), (0.6, 1.0)):
        asked = MouthAsked(np.zeros(12), gain, closing=1.0, speech_spread=0.19)
        gap = asked.code_for(0.3, dh_base.geometry) @ dh_base.geometry.gap_of_code
        assert gap == pytest.approx(-share * PRESSED)
