"""Containers without a length: damage shows in how their packets, pages and chunks follow each other.

Undamaged files of the same kinds, cut out of longer ones as recorders do it, are rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dhcli.errors import DhError
from dhcli.media.containers import ogg, riff
from dhcli.media.containers import scan as scanning
from dhcli.media.containers import transport_stream as transport
from dhcli.media.info import AudioInfo, VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.runtime.scope import Scope

Make = Callable[..., bytearray]
PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1")
TONE = ("-f", "lavfi", "-i", "sine=d=3:r=22050")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-pix_fmt", "yuv420p")
PACKET = 188


@pytest.fixture
def make(ffmpeg: Callable[..., None], out: Path) -> Make:
    def run(name: str, *argv: object) -> bytearray:
        ffmpeg(*argv, out / name)
        return bytearray((out / name).read_bytes())

    return run


def look(path: Path, data: bytes | bytearray, probe: Callable[..., Any] = probe_video) -> VideoInfo | AudioInfo:
    path.write_bytes(data)
    with Scope() as scope, InputFile(path, "input") as file:
        info: VideoInfo | AudioInfo = probe(scope, file)
    return info


def refused(path: Path, data: bytes | bytearray, probe: Callable[..., Any] = probe_video) -> DhError:
    with pytest.raises(DhError) as caught:
        look(path, data, probe)
    assert caught.value.code in {"input.corrupt", "input.truncated"}
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def told(path: Path, data: bytes | bytearray, probe: Callable[..., Any] = probe_video) -> str:
    """The damage in a file that can be used."""
    info = look(path, data, probe)
    assert info.damage
    assert not info.cut
    return info.damage


def first_packet(data: bytearray, pid: int, number: int = 0) -> int:
    """Where the packet lies with which the n-th picture of a stream begins."""
    at = [
        at
        for at in range(0, len(data), PACKET)
        if data[at + 1] & 0x40 and (data[at + 1] & 0x1F) << 8 | data[at + 2] == pid
    ]
    return at[number]


def test_packets_at_the_end_are_blank(make: Make, out: Path) -> None:
    data = make("a.ts", *PICTURES, *X264)
    begin = len(data) * 9 // 10 // PACKET * PACKET
    data[begin:] = bytes(len(data) - begin)
    assert f"no packet where one should begin at byte {begin}" in told(out / "a.ts", data)


def test_a_table_is_damaged(make: Make, out: Path) -> None:
    data = make("a.ts", *PICTURES, *X264)
    data[first_packet(data, 0x1000) + 20] ^= 4
    assert "a table with a wrong checksum" in told(out / "a.ts", data)


def test_the_header_of_a_picture_is_damaged(make: Make, out: Path) -> None:
    data = make("a.ts", *PICTURES, *X264)
    at = first_packet(data, 0x100, 7)
    at = data.index(b"\0\0\1\xe0", at)
    data[at + 11] &= 0xFE
    assert "the header of a picture or sound is broken" in told(out / "a.ts", data)


def test_a_picture_is_lost_inside_its_packet(make: Make, out: Path) -> None:
    data = make("a.ts", *PICTURES, *X264)
    at = data.index(b"\0\0\0\1\x09", first_packet(data, 0x100, 24))
    data[at : at + 20] = bytes(20)
    assert "25 pictures begin, 24 came" in told(out / "a.ts", data)


@pytest.mark.parametrize("codec", ["h264", "open", "hevc", "mpeg2", "m2ts", "parity"])
def test_a_capture_may_begin_anywhere(make: Make, out: Path, codec: str) -> None:
    how: dict[str, tuple[str, ...]] = {
        "open": ("-c:v", "libx264", "-x264-params", "open-gop=1:keyint=5:log-level=none", "-bf", "2"),
        "hevc": ("-c:v", "libx265", "-x265-params", "keyint=5:log-level=none"),
        "mpeg2": ("-c:v", "mpeg2video", "-g", "5", "-bf", "2"),
        "m2ts": (*X264, "-mpegts_m2ts_mode", "1"),
    }
    name = "a.m2ts" if codec == "m2ts" else "a.ts"
    data, packet = make(name, *PICTURES, *how.get(codec, X264)), 192 if codec == "m2ts" else PACKET
    if codec == "parity":
        data = bytearray(b"".join(data[at : at + packet] + bytes(16) for at in range(0, len(data), packet)))
        packet = 204
    assert look(out / name, data).duration == 1
    half = len(data) // packet // 2 * packet
    for begin in (half, half + 77):
        info = look(out / name, data[begin:])
        assert isinstance(info, VideoInfo)
        assert 5 <= info.frames <= 15


def test_a_packet_may_come_twice(make: Make, out: Path) -> None:
    data = make("a.ts", *PICTURES, *X264)
    at = first_packet(data, 0x100, 3)
    data[at:at] = data[at : at + PACKET]
    (out / "a.ts").write_bytes(data)
    with InputFile(out / "a.ts", "input") as file:
        result = transport.scan(file.fd, file.bytes, 0x100)
    assert (result.corrupt, result.truncated, result.pictures) == ("", "", 25)


def avi_chunks(data: bytearray) -> Iterator[int]:
    at = data.index(b"movi") + 4
    while data[at : at + 4] == b"00dc":
        yield at
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2


@pytest.mark.parametrize("damage", ["gap", "blank", "flip"])
@pytest.mark.parametrize("number", [0, 12, 24])
def test_one_picture_of_an_avi_is_lost(make: Make, out: Path, damage: str, number: int) -> None:
    data = make("a.avi", *PICTURES, "-c:v", "mjpeg")
    at = list(avi_chunks(data))[number]
    match damage:
        case "gap":
            del data[at + 2 : at + 6]
        case "blank":
            data[at - 8 : at + 40] = bytes(48)
        case "flip":
            data[at] ^= 0x40
    if damage == "gap":
        assert "4 bytes are missing" in refused(out / "a.avi", data).message
    else:
        assert "1 of 25 frames are lost" in told(out / "a.avi", data)


def test_an_avi_that_was_written_to_a_pipe(make: Make, out: Path) -> None:
    data = make("a.avi", *PICTURES, "-c:v", "mjpeg")
    data[4:8] = b"\xff\xff\xff\xff"
    frames = data.index(b"strh") + 8 + 32
    data[frames : frames + 4] = data[48:52] = (10_000).to_bytes(4, "little")
    info = look(out / "a.avi", data)
    assert isinstance(info, VideoInfo)
    assert info.frames == 25


def test_pictures_that_a_recorder_left_out_at_the_end_of_an_avi(make: Make, out: Path) -> None:
    data = make("a.avi", *PICTURES, "-c:v", "mjpeg")
    frames = data.index(b"strh") + 8 + 32
    data[frames : frames + 4] = (26).to_bytes(4, "little")
    assert look(out / "a.avi", data).duration == 1


def test_lists_that_are_nested_without_end(out: Path) -> None:
    """A million lists in each other end neither the stack nor the patience."""
    depth = 20_000
    data = b"".join(b"LIST" + (12 * (depth - at) - 8).to_bytes(4, "little") + b"movi" for at in range(depth))
    (out / "a.avi").write_bytes(b"RIFF" + (len(data) + 4).to_bytes(4, "little") + b"AVI " + data)
    with InputFile(out / "a.avi", "input") as file:
        assert riff.find_damage(file.fd, file.bytes) == ""
        assert riff.declared_frames(file.fd, 0) is None


def test_frames_at_the_beginning_of_an_mp3_are_lost(make: Make, out: Path) -> None:
    data = make("a.mp3", *TONE, "-c:a", "libmp3lame", "-b:a", "32k")
    begin = data.index(b"Info") + 200
    data[begin : begin + 400] = b"\xaa" * 400
    assert "of 3.00 s of its sound are lost" in told(out / "a.mp3", data, probe_audio)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
@pytest.mark.parametrize("how", ["plain", "variable", "middle"])
def test_an_mp3_without_a_length(make: Make, out: Path, rate: int, how: str) -> None:
    quality = ("-q:a", "4") if how == "variable" else ("-b:a", "48k")
    data = make("a.mp3", *TONE, "-ar", rate, "-c:a", "libmp3lame", *quality, "-write_xing", "0")
    info = look(out / "a.mp3", data[len(data) // 3 :] if how == "middle" else data, probe_audio)
    assert info.duration > (1.8 if how == "middle" else 2.99)


PAGES = ("-page_duration", "200000")
OGG = {"vorbis": ("-c:a", "libvorbis"), "opus": ("-c:a", "libopus", "-ar", "48000")}


@pytest.mark.parametrize("codec", OGG)
@pytest.mark.parametrize("damage", ["cut", "page", "gap", "twice"])
def test_sound_of_an_ogg_is_lost(make: Make, out: Path, codec: str, damage: str) -> None:
    data = make("a.ogg", *TONE, *OGG[codec], *PAGES)
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    at = starts[len(starts) // 2]
    match damage:
        case "cut":
            del data[at + 100 :]
        case "page":
            del data[at : starts[len(starts) // 2 + 1]]
        case "gap":
            del data[at + 100 : at + 110]
        case "twice":
            data[at:at] = data[at - 10 : at]
    if damage == "cut":
        assert refused(out / "a.ogg", data, probe_audio).code == "input.truncated"
    else:
        if damage != "twice":  # else there are just ten bytes of rubbish between two pages
            assert told(out / "a.ogg", data, probe_audio)
        assert look(out / "a.ogg", data, probe_audio).duration > 2.9, "what is lost is silent"


@pytest.mark.parametrize("codec", OGG)
def test_honest_oggs(make: Make, out: Path, codec: str) -> None:
    data = make("a.ogg", *TONE, *OGG[codec], *PAGES)
    assert abs(look(out / "a.ogg", data, probe_audio).duration - 3) < 0.03
    assert look(out / "a.ogg", data + b"TAG" + bytes(125), probe_audio).duration > 2.9
    assert look(out / "a.ogg", data + data, probe_audio).duration > 5.8, "two in a row"


def test_a_recorded_broadcast_has_pages_from_the_middle(make: Make, out: Path) -> None:
    data = make("a.ogg", *TONE, *OGG["vorbis"], *PAGES)
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    first = next(at for at in starts if any(data[at + 6 : at + 14]))
    later = starts[len(starts) // 2]
    assert later > first
    assert look(out / "a.ogg", data[:first] + data[later:], probe_audio).duration > 1


@pytest.mark.parametrize("codec", ["tta", "wavpack"])
def test_a_checksum_of_sound_is_wrong(make: Make, out: Path, codec: str) -> None:
    name = "a.tta" if codec == "tta" else "a.wv"
    data = make(name, *TONE, "-c:a", codec)
    assert look(out / name, data, probe_audio).duration == 3
    data[len(data) // 2] ^= 0x55
    assert told(out / name, data, probe_audio)
    assert look(out / name, data, probe_audio).duration == 3


def test_sound_of_an_avi_is_lost(make: Make, out: Path) -> None:
    data = make("a.avi", *TONE, "-c:a", "libmp3lame")
    assert look(out / "a.avi", data, probe_audio).duration > 2.9
    del data[len(data) // 2 : len(data) // 2 + 700]
    refused(out / "a.avi", data, probe_audio)


@pytest.mark.parametrize(
    "scan",
    [
        lambda fd, size: transport.scan(fd, size, 0x100),
        ogg.scan,
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"G",
        b"OggS",
        b"G" * 1000,
        b"OggS" * 300,
        bytes(1000),
    ],
)
def test_any_bytes_can_be_scanned(out: Path, scan: Callable[..., Any], content: bytes) -> None:
    path = out / "any"
    path.write_bytes(content)
    with path.open("rb") as file:
        assert scan(file.fileno(), len(content)) is not None


def test_a_wav_that_says_less_than_it_holds(make: Make, out: Path) -> None:
    data = make("a.wav", *TONE)
    at = data.index(b"data") + 4
    size = int.from_bytes(data[at : at + 4], "little")
    data[at : at + 4] = (size // 3).to_bytes(4, "little")
    assert "belong to nothing" in told(out / "a.wav", data, probe_audio)


@pytest.mark.parametrize("tail", [bytes(5000), b"TAG" + bytes(125), b"junk"])
def test_what_programs_leave_behind_a_wav(make: Make, out: Path, tail: bytes) -> None:
    data = make("a.wav", *TONE, "-metadata", "title=odd") + tail
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    assert look(out / "a.wav", data, probe_audio).duration == 3


def test_the_rate_in_the_header_of_a_flac_is_damaged(make: Make, out: Path) -> None:
    data = make("a.flac", *TONE, "-c:a", "flac")
    data[18] ^= 0x40
    assert "its sound 22050 Hz" in told(out / "a.flac", data, probe_audio)


def riff_of(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + (len(kind) + len(body)).to_bytes(4, "little") + kind + body


EMPTY = {
    "chunks of a WAV": (riff.stray_bytes, riff_of(b"WAVE", b"tiny\0\0\0\0" * 900)),
    "chunks of an AVI": (riff.find_damage, riff_of(b"AVI ", b"tiny\0\0\0\0" * 899)),
    "pieces of an AVI": (riff.find_damage, riff_of(b"AVI ", b"") * 900),
    "pages": (ogg.scan, (b"OggS\0\2" + bytes(21)) * 900),
}
"""900 steps, with next to nothing in each: a file of 64 MB has millions of them."""


@pytest.mark.parametrize("kind", EMPTY)
def test_every_step_through_a_file_is_a_sign_of_life(out: Path, kind: str) -> None:
    scan, data = EMPTY[kind]
    (out / "tiny").write_bytes(data)
    beats: list[None] = []
    with (out / "tiny").open("rb") as file:
        scan(file.fileno(), len(data), lambda: beats.append(None))
    assert len(beats) >= 900


@pytest.mark.parametrize("kind", EMPTY)
def test_the_steps_are_numbered(out: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ogg, riff):
        monkeypatch.setattr(module, "steps", lambda alive, _=0: scanning.steps(alive, 100))
    scan, data = EMPTY[kind]
    (out / "tiny").write_bytes(data)
    beats: list[None] = []
    with (out / "tiny").open("rb") as file:
        scan(file.fileno(), len(data), lambda: beats.append(None))
    assert len(beats) == 100


def test_no_honest_wav_has_so_many_chunks(make: Make, out: Path) -> None:
    data = make("a.wav", *TONE)
    for count, expected in ((900, ""), (1100, "bytes behind its sound belong to nothing")):
        long = data + b"tiny\0\0\0\0" * count + bytes(4000)
        long[4:8] = (len(long) - 8).to_bytes(4, "little")
        if expected:
            assert expected in told(out / "a.wav", long, probe_audio)
        else:
            assert look(out / "a.wav", long, probe_audio).duration == 3
