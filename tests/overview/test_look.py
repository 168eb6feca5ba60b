"""Pictures for the page: within its bytes whatever they show, and none after a cancellation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dhcli.overview.collect import Entry
from dhcli.overview.look import MOST_JOB_BYTES, TILE, Looker, _coded
from dhcli.render.face_finder import FaceFinder
from dhcli.sheets.mouths import Mouth, Seen
from dhcli.types import U8
from overview.conftest import made


def seen(tile: U8) -> Seen:
    mouths = tuple(Mouth(at / 10, 0.3 - at / 20, tile, tile) for at in range(5))
    none = np.zeros(0)
    return Seen(0.0, 3.0, 3.0, none, none, none.astype(np.float32), mouths, tile[:60, :80])


def test_noise_that_no_quality_makes_small_leaves_fewer_mouths() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (TILE.height, TILE.width, 3)).astype(np.uint8)
    pictures = _coded(seen(noise), 40_000)
    assert len(pictures.small) + sum(len(one.jpeg) for one in pictures.pairs) <= 40_000
    assert 1 <= len(pictures.pairs) < 5
    assert _coded(seen(noise), 100).pairs == ()


def test_plain_pictures_are_all_there() -> None:
    plain = np.full((TILE.height, TILE.width, 3), 120, np.uint8)
    assert len(_coded(seen(plain), MOST_JOB_BYTES).pairs) == 5


def test_after_a_cancellation_nothing_is_looked_at(tmp_path: Path) -> None:
    output = tmp_path / "a.mp4"
    output.write_bytes(b"x" * 1000)
    result = made("a")
    assert result.output is not None
    result = result.model_copy(update={"output": result.output.model_copy(update={"path": str(output)})})

    def finder() -> FaceFinder:
        raise AssertionError("nothing is to be opened")

    looker = Looker(finder)
    looker.cancel()
    (pictures,) = looker.look([Entry("a", str(output), tmp_path / "a.json", result)]).values()
    assert "before this video was looked at" in pictures.trouble
