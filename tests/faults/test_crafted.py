"""Crafted media of strangers, through the whole `dh render`: no other file is read, nothing is fetched."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.media.ffmpeg_program import find_ffmpeg

pytestmark = pytest.mark.slow

Ffmpeg = Callable[..., None]


def reference_movie(url: str) -> bytes:
    """A QuickTime file that says: the movie is elsewhere."""

    def atom(kind: bytes, body: bytes) -> bytes:
        return (8 + len(body)).to_bytes(4, "big") + kind + body

    place = url.encode() + b"\0"
    reference = atom(b"rdrf", b"\0\0\0\0url " + len(place).to_bytes(4, "big") + place)
    return atom(b"ftyp", b"qt  \0\0\0\0qt  ") + atom(b"moov", atom(b"rmra", atom(b"rmda", reference)))


CRAFTED = {
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{canary}\n#EXT-X-ENDLIST\n",
    "hls-web.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://{web}/a.ts\n#EXT-X-ENDLIST\n",
    "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{canary}\n#EXT-X-ENDLIST\n",
    "hls-key.mp4": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="http://{web}/key"\n#EXTINF:4,\n{canary}\n#EXT-X-ENDLIST\n',
    "hls-map.mp4": '#EXTM3U\n#EXT-X-MAP:URI="http://{web}/init"\n#EXTINF:4,\nconcat:{canary}\n#EXT-X-ENDLIST\n',
    "hls-concat.mp4": "#EXTM3U\n#EXTINF:4,\nconcat:http://{web}/head.m3u8|file://{canary}\n#EXT-X-ENDLIST\n",
    "hls-part.mp4": "#EXTM3U\n#EXTINF:4,\nsubfile,,start,0,end,999,,:{canary}\n#EXT-X-ENDLIST\n",
    "subtitle.mp4": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n",
    "hls.wav": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://{web}/b.m3u8\n",
    "concat.mp4": "ffconcat version 1.0\nfile '{canary}'\n",
    "concat-near.mp4": "ffconcat version 1.0\nfile private.ts\n",
    "concat-web.mkv": "ffconcat version 1.0\nfile http://{web}/a.mp4\n",
    "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" bandwidth="1"><BaseURL>http://{web}/a.mp4</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" '
    'height="64"><image xlink:href="http://{web}/a.png" width="64" height="64"/></svg>',
    "picture.png": '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file://{canary}">]><svg '
    'xmlns="http://www.w3.org/2000/svg" width="64" height="64"><text>&x;</text></svg>',
    "list.asx": '<asx version="3.0"><entry><ref href="http://{web}/a.wmv"/></entry></asx>',
    "list.ram": "rtsp://{web}/a.rm\n",
    "disc.cue": 'FILE "{canary}" BINARY\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "imf.mp4": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>urn:uuid:0</Id></CompositionPlaylist>",
    "graph.mp4": "movie={canary}",
}


@pytest.fixture
def crafted(tmp_path: Path, visits: tuple[str, list[str]], ffmpeg: Ffmpeg) -> list[Path]:
    """Files that try to make ffmpeg read the canary or ask the web server."""
    canary = tmp_path / "private.ts"
    ffmpeg(*("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1"), canary)
    made = []
    for name, text in CRAFTED.items():
        made.append(tmp_path / name)
        made[-1].write_text(text.format(canary=canary, web=visits[0]))
    made.append(tmp_path / "reference.mov")
    made[-1].write_bytes(reference_movie(f"http://{visits[0]}/a.mov"))
    made.append(tmp_path / "zipped.mp4")
    made[-1].write_bytes(b"PK\x03\x04" + CRAFTED["hls-web.mp4"].format(web=visits[0]).encode())
    made += [tmp_path / "codec.wav", tmp_path / "codec.avi"]  # honest containers, codecs that nobody speaks
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "dfpwm", made[-2])
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1", "-c:v", "asv1", made[-1])
    return made


def test_no_crafted_file_reads_or_fetches_anything(
    run: Callable[..., Any],
    crafted: list[Path],
    visits: tuple[str, list[str]],
    clip: Path,
    words: Path,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    result_of: Callable[[Path], Any],
) -> None:
    jobs = []
    for at, path in enumerate(crafted):
        jobs.append({"audio": str(words), "video": str(path), "save_path": f"out/v{at}.mp4"})
        jobs.append({"audio": str(path), "video": str(clip), "save_path": f"out/a{at}.mp4"})
    (tmp_path / "out").mkdir()
    done = run(write_manifest(tmp_path / "m.yaml", jobs))
    assert done.returncode == 1, done.stderr
    assert visits[1] == []
    assert not list((tmp_path / "out").glob("*.mp4"))
    for job in jobs:
        error = result_of(tmp_path / job["save_path"])["error"]
        assert error["code"] in {"input.not_media", "input.unsupported", "input.no_audio", "input.no_video"}, (
            job,
            error,
        )
        assert error["hint"]


def test_a_refused_codec_is_named(
    run: Callable[..., Any], crafted: list[Path], words: Path, tmp_path: Path, result_of: Callable[[Path], Any]
) -> None:
    done = run("--audio", words, "--video", crafted[-1], "--save-path", tmp_path / "out.mp4")
    assert done.returncode == 1
    error = result_of(tmp_path / "out.mp4")["error"]
    assert error["code"] == "input.unsupported"
    assert "the codec asv1" in error["message"]
    assert len(json.dumps(error)) < 8000, "the whitelist is no help to anybody"


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def words_of(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def avi_with_text(picture: bytes, text: str) -> bytes:
    """An AVI with one picture and a subtitle that is a whole file, for whichever demuxer takes it for its own."""
    said = text.encode()
    name = "sub".encode("utf-16-le")
    subtitle = b"GAB2\0" + b"\2\0" + words_of(len(name)) + name + b"\4\0" + words_of(len(said)) + said

    def stream(kind: bytes, codec: bytes, form: bytes) -> bytes:
        header = kind + codec + words_of(0, 0, 0, 1, 25, 0, 1, 1 << 16, 0xFFFFFFFF, 0) + bytes(8)
        return chunk(b"LIST", b"strl" + chunk(b"strh", header) + chunk(b"strf", form))

    form = words_of(40, 400, 300) + b"\1\0\x18\0MJPG" + words_of(400 * 300 * 3) + bytes(16)
    about = chunk(b"avih", words_of(40000, 0, 0, 16, 1, 0, 2, 0, 400, 300) + bytes(16))
    headers = about + stream(b"vids", b"MJPG", form) + stream(b"txts", bytes(4), b"")
    media = chunk(b"00dc", picture) + chunk(b"01tx", subtitle)
    return chunk(b"RIFF", b"AVI " + chunk(b"LIST", b"hdrl" + headers) + chunk(b"LIST", b"movi" + media))


def movie_elsewhere(movie: bytes, place: Path) -> bytes:
    """The same QuickTime file with the claim that its pictures are in another one, by the alias of old Macs."""
    path = str(place).replace("/", ":").encode()
    path += bytes(len(path) % 2)
    record = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + b"\xff\xff\xff\xff" + bytes(16)
    record += b"\0\2" + len(path).to_bytes(2, "big") + path + b"\xff\xff\0\0"
    alias = (12 + len(record)).to_bytes(4, "big") + b"alis" + bytes(4) + record
    data = bytearray(movie)
    at = data.index(b"mdat")
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.index(kind, at)
        size = int.from_bytes(data[at - 4 : at], "big")
        data[at - 4 : at] = (size + len(alias) - 12).to_bytes(4, "big")
    data[at + 12 : at + 24] = alias
    return bytes(data)


def song_with_far_cover(song: bytes, url: str) -> bytes:
    """An MP3 whose cover picture is an address."""
    picture = b"\0-->\0\3\0" + url.encode()
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame + song


@pytest.fixture
def disguised(tmp_path: Path, visits: tuple[str, list[str]], ffmpeg: Ffmpeg, clip: Path, words: Path) -> Path:
    """A folder of honest media with a reference to the web server, or to a pipe: whoever opens that waits for ever."""
    folder, pipe = tmp_path / "disguised", tmp_path / "private.ts"
    folder.mkdir()
    os.mkfifo(pipe)
    ffmpeg("-i", clip, "-frames:v", "1", "-q:v", "2", folder / "p.jpg")
    ffmpeg("-i", clip, "-c:v", "mjpeg", "-q:v", "2", folder / "own.mov")
    ffmpeg("-i", words, "-c:a", "libmp3lame", folder / "own.mp3")
    picture = (folder / "p.jpg").read_bytes()
    for name, place in (("web", f"http://{visits[0]}/a.ts"), ("file", str(pipe))):
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{place}\n#EXT-X-ENDLIST\n"
        (folder / f"playlist-{name}.avi").write_bytes(avi_with_text(picture, playlist))
    (folder / "concat.avi").write_bytes(avi_with_text(picture, f"ffconcat version 1.0\nfile '{pipe}'\n"))
    (folder / "spoken.avi").write_bytes(avi_with_text(picture, "1\n00:00:00,000 --> 00:00:01,000\nhello\n\n"))
    (folder / "alias.mov").write_bytes(movie_elsewhere((folder / "own.mov").read_bytes(), pipe))
    song = (folder / "own.mp3").read_bytes()
    (folder / "cover.mp3").write_bytes(song_with_far_cover(song, f"http://{visits[0]}/cover.jpg"))
    return folder


def test_a_reference_inside_honest_media_is_not_followed(
    run: Callable[..., Any],
    disguised: Path,
    visits: tuple[str, list[str]],
    clip: Path,
    words: Path,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    result_of: Callable[[Path], Any],
) -> None:
    videos = ["playlist-web.avi", "playlist-file.avi", "concat.avi"]
    jobs = [{"audio": str(words), "video": str(disguised / name)} for name in videos]
    jobs.append({"audio": str(disguised / "cover.mp3"), "video": str(clip)})
    jobs.append({"audio": str(words), "video": str(disguised / "alias.mov")})
    jobs = [job | {"save_path": f"{at}.mp4"} for at, job in enumerate(jobs)]
    done = run(write_manifest(tmp_path / "m.yaml", jobs))
    assert visits[1] == []
    assert done.returncode == 1, done.stderr
    assert result_of(tmp_path / "4.mp4")["error"]["code"] == "input.no_frames", "its pictures are not in it"
    for at in range(4):
        assert result_of(tmp_path / f"{at}.mp4")["output"]["frames"] >= 10
        assert streams(tmp_path / f"{at}.mp4") == ["Video", "Audio"]


def test_the_disguises_are_real(disguised: Path) -> None:
    """Without the limits on inputs, the content of the subtitle decides what it is, and the alias is followed."""
    assert "Subtitle: subrip" in description(disguised / "spoken.avi")
    here = movie_elsewhere((disguised / "own.mov").read_bytes(), disguised / "own.mov")
    (disguised / "here.mov").write_bytes(here)
    assert "yuvj420p" not in description(disguised / "here.mov")
    assert "yuvj420p" in description(disguised / "here.mov", "-enable_drefs", "1", "-use_absolute_path", "1")


def streams(path: Path) -> list[str]:
    return re.findall(r"Stream #0:\d.*?: (\w+):", description(path))


def description(path: Path, *options: str) -> str:
    argv = [find_ffmpeg(), "-hide_banner", *options, "-i", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stderr


def test_a_sound_of_a_million_chunks_is_rendered_with_a_warning(
    run: Callable[..., Any],
    clip: Path,
    words: Path,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    result_of: Callable[[Path], Any],
) -> None:
    """Two million, of 8 bytes each: ffmpeg passes them in seconds, dh looks at the first thousand."""
    sound = words.read_bytes()
    body = sound[8:] + b"tiny\0\0\0\0" * (2 << 20)
    (tmp_path / "tiny.wav").write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    sounds = {"tiny.mp4": "tiny.wav", "next.mp4": str(words)}
    jobs = [{"audio": audio, "video": str(clip), "save_path": name} for name, audio in sounds.items()]
    done = run(write_manifest(tmp_path / "m.yaml", jobs))
    tiny = result_of(tmp_path / "tiny.mp4")
    assert [warning["code"] for warning in tiny["warnings"]] == ["input.damaged"], done.stderr
    assert result_of(tmp_path / "next.mp4")["status"] == "succeeded"
    assert done.returncode == 0
