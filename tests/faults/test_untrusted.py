"""Files and names of strangers, through the whole `dh render`: nothing else is read, fetched or leaked."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dhcli.errors import DhError
from dhcli.media.ffmpeg import InputFile, find_ffmpeg
from dhcli.part import PartFile

Ffmpeg = Callable[..., None]
CANARY = "canary-7f3a"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """`dh render` as a program; arguments may be bytes, since names may be no text."""

    def call(*arguments: str | bytes | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "dhcli", "render", "--device", "cpu", "--retries", "0", *arguments]
        return subprocess.run(argv, capture_output=True, cwd=cwd, check=False, timeout=110)

    return call


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine: its address, and what was asked of it."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def write_manifest(path: Path, jobs: list[dict[str, str]]) -> Path:
    path.write_text(json.dumps({"version": 1, "jobs": jobs}, ensure_ascii=False))  # nearly all JSON is YAML
    return path


def stored(output: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(f"{output}.json").read_bytes())
    return loaded


NAMES = {
    "dash": "-y",
    "colon": "http:x",
    "pattern": "img%03d",
    "newline": "two\nlines",
    "escape": "\x1b]0;title\x07red\x1b[31m",
    "quotes": "a'b\"c $(touch x) `id` ; & | *",
    "emoji": "🙂 пример",
    "long": "x" * 246,
    "brackets": "[0:v] {a,b}?#",
}


def test_any_name_is_audio_video_and_output(run: Callable[..., Any], clip: Path, words: Path, tmp_path: Path) -> None:
    folders = [tmp_path / kind for kind in ("sound", "picture", "made")]
    for folder in folders:
        folder.mkdir()
    jobs = []
    for ident, name in NAMES.items():
        (folders[0] / f"{name}.wav").write_bytes(words.read_bytes())
        (folders[1] / f"{name}.mp4").write_bytes(clip.read_bytes())
        # Relative to the manifest, so that a leading dash is one.
        jobs.append(
            {
                "id": ident,
                "audio": f"sound/{name}.wav",
                "video": f"picture/{name}.mp4",
                "save_path": f"made/{name}.mp4",
            }
        )
    done = run(write_manifest(tmp_path / "m.yaml", jobs))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folders[2].iterdir()) == sorted(
        f"{name}.mp4{end}" for name in NAMES.values() for end in ("", ".json")
    )
    assert all(stored(folders[2] / f"{name}.mp4")["output"]["frames"] == 10 for name in NAMES.values())
    assert b"\x1b" not in done.stderr
    assert len(list(tmp_path.iterdir())) == 4, "a shell or a pattern made a file"


@pytest.mark.parametrize("name", [b"-i\xff\xfe", b"\xe4%d:"])
def test_a_name_that_is_no_text(run: Callable[..., Any], clip: Path, words: Path, tmp_path: Path, name: bytes) -> None:
    here = os.fsencode(tmp_path)
    os.link(words, here + b"/" + name + b".wav")
    os.link(clip, here + b"/" + name + b".avi")
    done = run(b"--audio=" + name + b".wav", b"--video=" + name + b".avi", b"--save-path=" + name + b".mp4")
    assert done.returncode == 0, done.stderr
    assert {name + b".mp4", name + b".mp4.json"} <= {os.fsencode(path.name) for path in tmp_path.iterdir()}
    assert stored(Path(os.fsdecode(here + b"/" + name + b".mp4")))["status"] == "succeeded"


def test_names_that_look_like_addresses_are_files_that_are_missing(
    run: Callable[..., Any], visits: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, seen = visits
    names = [f"http://{address}/a.mp4", "concat:a.ts|b.ts", "subfile,,start,0,end,9,,:a.mp4", "lavfi:testsrc", "pipe:0"]
    jobs = [{"audio": name, "video": name, "save_path": f"{at}.mp4"} for at, name in enumerate(names)]
    done = run(write_manifest(tmp_path / "m.yaml", jobs))
    assert done.returncode == 1, done.stderr
    codes = {stored(tmp_path / f"{at}.mp4")["error"]["code"] for at in range(len(names))}
    assert codes == {"input.missing"}
    assert seen == []


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
        error = stored(tmp_path / job["save_path"])["error"]
        assert error["code"] in {"input.not_media", "input.unsupported", "input.no_audio", "input.no_video"}, (
            job,
            error,
        )
        assert error["hint"]


def test_a_refused_codec_is_named(run: Callable[..., Any], crafted: list[Path], words: Path, tmp_path: Path) -> None:
    done = run("--audio", words, "--video", crafted[-1], "--save-path", tmp_path / "out.mp4")
    assert done.returncode == 1
    error = stored(tmp_path / "out.mp4")["error"]
    assert error["code"] == "input.unsupported"
    assert "the codec asv1" in error["message"]
    assert len(json.dumps(error)) < 8000, "the whitelist is no help to anybody"


def test_nothing_of_the_sources_description_is_in_the_output(
    run: Callable[..., Any], ffmpeg: Ffmpeg, clip: Path, words: Path, tmp_path: Path
) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(
        f";FFMETADATA1\ntitle={CANARY}\nlocation=+52.5200+013.4050/\nmake={CANARY}\ncom.apple.quicktime.model={CANARY}\n"
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle={CANARY}\n"
    )
    words_in_text = tmp_path / "words.srt"
    words_in_text.write_text(f"1\n00:00:00,000 --> 00:00:00,300\n{CANARY}\n")
    source = tmp_path / "phone.mov"
    ffmpeg(
        *("-i", clip, "-i", words, "-i", words_in_text, "-i", chapters, "-map", "0:v", "-map", "1:a", "-map", "2"),
        *("-map_metadata", "3", "-map_chapters", "3", "-c:v", "copy", "-c:a", "aac", "-c:s", "mov_text"),
        *("-metadata:s:a", f"handler_name={CANARY}", "-metadata:s:v", f"handler_name={CANARY}"),
        *("-timecode", "01:02:03:04", "-movflags", "use_metadata_tags", source),
    )
    assert source.read_bytes().count(CANARY.encode()) >= 6
    output = tmp_path / "out.mp4"
    done = run("--audio", source, "--video", source, "--save-path", output)
    assert done.returncode == 0, done.stderr
    assert CANARY.encode() not in output.read_bytes()
    assert b"52.52" not in output.read_bytes()
    said = subprocess.run([find_ffmpeg(), "-hide_banner", "-i", output], capture_output=True, text=True, check=False)
    assert re.findall(r"Stream #0:\d.*?: (\w+):", said.stderr) == ["Video", "Audio"]
    assert "Chapter" not in said.stderr
    assert "Synthetic media" in said.stderr


def test_names_and_messages_cannot_command_a_terminal_or_forge_a_line(
    run: Callable[..., Any], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    shout = "[error] \\x1b[2J\\x1b]0;owned\\x07\\r\\x9b31m all is well"
    program.write_text(
        f"#!{sys.executable} -IS\nimport sys\nif '-version' in sys.argv: print('ffmpeg version 1'); sys.exit(0)\n"
        f"sys.stderr.write('{shout}\\n'); sys.exit(1)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("DH_FFMPEG", str(program))
    video = tmp_path / "a\x1b[2J\nok: a, 10 frames\r\u202e.mp4"
    video.write_bytes(b"something")
    done = run("--audio", words, "--video", video, "--save-path", tmp_path / "out.mp4", "-v")
    assert done.returncode == 1
    assert not set(done.stderr) & {0x1B, 0x07, 0x0D}
    lines = done.stderr.decode().splitlines()
    assert not any(line.startswith("ok: a") for line in lines)
    assert "\u202e" not in done.stderr.decode()
    assert b"\x1b" not in (tmp_path / "out.mp4.json").read_bytes()
    assert stored(tmp_path / "out.mp4")["inputs"]["video"]["path"] == str(video)


@pytest.mark.parametrize("way", ["dots", "absolute", "link", "linked folder", "save_path", "save link", "photo"])
def test_no_path_leaves_the_root(way: str, run: Callable[..., Any], clip: Path, words: Path, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-and-more"
    root.mkdir()
    outside.mkdir()
    for folder in (root, outside):
        os.link(clip, folder / "v.mp4")
        os.link(words, folder / "a.wav")
    (root / "door").symlink_to(outside)
    (root / "link.mp4").symlink_to(outside / "v.mp4")
    job = {"audio": "a.wav", "video": "v.mp4", "save_path": "o.mp4"}
    job |= {
        "dots": {"video": "../root-and-more/v.mp4"},
        "absolute": {"audio": str(outside / "a.wav")},
        "link": {"video": "link.mp4"},
        "linked folder": {"audio": "door/a.wav"},
        "save_path": {"save_path": "x/../../root-and-more/o.mp4"},
        "save link": {"save_path": "door/o.mp4"},
        "photo": {"face": f"like:{outside / 'v.mp4'}"},
    }[way]
    before = sorted(outside.iterdir())
    done = run(write_manifest(root / "m.yaml", [job]), "--root", root)
    assert done.returncode == 65, done.stderr
    assert str(outside).encode() in done.stderr
    assert b"manifest.invalid" in done.stderr
    assert sorted(outside.iterdir()) == before
    assert not (root / "o.mp4.json").exists()


def test_everything_below_the_root_is_rendered_links_too(
    run: Callable[..., Any], clip: Path, words: Path, tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media/v.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "media/a.wav").write_bytes(words.read_bytes())
    (tmp_path / "today").symlink_to(tmp_path / "media")
    job = {"audio": "today/../media/a.wav", "video": "today/v.mp4", "save_path": "today/o.mp4"}
    done = run(write_manifest(tmp_path / "m.yaml", [job]), "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "media/o.mp4").exists()


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may read and write everything, so for this test it is somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own is for its owner alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_file_that_may_not_be_read(open_folder: Path, clip: Path, request: pytest.FixtureRequest) -> None:
    path = open_folder / "v.mp4"
    path.write_bytes(clip.read_bytes())
    path.chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(DhError) as caught:
        InputFile(path, "video")
    assert caught.value.code == "input.unreadable"
    assert str(path) in caught.value.message
    assert "User id" in caught.value.hint


def test_a_folder_that_may_not_be_written(open_folder: Path, request: pytest.FixtureRequest) -> None:
    open_folder.chmod(0o555)
    request.getfixturevalue("nobody")
    with pytest.raises(DhError) as caught:
        PartFile(open_folder / "out.mp4")
    assert caught.value.code == "output.not_writable"
    assert str(open_folder) in caught.value.message


def test_an_output_that_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.mp4")
    with pytest.raises(DhError) as caught:
        PartFile(tmp_path / "out.mp4")
    assert caught.value.code == "output.not_writable"
    assert "no regular file" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_manifest_that_is_edited_meanwhile_is_the_one_that_was_read(
    run: Callable[..., Any], fake_ffmpeg: Callable[..., Path], clip: Path, words: Path, tmp_path: Path, out: Path
) -> None:
    jobs = [{"audio": str(words), "video": str(clip), "save_path": f"out/{at}.mp4"} for at in range(2)]
    path = write_manifest(tmp_path / "m.yaml", jobs)
    fake_ffmpeg("scan", f"open({str(path)!r}, 'w').write('jobs: gone')\nreal()")
    done = run(path)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == "jobs: gone"
    assert {name.name for name in out.glob("*.mp4")} == {"0.mp4", "1.mp4"}
