"""Waveforms, and ways to hand them over in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from tools.golden_sound import sounds

from dhcli.sound.recipes import Speech
from dhcli.types import F32


@pytest.fixture(scope="session")
def waveforms() -> dict[str, F32]:
    """Those of the golden values: speech, sweep, long."""
    return sounds()


@pytest.fixture(scope="session")
def chunked() -> Callable[..., Speech]:
    """Makes a speech of a waveform: in chunks of these lengths, over and over."""

    def speech_of(samples: F32, lengths: Sequence[int] = (50_001,)) -> Speech:
        def chunks() -> Iterator[F32]:
            at = turn = 0
            while at < len(samples):
                length = lengths[turn % len(lengths)]
                yield np.asarray(samples[at : at + length])
                at, turn = at + length, turn + 1

        return chunks

    return speech_of
