"""Contact sheets: the chosen mouths are what they are called, beside the frames that they were made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.networks.network import Device
from dhcli.render.face_finder import FaceFinder, finder_bundle
from dhcli.runtime.scope import Scope
from dhcli.sheets.crop import Tile, jpeg
from dhcli.sheets.loudness import loudest
from dhcli.sheets.mark import is_ours
from dhcli.sheets.mouths import COLUMNS, STRETCH_S, Source, see

TILE = Tile(96, 80)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(finder_bundle(), Device("cpu"))


def test_the_loudest_part_is_found() -> None:
    loud = np.full(500, 0.01, np.float32)  # ten seconds
    loud[300:350] = 0.5
    at = loudest(loud, 2.0)
    assert at is not None
    assert 5.0 <= at <= 6.0
    assert loudest(np.zeros(500, np.float32), 2.0) is None
    assert loudest(loud, 20.0) == 0.0


@pytest.mark.slow
def test_mouths_go_from_wide_to_closed_and_lie_beside_their_originals(
    finder: FaceFinder, avatar: Path, speech: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    video = tmp_path / "out.mp4"
    # The avatar itself stands for a render that changed nothing: each tile is that of its original.
    ffmpeg("-i", avatar, "-i", speech, "-t", "3", "-c:v", "libx264", "-crf", "10", "-c:a", "aac", video)
    with Scope() as scope:
        seen = see(scope, finder, video, Source(avatar), TILE)
    assert len(seen.mouths) == COLUMNS
    openings = [one.opening for one in seen.mouths]
    assert openings == sorted(openings, reverse=True)
    assert openings[0] == seen.openings.max()
    assert openings[-1] == seen.openings.min()
    for one in seen.mouths:
        assert one.original is not None
        assert one.original.shape == one.rendered.shape == (80, 96, 3)
        assert np.abs(one.original.astype(int) - one.rendered.astype(int)).mean() < 4
    assert (seen.begin_s, seen.end_s) == (0.0, 3.0)
    assert len(seen.loudness) == 150


@pytest.mark.slow
def test_of_a_long_video_only_a_stretch_is_looked_at(
    finder: FaceFinder, avatar: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    video = tmp_path / "long.mp4"
    sound = "aevalsrc='0.5*sin(880*t)*between(t,12,16)':d=20"
    ffmpeg("-stream_loop", "2", "-i", avatar, "-f", "lavfi", "-i", sound, "-t", "20", "-c:v", "copy", video)
    with Scope() as scope:
        seen = see(scope, finder, video, None, TILE)
    assert seen.end_s - seen.begin_s == pytest.approx(STRETCH_S)
    assert seen.begin_s <= 12.1
    assert seen.end_s >= 15.9
    assert all(one.original is None for one in seen.mouths)


def test_a_missing_original_is_said_and_a_missing_video_is_an_error(
    finder: FaceFinder, avatar: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    video = tmp_path / "short.mp4"
    ffmpeg("-i", avatar, "-frames:v", "6", "-c:v", "libx264", "-preset", "ultrafast", video)
    with Scope() as scope:
        seen = see(scope, finder, video, Source(tmp_path / "gone.mp4"), TILE)
        assert "there is no such file" in seen.original_missing
        assert seen.mouths
        assert not len(seen.loudness)
        with pytest.raises(DhError, match="no such file"):
            see(scope, finder, tmp_path / "gone.mp4", None, TILE)


def test_a_sheet_knows_itself() -> None:
    picture = np.full((20, 30, 3), 90, np.uint8)
    assert is_ours(jpeg(picture))
    plain = jpeg(picture)
    assert not is_ours(plain[:2] + plain[2 + 4 + int.from_bytes(plain[4:6], "big") - 2 :])
