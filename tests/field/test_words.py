"""Messages about paths that cannot be opened: what the user meant, and what to do."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from dhcli.errors import DhError
from dhcli.media.input_file import InputFile


def missing(path: Path) -> DhError:
    with pytest.raises(DhError) as caught:
        InputFile(path, "video")
    assert caught.value.code == "input.missing"
    return caught.value


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_twin_of_a_name(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    there = unicodedata.normalize(form, "café.wav")
    asked = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "café.wav")
    (tmp_path / there).write_bytes(b"x")
    error = missing(tmp_path / asked)
    assert there in error.message
    assert ascii(there) in error.hint


@pytest.mark.parametrize("address", ["https://example.org/a.mp4", "s3://bucket/a.mp4", "rtsp://camera/1"])
def test_an_address_is_no_path(tmp_path: Path, address: str) -> None:
    error = missing(tmp_path / address)
    assert "reads no addresses" in error.message
    assert "Download it" in error.hint


def test_a_pipe_is_no_path(tmp_path: Path) -> None:
    assert "from a pipe" in missing(tmp_path / "-").message
