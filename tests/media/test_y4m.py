"""Frames on their way to the encoder, as strips where they are large."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.media import y4m
from dhcli.types import Colour, Frame, FrameFormat


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (96, 64, 1),
        (400, 300, 1),
        (1280, 720, 1),
        (1600, 1200, 8),
        (1920, 1080, 4),
        (3840, 2160, 8),
        (2160, 3840, 8),
        (1920, 1082, 1),
    ],
)
def test_large_frames_travel_as_strips(width: int, height: int, expected: int) -> None:
    assert y4m.strips(width, height) == expected


def test_the_header_describes_a_frame_or_a_strip() -> None:
    small = FrameFormat(96, 64, Fraction(30000, 1001), Fraction(4, 3), Colour("pc"))
    assert y4m.header(small) == b"YUV4MPEG2 W96 H64 F30000:1001 Ip A4:3 C420mpeg2 XCOLORRANGE=FULL\n"
    large = FrameFormat(1600, 1200, Fraction(30000, 1001))
    assert y4m.header(large) == b"YUV4MPEG2 W1600 H150 F240000:1001 Ip A1:1 C420mpeg2\n"


@given(st.integers(1, 1000), st.integers(1, 700))
def test_every_strip_is_a_picture_of_its_own(half_width: int, half_height: int) -> None:
    """Each row of luma has its number, each row of colour that of the two rows that it belongs to."""
    width, height = 2 * half_width, 2 * half_height
    luma = np.repeat(np.arange(height) % 251, width)
    colour = np.repeat(np.arange(half_height) * 2 % 251, half_width)
    data = np.concatenate([luma, colour, colour]).astype(np.uint8)
    frame = Frame(0, data.reshape(height * 3 // 2, width))
    count, at = y4m.strips(width, height), 0
    sent = b"".join(y4m.buffers(frame))
    assert len(sent) == y4m.frame_bytes(FrameFormat(width, height, Fraction(25)))
    high = height // count
    for strip in range(count):
        assert sent[at : at + 6] == b"FRAME\n"
        picture = np.frombuffer(sent, np.uint8, width * high * 3 // 2, at + 6)
        rows = np.arange(strip * high, (strip + 1) * high)
        assert (picture[: width * high].reshape(high, width) == rows[:, None] % 251).all()
        assert (picture[width * high :].reshape(2, -1, half_width) == rows[::2, None] % 251).all()
        at += 6 + width * high * 3 // 2
