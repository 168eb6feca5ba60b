"""Videos without a usable face: the message says what is in the picture instead."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.networks.network import Device
from dhcli.render.analysis import analyse
from dhcli.render.models import Models
from dhcli.types import Frame, FrameFormat

Decoded = Callable[..., list[Frame]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crop", "what"),
    [
        ((90, 110, 160, 100), "is too close"),
        ((300, 150, 50, 20), "is cut by the lower edge"),
        ((100, 100, 0, 0), "No face can be followed"),
    ],
)
def test_a_face_that_cannot_be_used(
    avatar: Path, decoded: Decoded, tmp_path: Path, crop: tuple[int, int, int, int], what: str
) -> None:
    width, height, x, y = crop
    frames = decoded(avatar, width, height, "-frames:v", "2", "-vf", f"crop={width}:{height}:{x}:{y}")
    fmt = FrameFormat(width, height, Fraction(25))
    with pytest.raises(DhError) as caught:
        analyse(frames, fmt, Models((), Device("cpu")).finder, "largest", lambda: None, scratch=Scratch(tmp_path))
    assert caught.value.code == "face.not_found"
    assert what in caught.value.message
