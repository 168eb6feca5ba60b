"""People who lie on their side or stand on their head: a phone video without its rotation tag."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.disk.scratch import Scratch
from dhcli.render.analysis import analyse
from dhcli.render.face_finder import FaceFinder
from dhcli.stages.align import roll
from dhcli.types import Frame, FrameFormat


@pytest.mark.slow
@pytest.mark.parametrize(
    ("turn", "size", "degrees"),
    [
        ("null", (400, 300), 0),
        ("transpose=clock", (300, 400), 90),
        ("transpose=cclock", (300, 400), -90),
        ("hflip,vflip", (400, 300), 180),
    ],
)
def test_the_same_head_however_the_picture_is_turned(
    turn: str,
    size: tuple[int, int],
    degrees: int,
    repository: Path,
    decoded: Callable[..., list[Frame]],
    finder: FaceFinder,
    tmp_path: Path,
) -> None:
    frames = decoded(repository / "examples/media/avatar.mp4", *size, "-frames:v", "15", "-vf", turn)
    fmt = FrameFormat(*size, Fraction(25))
    with analyse(iter(frames), fmt, finder, "largest", lambda: None, scratch=Scratch(tmp_path / "out.mp4")) as track:
        rows = [track.row(index) for index in range(15)]
    for row in rows:
        assert row is not None
        assert row.pose.scale == pytest.approx(36.3, rel=0.03)
        assert np.cos(roll(row.pose) - np.radians(degrees)) > np.cos(np.radians(5))
