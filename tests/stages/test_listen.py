"""Speech to mouth codes: the reference's values, windows, silence, and codes between the codes."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.listen import (
    CODE_RATE,
    HOP,
    PAUSE,
    SAMPLE_RATE,
    SAMPLES,
    SPEECH_RMS,
    WINDOW,
    Loudness,
    MouthCodes,
    listen,
    measure_loudness,
    rest_in_silence,
    speaking,
)
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import Device
from dhcli.types import F32, F64


@pytest.fixture(scope="module")
def samples(speech: Path) -> F32:
    with wave.open(str(speech)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768)


def chunks(samples: F32, size: int = 50_001) -> Iterator[F32]:
    """Blocks whose size is no multiple of anything."""
    return (samples[i : i + size] for i in range(0, len(samples), size))


def heard(dh_base: DhBase, samples: F32) -> tuple[F32, F32, Loudness]:
    loudness = measure_loudness(chunks(samples))
    return *listen(chunks(samples), loudness, dh_base._hear), loudness


def test_codes_are_the_references(dh_base: DhBase, samples: F32, golden: dict[str, F64]) -> None:
    codes, _, _ = heard(dh_base, samples)
    assert codes.shape == golden["codes"].shape
    assert np.abs(codes - golden["codes"]).max() < 0.02


@pytest.mark.slow
def test_the_codes_do_not_depend_on_threads(dh_base: DhBase, samples: F32) -> None:
    """In speech of 20 s two threads round otherwise than one, and a third way where another program has their core."""
    speech = np.resize(samples, 20 * 16_000 + 123)
    told, _, _ = heard(dh_base, speech)
    for threads in (1, 3, 4):
        codes, _, _ = heard(DhBase(Model(load_bundle("dh-base"), Device("cpu"), threads)), speech)
        np.testing.assert_array_equal(codes, told)


def test_speech_is_left_as_it_is(dh_base: DhBase, samples: F32) -> None:
    codes, levels, loudness = heard(dh_base, samples)
    assert np.array_equal(rest_in_silence(codes, levels, loudness), codes)


@pytest.mark.parametrize("count", [1, WINDOW - 1, WINDOW, WINDOW + 1, HOP + WINDOW, HOP + WINDOW + 1, 3 * HOP + 7])
def test_every_40_ms_get_one_code_and_every_window_at_most_20_s(count: int) -> None:
    lengths: list[int] = []

    def constant(samples: F32) -> F32:
        lengths.append(len(samples))
        return np.full((len(samples) // SAMPLES, 12), 3.0, np.float32)

    sound = np.ones((count - 1) * SAMPLES + 1, np.float32)
    codes, levels = listen(chunks(sound), measure_loudness(chunks(sound)), constant)
    assert codes.shape == (count, 12)
    assert levels.shape == (count,)
    assert np.allclose(codes, 3.0, atol=1e-5), "cross-fades of equal windows add up to the same"
    assert max(lengths) <= (WINDOW + 2) * SAMPLES


def test_neighbouring_windows_fade_into_each_other() -> None:
    calls: list[int] = []

    def numbered(samples: F32) -> F32:
        calls.append(len(calls))
        return np.full((len(samples) // SAMPLES, 12), float(calls[-1]), np.float32)

    sound = np.ones((HOP + WINDOW) * SAMPLES, np.float32)
    codes, _ = listen(chunks(sound), measure_loudness(chunks(sound)), numbered)
    assert codes[: HOP - 5].max() == 0
    assert codes[WINDOW + 5 :].min() == 1
    assert np.abs(np.diff(codes[:, 0])).max() < 1.5 / (WINDOW - HOP), "no jump at a window's border"


def test_chunk_size_does_not_matter(samples: F32) -> None:
    assert measure_loudness(chunks(samples, 999)) == measure_loudness(chunks(samples, 100_000))


def test_loudness_is_the_references(samples: F32) -> None:
    level = np.abs(samples)
    active = samples[level > 0.1 * np.quantile(level, 0.99)]
    assert measure_loudness(chunks(samples)).active_rms == pytest.approx(np.sqrt((active**2).mean()), rel=0.01)


def test_the_mouth_rests_in_a_pause_and_not_before_it(dh_base: DhBase, samples: F32) -> None:
    pause = np.zeros(3 * SAMPLE_RATE, np.float32)
    codes, levels, loudness = heard(dh_base, np.concatenate([samples, pause, samples]))
    rested = rest_in_silence(codes, levels, loudness)
    first, last = len(samples) // SAMPLES + 5, (len(samples) + len(pause)) // SAMPLES - 5
    assert np.abs(codes[first:last]).max() > 1, "the network alone would not close the mouth"
    assert np.abs(rested[first:last]).max() == 0
    assert np.array_equal(rested[: first - 6], codes[: first - 6])


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_a_silent_recording_keeps_the_mouth_closed(dh_base: DhBase, level: float) -> None:
    noise = np.random.default_rng(1).normal(0, level, SAMPLE_RATE).astype(np.float32)
    codes, levels, loudness = heard(dh_base, noise)
    assert loudness.silent
    assert not rest_in_silence(codes, levels, loudness).any()


def test_short_stops_are_speech() -> None:
    levels = np.full(40, SPEECH_RMS, np.float32)
    levels[10 : 10 + PAUSE - 1] = 0
    assert (speaking(levels) == 1).all()
    levels[10 : 10 + PAUSE] = 0
    assert speaking(levels)[10 : 10 + PAUSE] == pytest.approx([3 / 4, 2 / 4, 1 / 4, 0, 1 / 3, 2 / 3])
    levels[10:30] = 0
    assert (speaking(levels)[15:26] == 0).all()


@given(st.lists(st.sampled_from([0.0, SPEECH_RMS]), min_size=1, max_size=80))
def test_speaking_is_one_wherever_there_is_sound(values: list[float]) -> None:
    gate = speaking(np.array(values, np.float32))
    assert ((gate >= 0) & (gate <= 1)).all()
    assert (gate[np.array(values) > 0] == 1).all()


@given(st.integers(0, 500), st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(24)]))
@settings(max_examples=60)
def test_codes_are_read_at_the_frames_times(index: int, fps: Fraction) -> None:
    track = MouthCodes(np.arange(400, dtype=np.float32)[:, None].repeat(12, 1), silent=False)
    expected = min(float(index / fps * CODE_RATE), 399.0)
    assert track.at(index / fps, 0.5) == pytest.approx(np.full(12, 0.5 * expected))
