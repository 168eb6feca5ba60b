"""The mouth rests where nobody speaks, noise or not, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.listen import CODE_RATE, SAMPLE_RATE, SAMPLES, SPEECH_RMS, Heard, measure_loudness
from dhcli.families.dh_base.pauses import PAUSE, find_pauses, gate
from dhcli.types import F32, F64

Hear = Callable[[F32], Heard]

PAUSE_S = 3


def pink(count: int) -> F64:
    rates = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    random = np.random.default_rng(0)
    waves = random.normal(size=len(rates)) + 1j * random.normal(size=len(rates))
    return np.array(np.fft.irfft(np.where(rates < 20, 0, waves / np.sqrt(np.maximum(rates, 20))), count), np.float64)


def hum(count: int) -> F64:
    """A mains hum."""
    at = np.arange(count) / SAMPLE_RATE
    return np.asarray(sum(np.sin(2 * np.pi * 50 * k * at + k) / k for k in (1, 2, 3, 5, 7)))


def street(count: int) -> F64:
    """Noise that swells and fades by 7 dB, twice a second."""
    at = np.arange(0, count + SAMPLE_RATE // 2, SAMPLE_RATE // 2)
    swell = np.exp(0.8 * np.random.default_rng(1).normal(size=len(at)).clip(-1, 1))
    return pink(count) * np.interp(np.arange(count), at, swell)


def with_pause(samples: F32, noise: Callable[[int], F64] | None = None, level_db: float = 0.0) -> F32:
    """The speech, 3 s without, and the speech again; the noise runs through it all, `level_db` beside the speech."""
    mix = np.concatenate([samples, np.zeros(PAUSE_S * SAMPLE_RATE, np.float32), samples])
    if noise is None:
        return mix
    wave = noise(len(mix))
    loudness = measure_loudness(iter([samples])).active_rms
    return np.asarray(mix + wave / wave.std() * loudness * 10 ** (level_db / 20), np.float32)


def openings(heard: Heard, dh_base: DhBase) -> F64:
    """How far each code opens the mouth or presses it shut, canonical units."""
    codes = heard.codes * find_pauses(heard).speaking[:, None]
    return np.abs(codes @ dh_base.geometry.gap_of_code)


def test_speech_is_left_as_it_is(hear: Hear, samples: F32) -> None:
    assert (find_pauses(hear(samples)).speaking == 1).all()


@pytest.mark.parametrize(("noise", "level_db"), [(None, 0), (pink, -20), (pink, -30), (hum, -20), (street, -20)])
def test_the_mouth_rests_in_a_noisy_pause(
    hear: Hear, dh_base: DhBase, samples: F32, noise: Callable[[int], F64] | None, level_db: float
) -> None:
    heard = hear(with_pause(samples, noise, level_db))
    opening, speech = openings(heard, dh_base), len(samples) // SAMPLES
    clean = openings(hear(with_pause(samples)), dh_base)
    paused = slice(speech + CODE_RATE // 2, speech + (PAUSE_S - 1) * CODE_RATE)
    assert opening[paused].mean() < 0.05 * clean[:speech].mean()
    assert np.abs(heard.codes[paused] @ dh_base.geometry.gap_of_code).max() > 0.01, "not closed by itself"
    assert np.corrcoef(opening[:speech], clean[:speech])[0, 1] > 0.9
    found = find_pauses(heard)
    assert (found.speaking[: speech - 2] == 1).all()
    assert found.noise_db is not None
    assert found.noise_db == pytest.approx(level_db, abs=4) if noise else found.noise_db < -40


@pytest.mark.parametrize("quieter_db", [15, 20])
def test_a_quiet_voice_speaks(hear: Hear, samples: F32, quieter_db: float) -> None:
    quiet = samples * np.float32(10 ** (-quieter_db / 20))
    white = np.random.default_rng(0).normal(size=2 * len(samples))
    noise = 0.01 * measure_loudness(iter([samples])).active_rms * white
    heard = hear((np.concatenate([samples, quiet]) + noise).astype(np.float32))
    assert find_pauses(heard).speaking[len(samples) // SAMPLES :].mean() > 0.97


def test_a_held_vowel_is_speech(hear: Hear, samples: F32) -> None:
    """The network names a phone once."""
    period = samples[int(0.80 * SAMPLE_RATE) : int(0.90 * SAMPLE_RATE)]
    there_and_back = np.concatenate([period, period[::-1]])
    held = np.tile(there_and_back, 10)
    at = int(0.80 * SAMPLE_RATE)
    heard = hear(np.concatenate([samples[:at], held, samples[at:]]))
    inside = slice(at // SAMPLES + 12, (at + len(held)) // SAMPLES - 12)
    assert heard.phones is not None
    assert heard.phones[2 * inside.start : 2 * inside.stop, 1].max() < 0.3
    assert (find_pauses(heard).speaking[inside] == 1).all()


def test_where_no_phones_are_told_only_silence_is_a_pause(hear: Hear, samples: F32) -> None:
    silent, noisy = (hear(with_pause(samples, noise, -30)) for noise in (None, pink))
    speech = len(samples) // SAMPLES
    middle = slice(speech + CODE_RATE, speech + 2 * CODE_RATE)
    for unclear, noise_db in ((None, None), (np.zeros((2 * len(silent.codes), 2), np.float32), 0)):
        found = [find_pauses(dataclasses.replace(heard, phones=unclear)) for heard in (silent, noisy)]
        assert [one.speaking[middle].mean() for one in found] == [0, 1]
        assert [one.noise_db for one in found] == [noise_db, noise_db]


def test_noise_alone_is_told_and_a_short_sound_is_not(hear: Hear) -> None:
    noise = (pink(2 * SAMPLE_RATE) / 50).astype(np.float32)
    assert [find_pauses(hear(part)).noise_db for part in (noise, noise[: SAMPLE_RATE // 2])] == [0, None]


def test_short_stops_are_speech() -> None:
    quiet = np.zeros(40, bool)
    quiet[10 : 10 + PAUSE - 1] = True
    assert (gate(quiet) == 1).all()
    quiet[10 : 10 + PAUSE] = True
    assert gate(quiet)[10 : 10 + PAUSE] == pytest.approx([3 / 4, 2 / 4, 1 / 4, 0, 1 / 3, 2 / 3])
    quiet[10:30] = True
    assert (gate(quiet)[15:26] == 0).all()


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_the_mouth_follows_wherever_it_is_not_quiet(values: list[bool]) -> None:
    follows = gate(np.array(values))
    assert ((follows >= 0) & (follows <= 1)).all()
    assert (follows[~np.array(values)] == 1).all()


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=80))
def test_sound_near_a_phone_is_speech(values: list[tuple[float, float]]) -> None:
    levels = np.array([level * SPEECH_RMS for level, _ in values], np.float32)
    phones = np.repeat([[0, phone] for _, phone in values], 2, axis=0).astype(np.float32)
    found = find_pauses(Heard(np.ones((len(levels), 12), np.float32), levels, phones))
    assert (found.speaking[(phones[::2, 1] > 0) & (levels > 0)] == 1).all()
