"""Sounds as telephones, recorders, podcasts and editors write them: whole ones come without a word."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dhcli.errors import DhError
from dhcli.media.info import AudioInfo
from dhcli.media.input_limits import FORMATS
from field import ogg

Make = Callable[..., Path]
Audio = Callable[[Path], AudioInfo]

TONE = ("-f", "lavfi", "-i", "sine=d=2:r=22050")
MP3 = (*TONE, "-c:a", "libmp3lame", "-b:a", "32k")
ID3_BEHIND = b"TAG" + bytes(125)
ID3_BEFORE = b"ID3\x04\0\0\0\0\1\0TIT2\0\0\0\6\0\0\0hello" + bytes(112)


def ape_tag() -> bytes:
    item = struct.pack("<II", 20, 0) + b"Title\0" + b"x" * 20
    ends = (struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8) for flags in (0xA0000000, 0x80000000))
    head, tail = (b"APETAGEX" + end for end in ends)
    return head + item + tail


def lyrics_tag() -> bytes:
    words = b"LYRICSBEGININD0000200LYR00005hello"
    return words + b"%06d" % len(words) + b"LYRICS200" + ID3_BEHIND


def noise(count: int) -> bytes:
    return random.Random(count).randbytes(count)  # noqa: S311 - the same noise every time


BEHIND = {
    "newline": b"\n",
    "zeros": bytes(2048),
    "ID3": ID3_BEHIND,
    "APEv2": ape_tag(),
    "APEv2 and ID3": ape_tag() + ID3_BEHIND,
    "Lyrics3": lyrics_tag(),
    "noise": noise(5000),
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("length", [True, False])
def test_what_lies_behind_an_mp3(make: Make, audio: Audio, tmp_path: Path, behind: str, *, length: bool) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(make("a.mp3", *MP3, *(() if length else ("-write_xing", "0"))).read_bytes() + BEHIND[behind])
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(2, abs=0.08)


def test_mp3_files_one_behind_the_other(make: Make, audio: Audio, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(make("a.mp3", *MP3).read_bytes() * 3)
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(6, abs=0.2)


def test_a_hole_in_an_mp3_is_told(make: Make, audio: Audio, tmp_path: Path) -> None:
    data = bytearray(make("a.mp3", *MP3).read_bytes())
    data[4000:4700] = bytes(700)
    path = tmp_path / "a.mp3"
    path.write_bytes(data)
    info = audio(path)
    assert "0.17 of 2.00 s of its sound are lost" in info.damage
    assert info.cut == ""


def test_an_mp3_that_ends_early(make: Make, audio: Audio, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(make("a.mp3", *MP3).read_bytes()[:6000] + ID3_BEHIND)
    with pytest.raises(DhError) as caught:
        audio(path)
    assert caught.value.code == "input.truncated"


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a"])
@pytest.mark.parametrize("cover", ["c.jpg", "c.png"])
@pytest.mark.parametrize("at", [0, 60])
def test_a_broken_cover(make: Make, audio: Audio, tmp_path: Path, name: str, cover: str, at: int) -> None:
    picture = make(cover, "-f", "lavfi", "-i", "testsrc=s=48x48", "-frames:v", "1")
    attached = ("-i", picture, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    data = bytearray(make(name, *TONE, *attached).read_bytes())
    begin = data.index(picture.read_bytes()[:40]) + at
    data[begin : begin + 300] = noise(300)
    path = tmp_path / name
    path.write_bytes(data)
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(2, abs=0.08)


@pytest.mark.parametrize("name", ["a.wv", "a.ac3", "a.aac", "a.flac", "a.mp3", "a.tta"])
def test_tags_of_other_programs(make: Make, audio: Audio, tmp_path: Path, name: str) -> None:
    data = make(name, *TONE).read_bytes()
    path = tmp_path / name
    for before, behind in ((b"", ape_tag()), (b"", ID3_BEHIND), (ID3_BEFORE, b"")):
        path.write_bytes(before + data + behind)
        info = audio(path)
        assert (info.damage, info.cut) == ("", "")
        assert float(info.duration) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("counted", [True, False])
def test_an_odd_byte_in_a_wav(make: Make, audio: Audio, tmp_path: Path, *, counted: bool) -> None:
    data = bytearray(make("a.wav", *TONE).read_bytes()) + b"\1"
    at = data.index(b"data") + 4
    if counted:
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + 1).to_bytes(4, "little")
        data[4:8] = (len(data) - 8).to_bytes(4, "little")
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert info.duration == 2


def vorbis(make: Make) -> list[ogg.Packet]:
    loud = "aevalsrc=0.3*sin(440*2*PI*t)+0.1*random(0):d=0.5:s=22050"
    path = make("v.ogg", "-f", "lavfi", "-i", loud, "-c:a", "libvorbis", "-page_duration", "1")
    return ogg.packets(path.read_bytes())


def test_vorbis_packets_may_end_early(make: Make, audio: Audio, tmp_path: Path) -> None:
    packets = [
        replace(packet, data=packet.data[: len(packet.data) * 2 // 3]) if at > 3 and at % 5 == 0 else packet
        for at, packet in enumerate(vorbis(make))
    ]
    path = tmp_path / "v.ogg"
    path.write_bytes(b"".join(ogg.pages(packets)))
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rubbish", [bytes(3000), noise(700), ID3_BEHIND])
def test_rubbish_between_the_pages_of_an_ogg(make: Make, audio: Audio, tmp_path: Path, rubbish: bytes) -> None:
    pages = ogg.pages(vorbis(make))
    path = tmp_path / "v.ogg"
    path.write_bytes(b"".join(pages[:9]) + rubbish + b"".join(pages[9:]) + rubbish)
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(0.5, abs=0.01)


def test_a_lost_page_of_an_ogg_is_told(make: Make, audio: Audio, tmp_path: Path) -> None:
    pages = ogg.pages(vorbis(make))
    path = tmp_path / "v.ogg"
    path.write_bytes(b"".join(pages[:9] + pages[14:]))
    assert "page 14 follows page 8" in audio(path).damage


def test_a_telephone_sends_nothing_where_nobody_speaks(make: Make, audio: Audio, tmp_path: Path) -> None:
    data = make("a.amr", *TONE, "-ar", "8000", "-c:a", "libopencore_amrnb", "-b:a", "12200").read_bytes()
    frames = [data[at : at + 32] for at in range(6, len(data), 32)]
    path = tmp_path / "a.amr"
    path.write_bytes(data[:6] + b"".join(b"\x7c" if at % 10 == 5 else frame for at, frame in enumerate(frames)))
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["a.m4a", "a.mov", "a.mka", "a.ogg", "a.opus", "a.ts", "a.webm", "a.wma"])
def test_a_sound_that_begins_late(make: Make, audio: Audio, name: str) -> None:
    info = audio(make(name, "-itsoffset", "0.5", "-f", "lavfi", "-i", "sine=d=2:r=48000"))
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["a.m4a", "a.mkv", "a.mp4", "a.mov"])
@pytest.mark.parametrize("edits", ["0", "1"])
def test_priming_at_a_low_rate(make: Make, audio: Audio, name: str, edits: str) -> None:
    listed = ("-use_editlist", edits) if name != "a.mkv" else ()
    info = audio(make(name, *TONE, "-ar", "8000", "-c:a", "aac", *listed))
    assert (info.damage, info.cut) == ("", "")


def test_a_long_pre_skip(make: Make, audio: Audio, tmp_path: Path) -> None:
    source = make("a.opus", "-f", "lavfi", "-i", "sine=d=2:r=48000", "-c:a", "libopus", "-page_duration", "1")
    packets = ogg.packets(source.read_bytes())
    head = packets[0].data
    packets[0] = replace(packets[0], data=head[:10] + (24_000).to_bytes(2, "little") + head[12:])
    path = tmp_path / "a.opus"
    path.write_bytes(b"".join(ogg.pages(packets)))
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("kind", [b"ac-4", b"mhm1"])
def test_a_codec_without_a_decoder(make: Make, audio: Audio, tmp_path: Path, kind: bytes) -> None:
    data = make("a.m4a", *TONE).read_bytes()
    path = tmp_path / "a.m4a"
    path.write_bytes(data.replace(b"mp4a\0\0\0\0", kind + b"\0\0\0\0").replace(b"esds", b"free"))
    with pytest.raises(DhError) as caught:
        audio(path)
    assert caught.value.code == "input.unsupported"
    assert "has the codec" in caught.value.message


@pytest.mark.parametrize("content", [noise(3000), b"\x1aE\xdf\xa3 no Matroska", b"RIFF\x24\0\0\0WAVEfmt \x10\0"])
def test_a_refusal_names_the_reason_and_the_file(audio: Audio, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.mkv"
    path.write_bytes(content)
    with pytest.raises(DhError) as caught:
        audio(path)
    assert ".mkv: is no audio, video or image that ffmpeg reads (" in caught.value.message
    assert "Error opening" not in caught.value.message
    assert "/proc/" not in caught.value.message


def dsf(seconds: float) -> bytes:
    """One channel of DSD at 2.8 MHz: 50 % of the bits are set, which is silence."""
    block, rate = 4096, 2_822_400
    count = round(seconds * rate / 8 / block)
    bits = b"\x69" * block * count
    form = struct.pack("<IIIIIIQII", 1, 0, 1, 1, rate, 1, block * count * 8, block, 0)
    body = b"fmt " + struct.pack("<Q", 12 + len(form)) + form + b"data" + struct.pack("<Q", 12 + len(bits)) + bits
    return b"DSD " + struct.pack("<QQQ", 28, 28 + len(body), 0) + body


def test_dsd(audio: Audio, tmp_path: Path) -> None:
    path = tmp_path / "a.dsf"
    path.write_bytes(dsf(0.5))
    assert float(audio(path).duration) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", ["mpc", "mpc8", "shn", "iff", "dsf"])
def test_allowed_formats(name: str) -> None:
    """No encoder at hand writes Musepack, Shorten or DFF."""
    assert name in FORMATS.split(",")


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.flac", "a.ogg", "a.aac", "a.ac3", "a.ts", "a.wv", "a.m4a"])
@pytest.mark.parametrize("front", [noise(500), bytes(3000), b"HTTP/1.1 200 OK\r\n\r\n"])
def test_rubbish_in_front(make: Make, audio: Audio, tmp_path: Path, name: str, front: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(front + make(name, *TONE).read_bytes())
    info = audio(path)
    assert (info.damage, info.cut) == ("", "")
    assert float(info.duration) == pytest.approx(2, abs=0.1)


def test_a_format_that_is_not_allowed_says_so(audio: Audio, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n2\n00:00:03,000 --> 00:00:04,000\nagain\n")
    with pytest.raises(DhError) as caught:
        audio(path)
    assert caught.value.code == "input.unsupported"
    assert "not allowed" in caught.value.message
