"""The speech as a waveform, and what the default model hears in one."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.listen import Heard, listen, measure_loudness
from dhcli.types import F32


@pytest.fixture(scope="session")
def samples(speech: Path) -> F32:
    with wave.open(str(speech)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768)


def chunks(samples: F32, size: int = 50_001) -> Iterator[F32]:
    """Blocks whose size is no multiple of anything."""
    return (samples[i : i + size] for i in range(0, len(samples), size))


@pytest.fixture(scope="session")
def hear(dh_base: DhBase) -> Callable[[F32], Heard]:
    return lambda samples: listen(chunks(samples), measure_loudness(chunks(samples)), dh_base._hear)
