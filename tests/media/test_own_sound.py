"""The video's own sound under the speech, and a speech that begins later than the video."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from dhcli.jobs.options import Trim
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio
from dhcli.media.sound_track import OwnSound, Sound
from dhcli.media.verify import Expected, verify_output
from dhcli.media.writer import Encoding, VideoWriter
from dhcli.runtime.scope import Scope
from dhcli.types import Frame, FrameFormat

Make = Callable[..., Path]
Listen = Callable[..., np.ndarray]
FPS = Fraction(25)
RATE = 16000


@pytest.fixture
def speech(make: Make) -> Path:
    """1 kHz from 0.5 to 1 s and silence else, 1.6 s; mono, at another rate than the other sound."""
    return make("speech.wav", "-f", "lavfi", "-i", r"aevalsrc=0.5*sin(2000*PI*t)*between(t\,0.5\,1):s=24000:d=1.6")


@pytest.fixture
def room(make: Make) -> Path:
    """0.25 of full scale at 300 Hz, 1 s, stereo."""
    return make("room.wav", "-f", "lavfi", "-i", "aevalsrc=0.25*sin(600*PI*t)|0.25*sin(600*PI*t):s=48000:d=1")


@pytest.fixture
def made(scope: Scope, tmp_path: Path, listen: Listen) -> Callable[..., np.ndarray]:
    """The mono waveform, 16 kHz, of an output with this sound."""

    def make_it(
        speech: Path,
        room: Path | None,
        how: Literal["mix", "duck"] = "mix",
        *,
        ending: str = ".mp4",
        level_db: float = -12,
        repeats: bool = True,
        **options: Any,
    ) -> np.ndarray:
        path, fmt = tmp_path / f"o{ending}", FrameFormat(64, 48, FPS)
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        with InputFile(speech, "audio") as file, InputFile(room or speech, "video") as under:
            own = OwnSound(under, probe_audio(scope, under), how, level_db, repeats) if room is not None else None
            sound = Sound(file, probe_audio(scope, file), ending=ending, own=own)
            sound = dataclasses.replace(sound, **options)
            assert not sound.is_copied
            frames = int(sound.video_duration * FPS)
            encoder = "libvpx-vp9" if ending == ".webm" else "libx264"
            with VideoWriter(scope, path, fd, fmt, Encoding(encoder, ending=ending), sound) as writer:
                for index in range(frames):
                    writer.write(Frame(index, np.full((72, 64), 90, np.uint8)))
                writer.finish()
        os.close(fd)
        verify_output(scope, path, Expected(fmt, frames, sound.end, encoder))
        return listen(path, rate=RATE)

    return make_it


def level(sound: np.ndarray, hz: float, start: float, end: float) -> float:
    """Amplitude of one frequency between two times, s."""
    part = sound[round(start * RATE) : round(end * RATE)] * np.hanning(round(end * RATE) - round(start * RATE))
    return float(4 * abs(np.exp(-2j * np.pi * hz / RATE * np.arange(len(part))) @ part) / len(part))


def test_it_is_quieter_all_the_time(made: Callable[..., np.ndarray], speech: Path, room: Path) -> None:
    got = made(speech, room)
    assert abs(len(got) / RATE - 1.6) < 0.05
    for start in (0.1, 0.6, 1.15):
        assert level(got, 300, start, start + 0.3) == pytest.approx(0.25 * 10 ** (-12 / 20), rel=0.1)
    assert level(got, 1000, 0.6, 0.9) == pytest.approx(0.5, rel=0.05), "the speech is as loud as before"
    assert level(got, 1000, 0.1, 0.4) < 0.01


def test_it_goes_down_only_under_speech(made: Callable[..., np.ndarray], speech: Path, room: Path) -> None:
    got = made(speech, room, "duck", duration=Fraction("2.2"))
    assert level(got, 300, 0.1, 0.4) == pytest.approx(0.25, rel=0.1)
    assert level(got, 300, 0.7, 0.95) == pytest.approx(0.0628, rel=0.35)
    assert level(got, 1000, 0.6, 0.9) == pytest.approx(0.5, rel=0.05)
    assert level(got, 300, 1.85, 2.15) == pytest.approx(0.25, rel=0.1), "it is back"


def test_it_ends_where_the_pictures_do_not_repeat(made: Callable[..., np.ndarray], speech: Path, room: Path) -> None:
    got = made(speech, room, repeats=False, ending=".webm")
    assert level(got, 300, 0.6, 0.9) > 0.05
    assert level(got, 300, 1.15, 1.45) < 0.002
    assert abs(len(got) / RATE - 1.6) < 0.05


def test_loud_sounds_stay_below_full_scale(made: Callable[..., np.ndarray], make: Make) -> None:
    loud = make("loud.wav", "-f", "lavfi", "-i", "aevalsrc=0.99*sin(800*PI*t):s=48000:d=0.8")
    got = made(loud, loud, level_db=0, ending=".mkv")
    assert 0.9 < np.abs(got).max() <= 1.0
    cut = np.mean(np.abs(got) > 0.995)
    assert cut < 0.01, "turned down, not cut off"


def test_a_lead_is_silence_of_that_length(made: Callable[..., np.ndarray], speech: Path) -> None:
    got = made(speech, None, lead=Fraction("0.4"), duration=Fraction("2.4"))
    begin = np.flatnonzero(np.abs(got) > 0.1)[0] / RATE
    assert begin == pytest.approx(0.9, abs=0.01)
    assert abs(len(got) / RATE - 2.0) < 0.05, "nothing is added behind"


def test_with_a_tail_the_own_sound_goes_on(made: Callable[..., np.ndarray], speech: Path, room: Path) -> None:
    trim = Trim(Fraction("0.5"), Fraction(1))
    got = made(speech, room, lead=Fraction("0.4"), duration=Fraction("1.6"), trim=trim)
    assert level(got, 1000, 0.5, 0.8) == pytest.approx(0.5, rel=0.05)
    assert max(level(got, 1000, 0.05, 0.35), level(got, 1000, 1.0, 1.5)) < 0.02
    assert min(level(got, 300, 0.05, 0.35), level(got, 300, 1.2, 1.5)) > 0.05


def test_a_tail_alone_leaves_the_sound_as_it_is(scope: Scope, make: Make) -> None:
    coded = make("a.m4a", "-f", "lavfi", "-i", "sine=d=0.5", "-c:a", "aac")
    with InputFile(coded, "audio") as file:
        info = probe_audio(scope, file)
        sound = Sound(file, info, duration=info.duration + 1)
        assert sound.is_copied
        assert sound.end == info.duration
        assert not dataclasses.replace(sound, lead=Fraction(1), codec="copy").is_copied
