"""Sounds of several channels and several tracks: what the mouth hears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.media.info import AudioInfo
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio
from dhcli.render.plan import heard_channel
from dhcli.runtime.scope import Scope

Make = Callable[..., Path]
Audio = Callable[[Path], AudioInfo]
VOICE = "0.3*sin(440*2*PI*t)"


def channels(make: Make, name: str, *voices: str) -> Path:
    return make(name, "-f", "lavfi", "-i", f"aevalsrc={'|'.join(voices)}:d=0.5:s=16000")


@pytest.mark.parametrize(
    ("voices", "louder"),
    [
        ((VOICE, f"-{VOICE}"), 0),
        ((VOICE, f"-0.95*{VOICE}"), 0),
        ((VOICE, VOICE), None),
        ((VOICE, "0"), None),
        ((VOICE, "0.3*sin(700*2*PI*t)"), None),
        ((VOICE, f"-1.2*{VOICE}"), 1),
        (("0", "0"), None),
    ],
)
def test_channels_that_cancel_each_other(make: Make, audio: Audio, voices: tuple[str, ...], louder: int | None) -> None:
    assert audio(channels(make, "a.wav", *voices)).louder == louder


def test_opposite_phase_is_heard(make: Make, audio: Audio, listen: Callable[..., np.ndarray]) -> None:
    path = channels(make, "a.wav", VOICE, f"-{VOICE}")
    assert np.abs(listen(path)).max() < 0.001
    assert np.abs(listen(path, channel=audio(path).louder)).max() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(("wanted", "number"), [("auto", None), ("left", 0), ("right", 1), ("2", 1)])
def test_a_channel_by_name(make: Make, audio: Audio, wanted: str, number: int | None) -> None:
    path = channels(make, "a.wav", VOICE, VOICE)
    with InputFile(path, "audio") as file:
        assert heard_channel(file, audio(path), wanted) == number
        with pytest.raises(DhError) as caught:
            heard_channel(file, audio(path), "3")
    assert "has no channel 3 (2 of them)" in caught.value.message


@pytest.mark.parametrize(("track", "index"), [("", 0), ("1", 0), ("2", 1), ("deu", 1), ("de", 1), ("EN", 0)])
def test_a_track_by_number_or_language(make: Make, scope: Scope, track: str, index: int) -> None:
    tone = ("-f", "lavfi", "-i", "sine=d=0.3:r=16000")
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu")
    path = make("a.mkv", *tone, *tone, "-map", "0", "-map", "1", *languages)
    with InputFile(path, "audio") as file:
        assert probe_audio(scope, file, track=track).index == index


def test_a_track_that_is_not_there(make: Make, scope: Scope) -> None:
    path = channels(make, "a.wav", VOICE)
    with InputFile(path, "audio") as file, pytest.raises(DhError) as caught:
        probe_audio(scope, file, track="fr")
    assert "has no sound track 'fr' (tracks: 1 no language)" in caught.value.message
