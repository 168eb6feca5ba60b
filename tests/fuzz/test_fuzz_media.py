"""Damaged files through the whole pipeline: each is rendered as promised or refused with a code, and never hangs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dhcli.results.result import JobResult

pytestmark = pytest.mark.slow

Look = Callable[[str, Path, int, Path], JobResult | str]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov", "ts", "webm", "avi"])
def test_damaged_video(kind: str, seeds: range, sources: dict[str, Path], look: Look) -> None:
    ends = {seed: look(kind, sources[kind], seed, sources["wav"]) for seed in seeds}
    assert not {seed: end for seed, end in ends.items() if isinstance(end, str)}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", ["wav", "mp3", "m4a", "flac", "ogg", "opus"])
def test_damaged_sound(kind: str, seeds: range, sources: dict[str, Path], look: Look) -> None:
    ends = {seed: look(kind, sources[kind], seed, sources["mp4"]) for seed in seeds}
    assert not {seed: end for seed, end in ends.items() if isinstance(end, str)}
