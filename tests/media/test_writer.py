"""The output: exact frames, exact rate, the original sound, and no short file that looks like a good one."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.jobs.options import Trim
from dhcli.media import verify
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.info import AudioInfo
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio
from dhcli.media.sound_track import AAC_RATES, Sound, audio_argv
from dhcli.media.verify import Expected, VerifiedOutput, verify_output
from dhcli.media.writer import CPU_PER_MEGAPIXEL_S, Encoding, VideoWriter, encode_cpu_s
from dhcli.runtime.scope import Scope, Stopped
from dhcli.timing import frame_count
from dhcli.types import Colour, Frame, FrameFormat

Make = Callable[..., Path]
Decode = Callable[[Path], SimpleNamespace]
Audio = Callable[[Path], AudioInfo]
LOSSLESS: dict[str, Any] = {"crf": 0, "preset": "ultrafast"}


def noise(count: int, fmt: FrameFormat) -> list[Frame]:
    dice = np.random.default_rng(0)
    shape = (fmt.height * 3 // 2, fmt.width)
    return [Frame(at, dice.integers(16, 235, shape, np.uint8)) for at in range(count)]


@contextlib.contextmanager
def writing(
    scope: Scope, part: Path, fmt: FrameFormat, sound: Sound | None = None, **encoding: Any
) -> Iterator[VideoWriter]:
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC)
    try:
        with VideoWriter(scope, part, fd, fmt, Encoding(**encoding), sound) as writer:
            yield writer
    finally:
        os.close(fd)


def write(
    scope: Scope, part: Path, fmt: FrameFormat, frames: list[Frame], sound: Path | None = None, **options: Any
) -> VerifiedOutput:
    """Write, read back, compare: what a job does. `options` are the sound's, without one the encoding's."""
    if sound is None:
        with writing(scope, part, fmt, **LOSSLESS, **options) as writer:
            for frame in frames:
                writer.write(frame)
            writer.finish()
        return verify_output(scope, part, Expected(fmt, len(frames)))
    with InputFile(sound, "audio") as file:
        info = probe_audio(scope, file)
        with writing(scope, part, fmt, Sound(file, info, **options), **LOSSLESS) as writer:
            for frame in frames:
                writer.write(frame)
            writer.finish()
    used = min(info.used(options.get("trim")), options.get("duration", Fraction(10**6)))
    return verify_output(scope, part, Expected(fmt, len(frames), used))


def encode(scope: Scope, part: Path, fmt: FrameFormat, count: int, **options: Any) -> None:
    with writing(scope, part, fmt, **options) as writer:
        for frame in noise(count, fmt):
            writer.write(frame)
        writer.finish()


def abandon(scope: Scope, part: Path, fmt: FrameFormat, count: int) -> None:
    with writing(scope, part, fmt) as writer:
        for frame in noise(count, fmt):
            writer.write(frame)
        raise RuntimeError("elsewhere")


def description(path: Path) -> str:
    return subprocess.run(
        [find_ffmpeg(), "-hide_banner", "-i", path], capture_output=True, text=True, check=False
    ).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "rate"),
    [((48, 32), rate) for rate in ("24000/1001", "25", "30000/1001", "29/2", "60", "132/5", "1")]
    + [((1600, 1200), "30000/1001"), ((1600, 1200), "29/2"), ((1920, 1080), "25")],
)
def test_frames_come_back_bit_for_bit_at_the_exact_rate(
    scope: Scope, decode: Decode, tmp_path: Path, size: tuple[int, int], rate: str
) -> None:
    fmt = FrameFormat(*size, Fraction(rate))
    frames = noise(7, fmt)
    out = write(scope, tmp_path / "out.part", fmt, frames)
    assert (out.frames, out.fps, out.duration) == (7, Fraction(rate), 7 / Fraction(rate))
    back = decode(tmp_path / "out.part")
    assert (back.info.fps, back.info.vfr) == (Fraction(rate), False)
    assert all((a.data == b.data).all() for a, b in zip(frames, back.frames, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("span", ["tv", "pc"])
@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize("size", [(64, 64), (1600, 1200)])
def test_colours_and_aspect_are_carried(
    scope: Scope, decode: Decode, tmp_path: Path, span: str, encoder: str, size: tuple[int, int]
) -> None:
    colour = Colour(span, "smpte170m", "bt709", "smpte170m")
    fmt = FrameFormat(*size, Fraction(25), Fraction(4, 3), colour)
    write(scope, tmp_path / "out.part", fmt, noise(3, fmt), encoder=encoder)
    assert decode(tmp_path / "out.part").fmt == fmt


def test_full_range_source_to_output(make: Make, scope: Scope, decode: Decode, tmp_path: Path) -> None:
    path = make("photo.jpg", "-f", "lavfi", "-i", "testsrc2=s=96x64", "-frames:v", "1")
    whole = decode(path)
    assert whole.fmt.colour.range == "pc"
    write(scope, tmp_path / "out.part", whole.fmt, whole.frames * 3)
    back = decode(tmp_path / "out.part")
    assert back.fmt.colour == whole.fmt.colour
    assert all((frame.data == whole.frames[0].data).all() for frame in back.frames)


def packets(path: Path, stream: str) -> bytes:
    argv = [find_ffmpeg(), "-v", "error", "-i", str(path), "-map", stream, "-c", "copy", "-f", "data", "-"]
    return subprocess.run(argv, capture_output=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "copied"),
    [
        ("a.m4a", "aac", True),
        ("a.mp3", "mp3", True),
        ("a.wav", "aac", False),
        ("a.ogg", "aac", False),
        ("a.ac3", "ac3", True),
    ],
)
def test_sound_is_copied_where_mp4_takes_it(
    make: Make, scope: Scope, tmp_path: Path, name: str, codec: str, copied: bool
) -> None:
    sound = make(name, "-f", "lavfi", "-i", "sine=d=0.9:r=44100")
    fmt = FrameFormat(48, 32, Fraction(25))
    out = write(scope, tmp_path / "out.part", fmt, noise(23, fmt), sound)
    assert out.audio_codec == codec
    assert (packets(tmp_path / "out.part", "0:a") == packets(sound, "0:a")) == copied


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_every_mp3_gets_into_the_mp4(make: Make, scope: Scope, tmp_path: Path, rate: int) -> None:
    sound = make("a.mp3", "-f", "lavfi", "-i", f"sine=d=0.4:r={rate}", "-c:a", "libmp3lame")
    fmt = FrameFormat(48, 32, Fraction(25))
    out = write(scope, tmp_path / "out.part", fmt, noise(10, fmt), sound)
    assert out.audio_codec == ("mp3" if rate >= 16000 else "aac")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "rate"), [("aac", 8000), ("aac", 96000), ("alac", 8000), ("alac", 192000), ("eac3", 32000)]
)
def test_every_rate_of_the_other_codecs_is_copied(
    make: Make, scope: Scope, tmp_path: Path, codec: str, rate: int
) -> None:
    sound = make("a.mka", "-f", "lavfi", "-i", f"sine=d=0.4:r={rate}", "-c:a", codec)
    fmt = FrameFormat(48, 32, Fraction(25))
    assert write(scope, tmp_path / "out.part", fmt, noise(10, fmt), sound).audio_codec == codec
    assert packets(tmp_path / "out.part", "0:a") == packets(sound, "0:a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        ("mono", 1),
        ("2.1", 2),
        ("quad", 5),
        ("5.1", 6),
        ("5.1(side)", 6),
        ("5.1.2", 6),
        ("5.1.4", 6),
        ("hexadecagonal", 8),
        ("22.2", 8),
    ],
)
def test_every_layout_gets_one_that_players_know(
    make: Make, scope: Scope, audio: Audio, tmp_path: Path, layout: str, channels: int
) -> None:
    sound = make("a.wav", "-f", "lavfi", "-i", f"anoisesrc=d=0.4:r=48000,aformat=channel_layouts={layout}")
    fmt = FrameFormat(48, 32, Fraction(25))
    write(scope, tmp_path / "out.part", fmt, noise(10, fmt), sound)
    assert audio(tmp_path / "out.part").channels == channels


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "written"), [(8000, 8000), (37800, 32000), (96000, 96000), (192000, 96000)])
def test_every_rate_gets_one_that_aac_has(
    make: Make, scope: Scope, audio: Audio, tmp_path: Path, rate: int, written: int
) -> None:
    assert str(written) in AAC_RATES.split("|")
    sound = make("a.wav", "-f", "lavfi", "-i", f"sine=d=0.4:r={rate}")
    fmt = FrameFormat(48, 32, Fraction(25))
    write(scope, tmp_path / "out.part", fmt, noise(10, fmt), sound)
    assert audio(tmp_path / "out.part").sample_rate == written


def test_an_encoded_sound_is_brought_into_the_shape_of_aac(make: Make, audio: Audio) -> None:
    sound = make("a.wav", "-f", "lavfi", "-i", "sine=d=0.4:r=44100")
    with InputFile(sound, "audio") as file:
        _, argv = audio_argv(Sound(file, audio(sound), "auto", Trim(Fraction(1, 10), None), Fraction(3, 10)))
    chain = argv[argv.index("-af") + 1]
    assert "atrim=start=0.100000,asetpts=PTS-STARTPTS,aformat=sample_rates=" in chain
    assert "channel_layouts=mono|stereo|3.0|" in chain


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits are set from outside on Linux alone")
def test_processor_time_of_an_encoder_with_a_sound_is_limited(
    make: Make, scope: Scope, audio: Audio, tmp_path: Path
) -> None:
    sound = make("a.wav", "-f", "lavfi", "-i", "sine=d=0.4:r=44100")
    fmt = FrameFormat(1920, 1080, Fraction(25))
    with (
        InputFile(sound, "audio") as file,
        writing(scope, tmp_path / "out.part", fmt, Sound(file, audio(sound))) as writer,
    ):
        soft, _ = resource.prlimit(writer._child.pid, resource.RLIMIT_CPU)
    assert soft == encode_cpu_s(fmt, Fraction(2, 5)) > 10 * CPU_PER_MEGAPIXEL_S
    assert encode_cpu_s(fmt, Fraction(3600)) > 3600 * 25 * 2 * CPU_PER_MEGAPIXEL_S, "a long encode has more"


def test_sound_is_encoded_on_request(make: Make, scope: Scope, tmp_path: Path) -> None:
    sound = make("a.mp3", "-f", "lavfi", "-i", "sine=d=0.9:r=44100")
    fmt = FrameFormat(48, 32, Fraction(25))
    assert write(scope, tmp_path / "out.part", fmt, noise(23, fmt), sound, codec="aac").audio_codec == "aac"


def test_copy_on_request_of_what_mp4_does_not_take(make: Make, scope: Scope, tmp_path: Path) -> None:
    sound = make("a.wav", "-f", "lavfi", "-i", "sine=d=0.9:r=44100")
    fmt = FrameFormat(48, 32, Fraction(25))
    with pytest.raises(DhError) as caught:
        write(scope, tmp_path / "out.part", fmt, noise(1, fmt), sound, codec="copy")
    assert caught.value.code == "input.unsupported"


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["mono", "5.1"])
def test_sound_of_another_video_is_whole(make: Make, scope: Scope, audio: Audio, tmp_path: Path, layout: str) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=2")
    tone = ("-f", "lavfi", "-i", f"sine=d=1.23:r=48000,aformat=channel_layouts={layout}")
    sound = make("av.mkv", *source, *tone, "-c:v", "libx264", "-c:a", "flac")
    fmt = FrameFormat(48, 32, Fraction(30000, 1001))
    frames = noise(frame_count(audio(sound).duration, fmt.fps), fmt)
    write(scope, tmp_path / "out.part", fmt, frames, sound)
    written = audio(tmp_path / "out.part")
    assert written.channels == (1 if layout == "mono" else 6)
    assert abs(written.duration - Fraction(123, 100)) < Fraction(1, 40)


def test_trimmed_sound(make: Make, scope: Scope, listen: Callable[..., np.ndarray], tmp_path: Path) -> None:
    sound = make("steps.wav", "-f", "lavfi", "-i", "aevalsrc='if(between(t,0.5,0.8),0.5*sin(2000*t),0)':s=16000:d=1.5")
    fmt = FrameFormat(48, 32, Fraction(25))
    write(scope, tmp_path / "out.part", fmt, noise(10, fmt), sound, trim=Trim(Fraction(1, 2), Fraction(9, 10)))
    wave = np.abs(listen(tmp_path / "out.part"))
    assert wave[800:4000].max() > 0.3
    assert wave[5600:].max() < 0.1


@pytest.mark.parametrize("name", ["a.m4a", "a.wav"])
def test_sound_ends_with_a_video_that_is_short_on_purpose(make: Make, scope: Scope, tmp_path: Path, name: str) -> None:
    sound = make(name, "-f", "lavfi", "-i", "sine=d=3:r=44100")
    fmt = FrameFormat(48, 32, Fraction(25))
    out = write(scope, tmp_path / "out.part", fmt, noise(10, fmt), sound, duration=Fraction(10, 25))
    assert out.duration == Fraction(2, 5)


def test_the_file_says_that_it_is_synthetic_and_nothing_of_the_source(make: Make, scope: Scope, tmp_path: Path) -> None:
    place = ("-metadata", "location=+52.5+13.4/", "-metadata", "title=private")
    sound = make("tagged.m4a", "-f", "lavfi", "-i", "sine=d=0.4", *place)
    fmt = FrameFormat(48, 32, Fraction(25))
    write(scope, tmp_path / "out.part", fmt, noise(10, fmt), sound)
    text = description(tmp_path / "out.part")
    assert "Synthetic media" in text
    assert "compositeWithTrainedAlgorithmicMedia" in text
    assert "private" not in text
    assert "52.5" not in text
    data = (tmp_path / "out.part").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_leaving_without_finish_makes_no_playable_file(scope: Scope, decode: Decode, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="elsewhere"):
        abandon(scope, tmp_path / "out.part", FrameFormat(48, 32, Fraction(25)), 10)
    with pytest.raises(DhError):
        decode(tmp_path / "out.part")


def test_no_frame_is_an_error(scope: Scope, tmp_path: Path) -> None:
    with pytest.raises(DhError) as caught:
        encode(scope, tmp_path / "out.part", FrameFormat(48, 32, Fraction(25)), 0)
    assert caught.value.code == "encode.failed"


def fake_ffmpeg(folder: Path, script: str) -> str:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        (
            "head -c 9000 >/dev/null; echo '[fatal] out of luck' >&2; exit 3",
            "encode.failed",
            "exit code 3, out of luck",
        ),
        ("head -c 9000 >/dev/null; kill -9 $$", "encode.failed", "SIGKILL"),
        (
            "head -c 9000 >/dev/null; echo '[error] No space left on device' >&2; exit 228",
            "output.disk_full",
            "No space",
        ),
        (
            "cat >/dev/null; echo '[error] Error writing trailer: No space left on device' >&2; exit 1",
            "output.disk_full",
            "",
        ),
        ("cat >/dev/null; echo '[error] Unknown encoder libx264' >&2; exit 8", "env.ffmpeg_unusable", "libx264"),
    ],
)
def test_encoder_that_fails(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: str, text: str
) -> None:
    monkeypatch.setenv("DH_FFMPEG", fake_ffmpeg(tmp_path, script))
    with pytest.raises(DhError) as caught:
        encode(scope, tmp_path / "out.part", FrameFormat(480, 320, Fraction(25)), 9)
    assert caught.value.code == code
    assert text in caught.value.message
    assert "BrokenPipe" not in caught.value.message
    assert caught.value.stderr_tail or "SIGKILL" in text


def test_full_disk(scope: Scope, tmp_path: Path) -> None:
    fmt = FrameFormat(480, 320, Fraction(25))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # the nearest to a full disk without one
    try:
        with pytest.raises(DhError) as caught:
            encode(scope, tmp_path / "out.part", fmt, 20, **LOSSLESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "output.disk_full"


def test_an_error_elsewhere_frees_a_writer_that_waits(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DH_FFMPEG", fake_ffmpeg(tmp_path, "exec sleep 60"))
    cause = DhError("model.failed", "no")
    threading.Timer(0.1, lambda: scope.fail(cause, "speak")).start()
    with pytest.raises(Stopped):
        encode(scope, tmp_path / "out.part", FrameFormat(480, 320, Fraction(25)), 9)
    assert scope.error is cause


@pytest.mark.parametrize(
    ("frames", "width", "rate", "audio_s", "finding"),
    [
        (11, 48, "25", None, "10 of 11 frames"),
        (10, 96, "25", None, "48, 32"),
        (10, 48, "24", None, "frame 1 stands at"),
        (10, 48, "25", "0.4", "no sound"),
    ],
)
def test_an_output_that_is_not_the_plan(
    scope: Scope, tmp_path: Path, frames: int, width: int, rate: str, audio_s: str | None, finding: str
) -> None:
    fmt = FrameFormat(48, 32, Fraction(25))
    write(scope, tmp_path / "out.part", fmt, noise(10, fmt))
    planned = FrameFormat(width, 32, Fraction(rate))
    duration = None if audio_s is None else Fraction(audio_s)
    with pytest.raises(DhError) as caught:
        verify_output(scope, tmp_path / "out.part", Expected(planned, frames, duration))
    assert caught.value.code == "output.mismatch"
    assert finding in caught.value.message


def test_sound_of_the_wrong_length_is_noticed(make: Make, scope: Scope, tmp_path: Path) -> None:
    sound = make("a.m4a", "-f", "lavfi", "-i", "sine=d=0.9:r=44100")
    fmt = FrameFormat(48, 32, Fraction(25))
    write(scope, tmp_path / "out.part", fmt, noise(23, fmt), sound)
    with pytest.raises(DhError) as caught:
        verify_output(scope, tmp_path / "out.part", Expected(fmt, 23, Fraction(3)))
    assert caught.value.code == "output.mismatch"
    assert "not 3.000 s" in caught.value.message


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open(make: Make, scope: Scope, tmp_path: Path) -> None:
    fmt = FrameFormat(48, 32, Fraction(25))
    before = open_files()
    write(scope, tmp_path / "out.part", fmt, noise(10, fmt), make("a.m4a", "-f", "lavfi", "-i", "sine=d=0.4"))
    assert open_files() == before


def test_frames_that_are_wanted_come_also_where_the_output_had_to_be_read_twice(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fmt, part = FrameFormat(48, 32, Fraction(25)), tmp_path / "out.part"
    frames = noise(5, fmt)
    write(scope, part, fmt, frames)
    once = iter(["a fault that is gone the next time"])
    monkeypatch.setattr(verify, "damage", lambda _: next(once, ""))
    read = verify_output(scope, part, Expected(fmt, len(frames)), wanted=(1, 3))
    assert read.wanted is not None
    assert [one.index for one in read.wanted] == [1, 3]
    assert all(np.array_equal(one.data, frames[one.index].data) for one in read.wanted)
