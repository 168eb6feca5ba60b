"""Sizes' names, the sample, and the pages that are made of measured figures."""

from __future__ import annotations

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
