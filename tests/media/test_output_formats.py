"""Outputs in every container, by every encoder of a CPU, and what becomes of those of a GPU where there is none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.jobs.formats import ENCODERS, clash
from dhcli.media import encoders
from dhcli.media.encoders import GPU, TABLE, chosen, why_not
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.sound_track import Sound
from dhcli.media.verify import Expected, VerifiedOutput, verify_output
from dhcli.media.writer import SOURCE_TYPE, Encoding, VideoWriter
from dhcli.runtime.scope import Scope
from dhcli.types import Frame, FrameFormat

Make = Callable[..., Path]
ON_A_CPU = [
    (".mp4", "libx264"),
    (".mp4", "libsvtav1"),
    (".mov", "libx265"),
    (".mov", "prores_ks"),
    (".mkv", "libx264"),
    (".mkv", "prores_ks"),
    (".webm", "libvpx-vp9"),
    (".webm", "libsvtav1"),
]
COUNT = 12


def frames(fmt: FrameFormat) -> list[Frame]:
    """A slope that wanders over grey."""
    shown = []
    for at in range(COUNT):
        frame = Frame(at, np.full((fmt.height * 3 // 2, fmt.width), 110, np.uint8))
        frame.y[:] = (np.arange(fmt.width) + 9 * at) % 160 + 40
        frame.v[: fmt.height // 4] = 150
        shown.append(frame)
    return shown


def written(
    scope: Scope, path: Path, fmt: FrameFormat, encoder: str, sound: Path, codec: str = "auto"
) -> VerifiedOutput:
    """Encode, and read back as a render does."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    shown = frames(fmt)
    try:
        with InputFile(sound, "audio") as file:
            track = Sound(file, probe_audio(scope, file), codec, None, COUNT / fmt.fps, path.suffix)  # type: ignore[arg-type]
            encoding = Encoding(encoder, ending=path.suffix)
            with VideoWriter(scope, path, fd, fmt, encoding, track) as writer:
                for frame in shown:
                    writer.write(frame)
                writer.finish()
    finally:
        os.close(fd)
    return verify_output(scope, path, Expected(fmt, COUNT, COUNT / fmt.fps, encoder, bytes(writer.thumbnails)))


@pytest.fixture
def speech_48(make: Make) -> Path:
    return make("a.wav", "-f", "lavfi", "-i", "sine=300:r=48000:d=0.6")


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["25", "30000/1001"])
@pytest.mark.parametrize(("ending", "encoder"), ON_A_CPU)
def test_every_container_and_encoder(
    scope: Scope, tmp_path: Path, speech_48: Path, ending: str, encoder: str, rate: str
) -> None:
    """Read back as a render does it: each frame at its time and with its content, the sound as long as it."""
    path, fmt = tmp_path / f"out{ending}", FrameFormat(160, 96, Fraction(rate))
    out = written(scope, path, fmt, encoder, speech_48)
    assert (out.frames, out.fps) == (COUNT, Fraction(rate))
    assert out.audio_codec == ("opus" if ending == ".webm" else "aac")
    with InputFile(path, "video") as file:
        info = probe_video(scope, file)
    assert (info.width, info.height) == (160, 96)
    tags = subprocess.run([find_ffmpeg(), "-i", str(path)], capture_output=True, text=True, check=False).stderr
    assert SOURCE_TYPE in tags
    assert "Synthetic media" in tags


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "ending", "kept"),
    [
        ("libopus", ".webm", True),
        ("libopus", ".mkv", True),
        ("libopus", ".mp4", False),
        ("aac", ".webm", False),
        ("flac", ".mkv", True),
        ("libvorbis", ".webm", True),
        ("aac", ".mov", True),
    ],
)
def test_a_sound_is_copied_where_the_container_takes_it(
    scope: Scope, tmp_path: Path, make: Make, codec: str, ending: str, kept: bool
) -> None:
    sound = make("a.mka", "-f", "lavfi", "-i", "sine=300:r=48000:d=1", "-c:a", codec)
    with InputFile(sound, "audio") as file:
        assert Sound(file, probe_audio(scope, file), ending=ending).is_copied is kept
    fmt = FrameFormat(96, 64, Fraction(25))
    encoder = "libvpx-vp9" if ending == ".webm" else "libx264"
    written(scope, tmp_path / f"out{ending}", fmt, encoder, sound)


def test_opus_in_a_matroska_by_name(scope: Scope, tmp_path: Path, speech_48: Path) -> None:
    out = written(scope, tmp_path / "o.mkv", FrameFormat(96, 64, Fraction(25)), "libx264", speech_48, "opus")
    assert out.audio_codec == "opus"


@pytest.mark.parametrize(
    ("wanted", "ending", "gets"),
    [("auto", ".mp4", "libx264"), ("auto", ".webm", "libvpx-vp9"), ("libx265", ".mkv", "libx265")],
)
def test_auto_fits_the_container(wanted: str, ending: str, gets: str) -> None:
    assert chosen(wanted, ending) == (gets, "")  # type: ignore[arg-type]


def test_without_a_gpu_auto_hw_falls_back_and_a_name_is_an_error() -> None:
    if any(not why_not(name) for name in GPU):
        pytest.skip("this machine has a GPU that encodes")
    encoder, note = chosen("auto-hw", ".mp4")
    assert encoder == "libx264"
    assert "No hardware encoder works here" in note
    with pytest.raises(DhError, match="h264_nvenc does not work on this machine") as caught:
        chosen("h264_nvenc", ".mp4")
    assert caught.value.code == "env.device_unavailable"


def test_with_a_gpu_auto_hw_takes_the_first_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "why_not", lambda name: "" if name == "h264_vaapi" else "no")
    assert chosen("auto-hw", ".mp4") == ("h264_vaapi", "")


def test_a_trial_tells_an_encoder_that_works() -> None:
    assert why_not("libx264") == ""


def test_every_encoder_of_a_container_is_known() -> None:
    named = {name for names in ENCODERS.values() for name in names} - {"auto", "auto-hw"}
    assert named == set(TABLE)


@pytest.mark.parametrize(
    ("name", "encoder", "sound", "key"),
    [
        ("a.webm", "libx264", "auto", "encoder"),
        ("a.mp4", "libvpx-vp9", "auto", "encoder"),
        ("a.webm", "auto", "aac", "audio_codec"),
        ("a.MOV", "auto", "opus", "audio_codec"),
    ],
)
def test_what_does_not_go_together_is_said(name: str, encoder: str, sound: str, key: str) -> None:
    found = clash(Path(name), encoder, sound)  # type: ignore[arg-type]
    assert found is not None
    assert found[0] == key
    assert f"ends in {Path(name).suffix.lower()}" in found[1]
