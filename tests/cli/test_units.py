"""Times and sizes with units."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from dhcli.command.units import mebibytes, seconds


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90", 90),
        ("1.5", 1.5),
        (60.0, 60),
        ("10m", 600),
        ("1h30m", 5400),
        ("2min", 120),
        ("1500ms", 1.5),
        ("1d", 86400),
    ],
)
def test_times(text: object, meant: float) -> None:
    assert seconds(1)(text) == meant


@pytest.mark.parametrize("text", ["", "m", "10x", "-5", "1:30", "nan", "1e3", "0.5", "10 m", "٣", "500ms"])
def test_no_times(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected seconds from 1 on, or a time as 90s, 10m, 1h30m"):
        seconds(1)(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("0", 0), (256, 256), ("1G", 1024), ("1.5g", 1536), ("512M", 512), ("2 GiB", 2048), ("1TB", 1 << 20), ("1k", 1)],
)
def test_sizes(text: object, meant: int) -> None:
    assert mebibytes(text) == meant


@pytest.mark.parametrize("text", ["", "G", "1.5", "-1", "1P", "1e3", "1G2M"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected MiB, or a size as 512M or 1"):
        mebibytes(text)


def test_units_on_the_command_line(dh: Any) -> None:
    assert '"limit_bytes": 1073741824' in dh("cache", "info", "--json", "--cache-size", "1G").out
    said = dh("check", "night.yaml", "--max-duration", "10x")
    assert said.code == 2
    assert said.err.startswith("dh check: Invalid value for '--max-duration': found '10x', expected seconds from 1 on")
