"""Speech through the audio network: the reference's values, loudness, and windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.listen import (
    HOP,
    PHONE_STEPS,
    SAMPLES,
    WINDOW,
    Heard,
    listen,
    measure_loudness,
)
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import Device
from dhcli.types import F32, F64


def chunks(samples: F32, size: int = 50_001) -> Iterator[F32]:
    """Blocks whose size is no multiple of anything."""
    return (samples[i : i + size] for i in range(0, len(samples), size))


def test_codes_are_the_references(hear: Callable[[F32], Heard], samples: F32, golden: dict[str, F64]) -> None:
    codes = hear(samples).codes
    assert codes.shape == golden["codes"].shape
    assert np.abs(codes - golden["codes"]).max() < 0.02


@pytest.mark.slow
def test_the_codes_do_not_depend_on_threads(hear: Callable[[F32], Heard], samples: F32) -> None:
    """In speech of 20 s two threads round otherwise than one, and a third way where another program has their core."""
    speech = np.resize(samples, 20 * 16_000 + 123)
    told = hear(speech)
    for threads in (1, 3, 4):
        other = DhBase(Model(load_bundle("dh-base"), Device("cpu"), threads))
        again = listen(chunks(speech), measure_loudness(chunks(speech)), other._hear)
        np.testing.assert_array_equal(again.codes, told.codes)
        assert again.phones is not None
        np.testing.assert_array_equal(again.phones, told.phones)


@pytest.mark.parametrize("count", [1, WINDOW - 1, WINDOW, WINDOW + 1, HOP + WINDOW, HOP + WINDOW + 1, 3 * HOP + 7])
def test_every_40_ms_get_one_code_and_every_window_at_most_20_s(count: int) -> None:
    lengths: list[int] = []

    def constant(samples: F32) -> tuple[F32, F32]:
        lengths.append(len(samples))
        count = len(samples) // SAMPLES
        return np.full((count, 12), 3.0, np.float32), np.full((PHONE_STEPS * count + 1, 2), 0.5, np.float32)

    sound = np.ones((count - 1) * SAMPLES + 1, np.float32)
    found = listen(chunks(sound), measure_loudness(chunks(sound)), constant)
    assert found.codes.shape == (count, 12)
    assert found.levels.shape == (count,)
    assert np.allclose(found.codes, 3.0, atol=1e-5), "cross-fades of equal windows add up to the same"
    assert found.phones is not None
    assert found.phones.shape == (PHONE_STEPS * count, 2)
    assert np.allclose(found.phones, 0.5, atol=1e-5)
    assert max(lengths) <= (WINDOW + 2) * SAMPLES


def test_neighbouring_windows_fade_into_each_other() -> None:
    calls: list[int] = []

    def numbered(samples: F32) -> tuple[F32, None]:
        calls.append(len(calls))
        return np.full((len(samples) // SAMPLES, 12), float(calls[-1]), np.float32), None

    sound = np.ones((HOP + WINDOW) * SAMPLES, np.float32)
    found = listen(chunks(sound), measure_loudness(chunks(sound)), numbered)
    codes = found.codes
    assert found.phones is None
    assert codes[: HOP - 5].max() == 0
    assert codes[WINDOW + 5 :].min() == 1
    assert np.abs(np.diff(codes[:, 0])).max() < 1.5 / (WINDOW - HOP), "no jump at a window's border"


def test_chunk_size_does_not_matter(samples: F32) -> None:
    assert measure_loudness(chunks(samples, 999)) == measure_loudness(chunks(samples, 100_000))


def test_loudness_is_the_references(samples: F32) -> None:
    level = np.abs(samples)
    active = samples[level > 0.1 * np.quantile(level, 0.99)]
    assert measure_loudness(chunks(samples)).active_rms == pytest.approx(np.sqrt((active**2).mean()), rel=0.01)
