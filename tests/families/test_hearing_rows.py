"""Rows of a speech: stored on the disk, read in windows, averaged over time; and a speech heard as a whole."""

from __future__ import annotations

import gc
import math
import wave
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.disk.scratch import Scratch
from dhcli.families.family import Manner
from dhcli.families.hearing.hear import hear
from dhcli.families.hearing.rows import Rows
from dhcli.sound.recipes import RECIPES, SAMPLE_RATE
from dhcli.types import F32

RECIPE = RECIPES["wav2lip_mel"]
WINDOW = 16


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    return Scratch(tmp_path_factory.mktemp("rows") / "out.mp4")


@pytest.fixture
def manner(scratch: Scratch) -> Manner:
    return Manner(Fraction(25), scratch, faithful=True)


@pytest.fixture(scope="module")
def samples(speech: Path) -> F32:
    with wave.open(str(speech)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / np.float32(32768)


def numbered(scratch: Scratch, counts: list[int], before: int = 0, beyond: float = 0) -> Rows:
    rows = Rows(scratch, Fraction(80), 3, before, beyond)
    at = 0
    for count in counts:
        rows.append(np.repeat(np.arange(at, at + count, dtype=np.float32)[:, None], 3, 1))
        at += count
    return rows


@given(
    st.lists(st.integers(0, 40), max_size=4),
    st.integers(0, 5),
    st.integers(-60, 200),
    st.integers(0, 60),
    st.sampled_from([0.0, -4.0]),
)
def test_any_window_can_be_read(
    scratch: Scratch, counts: list[int], before: int, first: int, count: int, beyond: float
) -> None:
    rows = numbered(scratch, counts, before, beyond)
    at = np.arange(first, first + count) + before
    expected = np.where((at >= 0) & (at < sum(counts)), at, beyond)
    found = rows.window(first, count)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.repeat(expected[:, None], 3, 1))
    assert len(rows) == max(0, sum(counts) - before)
    rows.close()


def test_rows_of_another_width_are_refused(scratch: Scratch) -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\), not \(n, 3\)"):
        Rows(scratch, Fraction(80), 3).append(np.zeros((2, 4), np.float32))


def test_the_average_is_a_bell_over_time(scratch: Scratch) -> None:
    rows = Rows(scratch, Fraction(100), 1)
    rows.append((np.arange(400) == 200).astype(np.float32)[:, None])
    rows.averaged(30)
    at = np.arange(400)
    bell = np.exp(-0.5 * ((at - 200) / 3) ** 2)
    assert rows.window(0, 400)[:, 0] == pytest.approx(bell / bell.sum(), abs=1e-4)
    assert np.concatenate([rows.window(7 * k, 7) for k in range(40, 50)]) == pytest.approx(rows.window(280, 70))


def test_the_average_leaves_a_constant_as_it_is_to_its_ends(scratch: Scratch) -> None:
    rows = Rows(scratch, Fraction(80), 2, beyond=-4)
    rows.append(np.full((50, 2), 3, np.float32))
    rows.averaged(100)
    found = rows.window(-5, 60)
    assert found[5:55] == pytest.approx(np.full((50, 2), 3))
    assert (found[:5] == -4).all()
    assert (found[55:] == -4).all()


def test_an_average_over_nothing_changes_nothing(scratch: Scratch) -> None:
    rows = numbered(scratch, [20])
    rows.averaged(1)
    np.testing.assert_array_equal(rows.window(0, 20)[:, 0], np.arange(20))


def test_the_file_goes_with_the_rows(scratch: Scratch) -> None:
    gc.collect()
    before = len([*Path("/dev/fd").iterdir()])
    rows = numbered(scratch, [5])
    assert len([*Path("/dev/fd").iterdir()]) == before + 1
    del rows
    gc.collect()
    assert len([*Path("/dev/fd").iterdir()]) == before


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(25), Fraction(30)])
def test_every_frame_hears_the_columns_of_its_time(manner: Manner, samples: F32, fps: Fraction) -> None:
    """Wav2Lip's frame i hears 16 columns from int(i * 80 / fps) on; the sound is padded for the last ones."""
    rows = hear(lambda: iter([samples]), RECIPE, None, manner, after_s=WINDOW / 80).rows
    padded = np.concatenate([samples, np.zeros(WINDOW * 200, np.float32)])
    mel = np.concatenate(list(RECIPE.rows(lambda: iter([padded]))))
    for i in range(math.ceil(len(samples) * fps / SAMPLE_RATE)):
        first = int(i * 80 / fps)
        assert first + WINDOW <= len(rows)
        np.testing.assert_array_equal(rows.window(first, WINDOW), mel[first : first + WINDOW])


def test_beyond_the_speech_is_silence(manner: Manner) -> None:
    loud = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    rows = hear(lambda: iter([loud]), RECIPE, None, manner).rows
    assert (rows.window(-20, 20) == RECIPE.silence).all()
    assert (rows.window(100, 20) == RECIPE.silence).all()
    assert rows.window(20, 20).min() > RECIPE.silence


def test_the_first_row_belongs_to_the_speechs_begin(manner: Manner, samples: F32) -> None:
    with_silence = hear(lambda: iter([samples]), RECIPE, None, manner, before_s=0.4).rows
    without = hear(lambda: iter([samples]), RECIPE, None, manner).rows
    assert with_silence.window(4, 40) == pytest.approx(without.window(4, 40), abs=1e-5)
    assert len(with_silence) == len(without)
    assert (with_silence.window(-30, 20) == RECIPE.silence).all()


def test_smoothing_and_silence_are_dhs_own_help(manner: Manner, samples: F32) -> None:
    noise = np.random.default_rng(0).normal(0, 3e-4, 2 * SAMPLE_RATE).astype(np.float32)
    mixed = np.concatenate([samples, np.zeros_like(noise)])
    mixed[-len(noise) :] += noise

    def chunks() -> Iterator[F32]:
        return iter([mixed])

    def heard(changed: Manner) -> F32:
        rows = hear(chunks, RECIPE, None, changed).rows
        return rows.window(0, len(rows))

    faithful = heard(replace(manner, smoothing_ms=40))
    following = heard(replace(manner, faithful=False, silence="follow"))
    resting = heard(replace(manner, faithful=False))
    smooth = heard(replace(manner, faithful=False, silence="follow", smoothing_ms=40))
    np.testing.assert_array_equal(following, faithful)
    assert (resting[-100:-20] == RECIPE.silence).all()
    assert following[-100:-20].max() > RECIPE.silence
    np.testing.assert_array_equal(resting[:400], following[:400])
    assert np.abs(np.diff(smooth[:500], axis=0)).mean() < 0.6 * np.abs(np.diff(following[:500], axis=0)).mean()


def test_a_silent_speech_is_told(manner: Manner) -> None:
    heard = hear(lambda: iter([np.zeros(SAMPLE_RATE, np.float32)]), RECIPE, None, manner)
    assert (heard.silent, heard.noise_db) == (True, None)
    assert (heard.rows.window(0, 80) == RECIPE.silence).all()
