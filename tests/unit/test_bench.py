"""Sizes' names, the sample, and the pages that are made of measured figures."""

from __future__ import annotations

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from dhcli.bench.clip import Size, parse_size, sample


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("400x300", (400, 300)),
        ("720p", (1280, 720)),
        ("1080p", (1920, 1080)),
        ("2160p", (3840, 2160)),
        ("480p", (854, 480)),
    ],
)
def test_sizes_have_two_names(text: str, size: Size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "p", "720", "1280x", "99999x10", "63x64", "720i", "8000x4000", "721p", "-1x64"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="WIDTHxHEIGHT or LINESp"):
        parse_size(text)


def test_the_sample_is_there() -> None:
    audio, video = sample()
    assert (audio.name, video.name) == ("speech.wav", "avatar.mp4")
    assert audio.is_file()


def test_chart_and_tables_are_made_of_the_figures_alone(repository: Path, tmp_path: Path) -> None:
    for folder in ("benchmarks", "docs"):
        shutil.copytree(repository / folder, tmp_path / folder)
    draw = [sys.executable, str(tmp_path / "benchmarks" / "speed.py"), "--draw"]
    done = subprocess.run(draw, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("benchmarks/speed.md", "docs/performance.md", "docs/images/speed.svg"):
        made = (tmp_path / name).read_text(encoding="utf-8")
        assert made == (repository / name).read_text(encoding="utf-8"), f"{name}: run benchmarks/speed.py --draw"
    chart = ET.fromstring((tmp_path / "docs/images/speed.svg").read_text(encoding="utf-8"))  # noqa: S314 - our own
    assert len([part for part in chart if part.get("height") == "20"]) == 4 * (1 + 3), (
        "dh and three parts of four sizes"
    )
