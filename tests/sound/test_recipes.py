"""Recipes give the numbers of the libraries that other people's programs use, whatever chunks the sound comes in."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.golden_sound import kept

from dhcli.sound.recipes import RECIPES, SAMPLE_RATE, SEGMENT, Speech, whisper_segment
from dhcli.types import F32

SpeechOf = Callable[..., Speech]
TOLERANCES = {
    "wav2lip_mel": 0.001,
    "facefusion_mel": 0.001,
    "wenet_logmel": 0.001,
    "whisper_logmel": 0.0001,
    "kaldi_fbank": 0.005,
}
"""Of one number. torchaudio counts in float32 and is off by 0.003 near silence."""


@pytest.fixture(scope="module")
def golden_sound(repository: Path) -> dict[str, Any]:
    with np.load(repository / "tests/golden/sound.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def rows_of(name: str, speech: Speech, **silence: float) -> F32:
    return np.concatenate([np.zeros((0, RECIPES[name].width), np.float32), *RECIPES[name].rows(speech, **silence)])


@pytest.mark.parametrize(
    ("name", "sound"),
    [*((name, sound) for name in TOLERANCES for sound in ("speech", "sweep")), ("whisper_logmel", "long")],
)
def test_rows_are_those_of_the_libraries(
    name: str, sound: str, golden_sound: dict[str, Any], waveforms: dict[str, F32], chunked: SpeechOf
) -> None:
    rows = rows_of(name, chunked(waveforms[sound]))
    assert len(rows) == golden_sound[f"{name}/{sound}/count"]
    assert np.abs(rows[kept(len(rows))] - golden_sound[f"{name}/{sound}"]).max() < TOLERANCES[name]


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "whisper_logmel"])
@given(lengths=st.lists(st.integers(1, 9000), min_size=1, max_size=6), count=st.integers(1, 12_000))
@settings(max_examples=12)
def test_the_chunks_change_no_bit(
    name: str, waveforms: dict[str, F32], chunked: SpeechOf, lengths: list[int], count: int
) -> None:
    samples = waveforms["speech"][20_000 : 20_000 + count]
    whole, pieces = (rows_of(name, chunked(samples, sizes)) for sizes in ((count,), lengths))
    np.testing.assert_array_equal(pieces, whole)


def test_whispers_segments_do_not_depend_on_chunks(waveforms: dict[str, F32], chunked: SpeechOf) -> None:
    samples = waveforms["long"]
    whole, pieces = (
        rows_of("whisper_logmel", chunked(samples, sizes)) for sizes in ((len(samples),), (16_001, 70_000))
    )
    np.testing.assert_array_equal(pieces, whole)


def test_many_chunks_that_are_no_multiple_of_a_block_change_no_bit(
    waveforms: dict[str, F32], chunked: SpeechOf
) -> None:
    samples = np.tile(waveforms["speech"], 2)
    for name in ("wav2lip_mel", "kaldi_fbank"):
        whole, pieces = (rows_of(name, chunked(samples, sizes)) for sizes in ((len(samples),), (7001, 160_000, 3)))
        np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("count", [1, 2, 199, 200, 201, 399, 400, 401, 402, 799, 800, 801, 1024, 16_000])
def test_there_are_as_many_rows_as_the_libraries_make(count: int, chunked: SpeechOf) -> None:
    speech = chunked(np.random.default_rng(0).normal(size=count).astype(np.float32) / 9, (133,))
    counts = {name: len(rows_of(name, speech)) for name in RECIPES}
    assert counts == {
        "wav2lip_mel": 1 + count // 200,
        "facefusion_mel": 1 - -count // 200,
        "wenet_logmel": 1 + count // 160,
        "whisper_logmel": 3000,
        "kaldi_fbank": max(0, 1 + (count - 400) // 160),
        "samples": count,
    }


@pytest.mark.parametrize("name", RECIPES)
def test_silence_gives_the_recipes_silent_rows(name: str, chunked: SpeechOf) -> None:
    recipe = RECIPES[name]
    rows = rows_of(name, chunked(np.zeros(SAMPLE_RATE // 4, np.float32)))
    assert len(rows)
    assert np.abs(rows - recipe.silence).max() < 1e-5
    assert rows_of(name, chunked(np.zeros(0, np.float32))).shape == (0, recipe.width)


@pytest.mark.parametrize("name", RECIPES)
def test_silence_around_is_silence_in_the_waveform(name: str, waveforms: dict[str, F32], chunked: SpeechOf) -> None:
    sweep = waveforms["sweep"]
    around = np.concatenate([np.zeros(6400, np.float32), sweep, np.zeros(3200, np.float32)])
    np.testing.assert_array_equal(
        rows_of(name, chunked(sweep), before_s=0.4, after_s=0.2), rows_of(name, chunked(around))
    )


def test_whisper_levels_each_30_s_by_its_own_loudest(waveforms: dict[str, F32], chunked: SpeechOf) -> None:
    loud = np.tile(waveforms["speech"], 5)[:SEGMENT]
    both = np.concatenate([loud, loud[:SAMPLE_RATE] / 100])
    rows = rows_of("whisper_logmel", chunked(both))
    assert rows.shape == (6000, 80)
    np.testing.assert_array_equal(rows[:3000], whisper_segment(loud))
    np.testing.assert_array_equal(rows[3000:], whisper_segment(both[SEGMENT:]))
    assert rows[3000:].min() < rows[:3000].min() - 0.5


def test_facefusions_loudness_is_that_of_the_whole_speech(waveforms: dict[str, F32], chunked: SpeechOf) -> None:
    sweep = waveforms["sweep"]
    rows, quieter = (rows_of("facefusion_mel", chunked(sweep * np.float32(gain), (999,))) for gain in (1, 0.25))
    assert quieter == pytest.approx(rows, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wav2lip_mel", "facefusion_mel"])
def test_a_click_late_in_a_long_sound_is_in_its_own_row(name: str) -> None:
    """Beyond 409.6 and 819.2 s indices of 16 bits end."""
    seconds = (5, 415, 825)

    def clicks() -> Iterator[F32]:
        for at in range(0, 830, 5):
            chunk = np.zeros(5 * SAMPLE_RATE, np.float32)
            chunk[0] = at in seconds
            yield chunk

    loudest, at = [], 0
    for rows in RECIPES[name].rows(clicks):
        level = rows.max(1)
        loudest += [at + int(i) for i in np.flatnonzero(level > level.min() + 1) if level[i] == level.max()]
        at += len(rows)
    assert RECIPES[name].rate == Fraction(80)
    assert loudest == [80 * second for second in seconds]
    assert at == 830 * 80 + 1


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        *((name, 14) for name in RECIPES if name != "whisper_logmel"),
        pytest.param("whisper_logmel", 60, marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_sound(name: str, seconds: int) -> None:
    chunk = np.zeros(SAMPLE_RATE, np.float32)

    def most(count: int) -> int:
        tracemalloc.start()
        for _ in RECIPES[name].rows(lambda: iter([chunk] * count)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert most(3 * seconds) < 1.2 * most(seconds) + 4096
