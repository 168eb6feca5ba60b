"""Names, messages and descriptions of strangers, through the whole `dh render`: none is taken for more than it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.disk.part import PartFile
from dhcli.errors import DhError
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.input_file import InputFile

pytestmark = pytest.mark.slow

Ffmpeg = Callable[..., None]
CANARY = "canary-7f3a"


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


def test_any_name_is_audio_video_and_output(
    run: Callable[..., Any],
    clip: Path,
    words: Path,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    result_of: Callable[[Path], Any],
) -> None:
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
    assert all(result_of(folders[2] / f"{name}.mp4")["output"]["frames"] == 10 for name in NAMES.values())
    assert b"\x1b" not in done.stderr
    known = {"sound", "picture", "made", "m.yaml", "cache"}
    assert {path.name for path in tmp_path.iterdir()} <= known, "a shell or a pattern made a file"


@pytest.mark.parametrize("name", [b"-i\xff\xfe", b"\xe4%d:"])
def test_a_name_that_is_no_text(
    run: Callable[..., Any], clip: Path, words: Path, tmp_path: Path, name: bytes, result_of: Callable[[Path], Any]
) -> None:
    here = os.fsencode(tmp_path)
    os.link(words, here + b"/" + name + b".wav")
    os.link(clip, here + b"/" + name + b".avi")
    done = run(b"--audio=" + name + b".wav", b"--video=" + name + b".avi", b"--save-path=" + name + b".mp4")
    assert done.returncode == 0, done.stderr
    assert {name + b".mp4", name + b".mp4.json"} <= {os.fsencode(path.name) for path in tmp_path.iterdir()}
    assert result_of(Path(os.fsdecode(here + b"/" + name + b".mp4")))["status"] == "succeeded"


def test_names_that_look_like_addresses_are_files_that_are_missing(
    run: Callable[..., Any],
    visits: tuple[str, list[str]],
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    result_of: Callable[[Path], Any],
) -> None:
    address, seen = visits
    names = [f"http://{address}/a.mp4", "concat:a.ts|b.ts", "subfile,,start,0,end,9,,:a.mp4", "lavfi:testsrc", "pipe:0"]
    jobs = [{"audio": name, "video": name, "save_path": f"{at}.mp4"} for at, name in enumerate(names)]
    done = run(write_manifest(tmp_path / "m.yaml", jobs))
    assert done.returncode == 1, done.stderr
    codes = {result_of(tmp_path / f"{at}.mp4")["error"]["code"] for at in range(len(names))}
    assert codes == {"input.missing"}
    assert seen == []


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
    assert b"52.52" not in output.read_bytes()
    assert b"quicktime.model" not in output.read_bytes()
    done = run("--audio", source, "--video", source, "--save-path", output, "--set", "keep=none")
    assert done.returncode == 0, done.stderr
    assert CANARY.encode() not in output.read_bytes()
    assert b"52.52" not in output.read_bytes()
    said = subprocess.run([find_ffmpeg(), "-hide_banner", "-i", output], capture_output=True, text=True, check=False)
    assert re.findall(r"Stream #0:\d.*?: (\w+):", said.stderr) == ["Video", "Audio"]
    assert "Chapter" not in said.stderr
    assert "Synthetic media" in said.stderr


def test_names_and_messages_cannot_command_a_terminal_or_forge_a_line(
    run: Callable[..., Any],
    words: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result_of: Callable[[Path], Any],
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
    assert result_of(tmp_path / "out.mp4")["inputs"]["video"]["path"] == str(video)


def test_nothing_that_people_read_holds_what_commands_reorders_or_hides(
    run: Callable[..., Any], words: Path, tmp_path: Path, result_of: Callable[[Path], Any]
) -> None:
    evil = "\x7f\x85\x9b\xad\u034f\u061c\u115f\u200b\u2028\u202e\u2066\u3164\ufe0f\ufeff\U000e0041"
    video, output = tmp_path / f"ж{evil}.mp4", tmp_path / f"out{evil}.mp4"
    reports = ("--log-file", "log", "--junit", "xml")
    done = run("--audio", words, "--video", video, "--save-path", output, "-v", *reports)
    assert done.returncode == 1
    files = (tmp_path / "log", tmp_path / "xml", Path(f"{output}.json"))
    written = {path.name: path.read_bytes() for path in files}
    for name, data in {"stderr": done.stderr, **written}.items():
        text = data.decode()
        assert not set(text) & set(evil), name
        assert all(line.isprintable() for line in text.split("\n")), name
        assert "ж" in text, f"{name}: letters stay as they are"
    # A program finds the same names; people find them in the escapes of the terminal.
    assert str(video) in result_of(output)["error"]["message"]
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert next(line for line in log if line["event"] == "job_started")["paths"]["video"] == str(video)
    assert r"ж\x7f\x85\x9b" in (tmp_path / "xml").read_text()


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
    run: Callable[..., Any],
    fake_ffmpeg: Callable[..., Path],
    clip: Path,
    words: Path,
    tmp_path: Path,
    out: Path,
    write_manifest: Callable[..., Path],
) -> None:
    jobs = [{"audio": str(words), "video": str(clip), "save_path": f"out/{at}.mp4"} for at in range(2)]
    path = write_manifest(tmp_path / "m.yaml", jobs)
    fake_ffmpeg("scan", f"open({str(path)!r}, 'w').write('jobs: gone')\nreal()")
    done = run(path)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == "jobs: gone"
    assert {name.name for name in out.glob("*.mp4")} == {"0.mp4", "1.mp4"}
