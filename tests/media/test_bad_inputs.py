"""Inputs that cannot be rendered: each says what is wrong with which file, under its own code."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.media.info import AudioInfo, VideoInfo, frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.reader import read_frames
from dhcli.runtime.scope import Scope, Stopped

Make = Callable[..., Path]
Video = Callable[[Path], VideoInfo]
Audio = Callable[[Path], AudioInfo]
Decode = Callable[[Path], SimpleNamespace]
HANGS = Path(__file__).parents[1] / "faults" / "media" / "hang_sample.mp4"
TEST_PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=4")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def failure(call: Callable[[Path], object], path: Path) -> DhError:
    with pytest.raises(DhError) as caught:
        call(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_missing(video: Video, tmp_path: Path) -> None:
    assert failure(video, tmp_path / "none.mp4").code == "input.missing"
    assert failure(video, tmp_path / "none" / "none.mp4").code == "input.missing"


def test_folder_pipe_and_device(video: Video, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket.mp4"))
    for path in (tmp_path, tmp_path / "pipe.mp4", tmp_path / "socket.mp4", Path("/dev/zero")):
        assert failure(video, path).code == "input.not_regular"
    listener.close()


def test_empty(video: Video, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert failure(video, path).code == "input.empty"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(video: Video, tmp_path: Path) -> None:
    path = tmp_path / "secret.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    assert failure(video, path).code == "input.unreadable"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"just some words\n" * 50, "just some words"),
        (b"<!DOCTYPE html><html><body>404</body></html>" * 9, "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (np.random.default_rng(1).bytes(5000), "begins with"),
    ],
)
def test_not_media(video: Video, audio: Audio, tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    for look in (video, audio):
        error = failure(look, path)
        assert error.code == "input.not_media"
        assert kind in error.hint


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{canary}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{canary}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>file://{canary}</BaseURL></MPD>',
    ],
    ids=["hls", "concat", "sdp", "dash"],
)
def test_playlists_read_no_other_file(make: Make, video: Video, tmp_path: Path, text: str) -> None:
    canary = make("canary.ts", *TEST_PICTURE, *X264)
    path = tmp_path / "evil.mp4"
    path.write_text(text.format(canary=canary))
    assert failure(video, path).code in ("input.unsupported", "input.not_media")


def test_no_video_lists_the_streams(make: Make, video: Video) -> None:
    path = make("tone.m4a", "-f", "lavfi", "-i", "sine=d=0.5")
    error = failure(video, path)
    assert error.code == "input.no_video"
    assert "streams: 1 audio aac" in error.message


def test_cover_picture_is_no_video(make: Make, video: Video) -> None:
    cover = make("cover.png", *TEST_PICTURE, "-frames:v", "1")
    tagged = ("-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    path = make("song.mp3", "-f", "lavfi", "-i", "sine=d=0.5", "-i", cover, *tagged)
    assert failure(video, path).code == "input.no_video"


def test_no_audio_lists_the_streams(make: Make, audio: Audio) -> None:
    error = failure(audio, make("mute.mp4", *TEST_PICTURE, *X264))
    assert error.code == "input.no_audio"
    assert "streams: 1 video h264" in error.message


def test_no_frames(make: Make, video: Video) -> None:
    header = (*TEST_PICTURE, "-frames:v", "0", "-c:v", "mpeg4")
    assert failure(video, make("none.avi", *header)).code == "input.no_frames"
    assert failure(video, make("none.mp4", *header)).code == "input.no_video"


def test_cut_video_says_how_much_is_left(make: Make, video: Video, tmp_path: Path) -> None:
    whole = make("whole.mp4", *TEST_PICTURE, *X264, "-movflags", "+faststart").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    error = failure(video, path)
    assert error.code == "input.truncated"
    assert "of 100 frames" in error.message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole.mkv", "whole.webm", "whole.avi"])
def test_cut_video_in_other_containers(make: Make, decode: Decode, tmp_path: Path, name: str) -> None:
    codec = ("-c:v", "libvpx", "-b:v", "500k") if name.endswith("webm") else X264
    whole = make(name, *TEST_PICTURE, *codec).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) * 6 // 10])
    assert failure(decode, path).code in ("input.truncated", "input.corrupt")


def test_recording_without_index(make: Make, video: Video, tmp_path: Path) -> None:
    path = tmp_path / "camera.mp4"
    path.write_bytes(make("whole.mp4", *TEST_PICTURE, *X264).read_bytes()[:4000])
    error = failure(video, path)
    assert error.code == "input.corrupt"
    assert "not closed" in error.hint


def test_damaged_data(make: Make, decode: Decode, tmp_path: Path) -> None:
    data = bytearray(make("whole.mp4", *TEST_PICTURE, *X264, "-movflags", "+faststart").read_bytes())
    start = data.index(b"mdat") + 4000
    data[start : start + 4000] = np.random.default_rng(3).bytes(4000)  # several frames: inside of one it may fit
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    got = decode(path)
    assert len(got.frames) == 100
    assert "of its 100 pictures are" in got.remarks["input.damaged"]


def test_video_that_hangs_a_strict_decoder(decode: Decode) -> None:
    assert "of its 84 pictures are" in decode(HANGS).remarks["input.damaged"]


@pytest.mark.slow
def test_too_many_pixels(make: Make, video: Video) -> None:
    path = make("bomb.png", "-f", "lavfi", "-i", "color=black:s=16000x8000,format=gray", "-frames:v", "1")
    error = failure(video, path)
    assert error.code == "input.too_large"
    assert "16000x8000" in error.message


def test_cut_png(make: Make, decode: Decode, tmp_path: Path) -> None:
    whole = make("whole.png", *TEST_PICTURE, "-frames:v", "1").read_bytes()
    path = tmp_path / "cut.png"
    path.write_bytes(whole[: len(whole) // 2])
    assert failure(decode, path).code in ("input.truncated", "input.corrupt")


def test_changed_input_is_noticed(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "growing.mp4"
    path.write_bytes(clip.read_bytes())
    with InputFile(path, "video") as file:
        file.check_unchanged()
        with path.open("ab") as more:
            more.write(b"x")
        with pytest.raises(DhError) as caught:
            file.check_unchanged()
    assert caught.value.code == "input.changed"


def test_replaced_input_stays_the_opened_one(scope: Scope, clip: Path, video: Video, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(clip.read_bytes())
    info = video(path)
    with InputFile(path, "video") as file:
        path.unlink()
        path.write_bytes(b"something else")
        assert len(list(read_frames(scope, file, info, frame_format(info)))) == 25
        file.check_unchanged()


def fake_ffmpeg(folder: Path, script: str) -> str:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("kill -9 $$", "SIGKILL"),
        ("echo '[fatal] out of luck' >&2; exit 3", "exit code 3, out of luck"),
        ("printf 'YUV4MPEG2 W96 H64 F25:1\\nFRAME\\nabc'; kill -9 $$", "0 of 25 frames"),
        ("printf 'YUV4MPEG2 W96 H64 F25:1\\nFRAMEabc\\n'; exec sleep 60", "lost step"),
        ("printf 'YUV4MPEG2 W64 H96 F25:1\\nFRAME\\n'; exec sleep 60", "64x96"),
    ],
)
def test_decoder_that_fails(
    scope: Scope, clip: Path, video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, text: str
) -> None:
    info = video(clip)
    monkeypatch.setenv("DH_FFMPEG", fake_ffmpeg(tmp_path, script))
    with InputFile(clip, "video") as file, pytest.raises(DhError) as caught:
        list(read_frames(scope, file, info, frame_format(info)))
    assert caught.value.code == "decode.failed"
    assert text in caught.value.message


def test_decoder_that_ends_early_without_a_word(
    scope: Scope, clip: Path, video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = video(clip)
    short = f"printf 'YUV4MPEG2 W96 H64 F25:1\\nFRAME\\n'; head -c {96 * 96} /dev/zero; exit 0"
    monkeypatch.setenv("DH_FFMPEG", fake_ffmpeg(tmp_path, short))
    with InputFile(clip, "video") as file, pytest.raises(DhError) as caught:
        list(read_frames(scope, file, info, frame_format(info)))
    assert caught.value.code == "input.truncated"
    assert "1 of 25 frames" in caught.value.message


def test_decoder_that_gives_too_much(
    scope: Scope, clip: Path, video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = video(clip)
    frame = f"printf 'FRAME\\n'; head -c {96 * 96} /dev/zero;"
    monkeypatch.setenv("DH_FFMPEG", fake_ffmpeg(tmp_path, "printf 'YUV4MPEG2 W96 H64 F25:1\\n';" + frame * 26))
    with InputFile(clip, "video") as file, pytest.raises(DhError) as caught:
        list(read_frames(scope, file, info, frame_format(info)))
    assert caught.value.code == "input.corrupt"
    assert "26 frames" in caught.value.message


def test_an_error_elsewhere_frees_a_reader_that_waits(
    scope: Scope, clip: Path, video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = video(clip)
    monkeypatch.setenv("DH_FFMPEG", fake_ffmpeg(tmp_path, "printf 'YUV4MPEG2 W96 H64 F25:1\\nFRAME\\n'; exec sleep 60"))
    cause = DhError("encode.failed", "the disk is gone")
    threading.Timer(0.1, lambda: scope.fail(cause, "encode")).start()
    with InputFile(clip, "video") as file, pytest.raises(Stopped):
        list(read_frames(scope, file, info, frame_format(info)))
    assert scope.error is cause
