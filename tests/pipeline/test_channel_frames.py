from __future__ import annotations

import pytest

from dhcli.render.pipeline import channel_frames


@pytest.mark.parametrize(
    ("width", "height", "batch", "frames"),
    [(1280, 720, 1, 4), (1280, 720, 16, 16), (1280, 720, 32, 18), (3840, 2160, 4, 2), (8192, 4320, 4, 1)],
)
def test_frames_that_wait_are_bounded_by_number_and_by_bytes(width: int, height: int, batch: int, frames: int) -> None:
    assert channel_frames(width * height * 3 // 2, batch) == frames
