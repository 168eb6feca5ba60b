"""Sound: exact length, the waveform for the networks, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.jobs.options import Trim
from dhcli.media.audio import KEPT_SAMPLES, Repeatable, read_waveform
from dhcli.media.info import AudioInfo
from dhcli.media.input_file import InputFile
from dhcli.runtime.scope import Scope
from dhcli.types import F32

Make = Callable[..., Path]
Audio = Callable[[Path], AudioInfo]
Listen = Callable[..., np.ndarray]


def tone(rate: int = 48000, seconds: float = 1.5, layout: str = "mono") -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"aevalsrc=0.5*sin(440*2*PI*t):s={rate}:d={seconds},aformat=channel_layouts={layout}")


def refused(call: Callable[[Path], object], path: Path) -> DhError:
    with pytest.raises(DhError) as caught:
        call(path)
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 192000])
@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6)])
def test_every_rate_and_layout(make: Make, audio: Audio, listen: Listen, rate: int, layout: str, channels: int) -> None:
    path = make("tone.wav", *tone(rate, layout=layout))
    info = audio(path)
    assert (info.sample_rate, info.channels, info.duration) == (rate, channels, Fraction(3, 2))
    wave = listen(path)
    assert wave.dtype == np.float32
    assert abs(len(wave) - 24000) <= 16
    assert np.abs(wave).max() <= 1.0
    spectrum = np.abs(np.fft.rfft(wave[:16000]))
    assert int(spectrum.argmax()) == 440


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["a.mp3", "a.m4a", "a.flac", "a.ogg", "a.opus", "a.aac", "a.ac3", "a.wma", "a.aiff", "a.mka", "a.webm"]
)
def test_every_container(make: Make, audio: Audio, listen: Listen, name: str) -> None:
    path = make(name, *tone())
    info = audio(path)
    assert abs(info.duration - Fraction(3, 2)) < Fraction(1, 10)
    assert abs(len(listen(path)) - info.duration * 16000) < 160


def test_samples_at_the_networks_rate_are_untouched(make: Make, listen: Listen) -> None:
    path = make("plain.wav", *tone(16000), "-c:a", "pcm_s16le")
    stored = np.frombuffer(path.read_bytes()[-48000:], "<i2")
    assert (listen(path) == stored / np.float32(32768)).all()


def test_sound_of_a_video(clip: Path, audio: Audio) -> None:
    info = audio(clip)
    assert (info.codec, info.duration, info.fits(".mp4")) == ("aac", Fraction(1), True)


def test_blocks_are_bounded(make: Make, scope: Scope, audio: Audio) -> None:
    path = make("tone.wav", *tone(16000))
    with InputFile(path, "audio") as file:
        blocks = list(read_waveform(scope, file, audio(path), chunk_s=0.4))
    assert [len(block) for block in blocks] == [6400, 6400, 6400, 4800]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end", "seconds"), [("0", None, "1.5"), ("0.5", None, "1"), ("0.25", "0.75", "0.5"), ("1", "9", "0.5")]
)
def test_trim(make: Make, audio: Audio, listen: Listen, start: str, end: str | None, seconds: str) -> None:
    path = make("tone.wav", *tone(16000), "-c:a", "pcm_s16le")
    trim = Trim(Fraction(start), None if end is None else Fraction(end))
    whole, part = listen(path), listen(path, trim=trim)
    first = int(trim.start * 16000)
    assert audio(path).used(trim) == Fraction(seconds)
    assert len(part) == Fraction(seconds) * 16000
    assert (part == whole[first : first + len(part)]).all()


def test_trim_beyond_the_end(make: Make, audio: Audio) -> None:
    with pytest.raises(DhError) as caught:
        audio(make("tone.wav", *tone())).used(Trim(Fraction(2), None))
    assert caught.value.code == "audio.too_short"


def test_sound_that_starts_late_stays_late(make: Make, audio: Audio, listen: Listen) -> None:
    picture = ("-f", "lavfi", "-i", "color=s=96x64:r=25:d=2", "-itsoffset", "0.5")
    path = make("late.mkv", *picture, *tone(), "-c:v", "libx264", "-c:a", "flac")
    wave = listen(path)
    assert abs(audio(path).duration - 2) < Fraction(1, 50)
    assert np.abs(wave[: int(0.48 * 16000)]).max() == 0
    assert np.abs(wave[int(0.52 * 16000) :]).max() > 0.4


def test_cut_wav(make: Make, audio: Audio, tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(make("tone.wav", *tone()).read_bytes()[:70000])
    assert refused(audio, path).code == "input.truncated"


def test_wav_without_a_length_is_fine(make: Make, audio: Audio, tmp_path: Path) -> None:
    data = bytearray(make("tone.wav", *tone(), "-bitexact").read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path = tmp_path / "streamed.wav"
    path.write_bytes(data)
    assert audio(path).duration == Fraction(3, 2)


@pytest.mark.parametrize("name", ["a.m4a", "a.mp3", "a.flac", "a.ogg"])
def test_cut_sound_in_other_containers(make: Make, audio: Audio, tmp_path: Path, name: str) -> None:
    whole = make(name, *tone(seconds=4), *(("-movflags", "+faststart") if name == "a.m4a" else ())).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) * 6 // 10])
    assert refused(audio, path).code in ("input.truncated", "input.corrupt")


def test_one_sample_is_too_short(make: Make, listen: Listen) -> None:
    path = make("one.wav", *tone(48000), "-af", "atrim=end_sample=1")
    assert refused(listen, path).code == "audio.too_short"


def test_no_sample_at_all(make: Make, audio: Audio) -> None:
    path = make("none.wav", *tone(), "-af", "atrim=end_sample=0")
    assert refused(audio, path).code == "audio.too_short"


@pytest.mark.parametrize("value", ["0/0", "1/0"])
def test_samples_that_are_not_numbers(make: Make, listen: Listen, value: str) -> None:
    path = make("nan.wav", "-f", "lavfi", "-i", f"aevalsrc='if(gt(t,0.5),{value},0)':s=16000:d=1", "-c:a", "pcm_f32le")
    error = refused(listen, path)
    assert error.code == "audio.invalid"
    assert "0.5" in error.message


def test_silence_is_sound(make: Make, listen: Listen) -> None:
    assert (listen(make("quiet.wav", "-f", "lavfi", "-i", "anullsrc=r=16000", "-t", "0.5")) == 0).all()


@pytest.mark.parametrize(("blocks", "decoded"), [(1, 1), (6, 1), (7, 2)])
def test_a_short_sound_is_decoded_once(blocks: int, decoded: int) -> None:
    opened: list[int] = []

    def decode() -> Iterator[F32]:
        opened.append(1)
        for number in range(blocks):
            yield np.full(KEPT_SAMPLES // 6, number, np.float32)

    waveform = Repeatable(decode)
    first, second = ([float(block[0]) for block in waveform()] for _ in range(2))
    assert first == second == list(range(blocks))
    assert len(opened) == decoded


def test_a_sound_that_was_not_read_to_its_end_is_decoded_again() -> None:
    waveform = Repeatable(lambda: iter([np.zeros(4, np.float32), np.ones(4, np.float32)]))
    next(waveform())
    assert len(list(waveform())) == 2
