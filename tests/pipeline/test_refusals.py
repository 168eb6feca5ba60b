"""Bad input: the right code, a message with the file's name, and nothing written but the result."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dhcli.events import Event, JobFinished, Summary
from dhcli.results.result import JobResult

Render = Callable[..., JobResult]
Ffmpeg = Callable[..., None]


def make(kind: str, folder: Path, ffmpeg: Ffmpeg, avatar: Path, speech: Path) -> tuple[Path, Path]:
    """Audio and video of a job that must fail."""
    bad = folder / f"{kind}.bin"
    match kind:
        case "missing":
            return speech, folder / "nowhere.mp4"
        case "folder":
            return speech, folder
        case "fifo":
            os.mkfifo(bad)
            return speech, bad
        case "empty":
            bad.touch()
            return speech, bad
        case "text":
            bad.write_text("<!doctype html><title>404</title>" * 20)
            return speech, bad
        case "no_video":
            return speech, speech
        case "no_audio":
            return avatar, avatar
        case "truncated":
            whole = folder / "whole.mp4"
            ffmpeg("-i", avatar, "-c", "copy", "-movflags", "+faststart", whole)
            bad.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
            return speech, bad
        case "unfinished":
            bad.write_bytes(avatar.read_bytes()[:4000])
            return speech, bad
        case "too_short":
            ffmpeg("-i", speech, "-af", "atrim=end_sample=200", "-f", "wav", bad)
            return bad, avatar
        case "no_face":
            ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=1", "-f", "matroska", bad)
            return speech, bad
        case "tiny_face":
            ffmpeg("-i", avatar, "-t", 1, "-vf", "scale=64:48", "-f", "matroska", bad)
            return speech, bad
    raise AssertionError(kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("missing", {"input.missing"}),
        ("folder", {"input.not_regular"}),
        ("fifo", {"input.not_regular"}),
        ("empty", {"input.empty"}),
        ("text", {"input.not_media"}),
        ("no_video", {"input.no_video"}),
        ("no_audio", {"input.no_audio"}),
        ("truncated", {"input.truncated"}),
        ("unfinished", {"input.corrupt", "input.truncated"}),
        ("too_short", {"audio.too_short"}),
        ("no_face", {"face.not_found"}),
        ("tiny_face", {"face.too_small", "face.not_found"}),
    ],
)
def test_bad_input(
    kind: str,
    codes: set[str],
    render: Render,
    ffmpeg: Ffmpeg,
    avatar: Path,
    speech: Path,
    tmp_path: Path,
    events: list[Event],
) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    audio, video = make(kind, inputs, ffmpeg, avatar, speech)
    result = render(audio, video, save_path=outputs / "out.mp4")
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.code in codes
    assert result.error.hint
    assert str(video) in result.error.message or str(audio) in result.error.message
    assert [path.name for path in outputs.iterdir()] == ["out.mp4.json"], "no output, no part file, no lock"
    finished = [event for event in events if isinstance(event, JobFinished)]
    assert [event.code for event in finished] == [result.error.code]
    assert isinstance(events[-1], Summary)
    assert events[-1].exit_code == 1


def test_no_face_says_how_many_frames_were_searched(
    render: Render, ffmpeg: Ffmpeg, speech: Path, tmp_path: Path
) -> None:
    video = tmp_path / "pattern.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=1", video)
    result = render(speech, video)
    assert result.error is not None
    assert "25 frames" in result.error.message


@pytest.mark.slow
def test_a_face_lost_too_often(render: Render, ffmpeg: Ffmpeg, speech: Path, avatar: Path, tmp_path: Path) -> None:
    video = tmp_path / "gone.mkv"
    ffmpeg("-i", avatar, "-frames:v", 40, "-vf", "drawbox=t=fill:c=black:enable='gte(n,20)'", "-c:v", "ffv1", video)
    result = render(speech, video, max_face_missing=0.4)
    assert result.error is not None
    assert result.error.code == "face.lost"
    assert (result.error.stage, result.error.frame) == ("analyse", 20)
    assert "20 of 40 frames (limit 40 %): 20-39" in result.error.message


@pytest.mark.slow
def test_any_missing_frame_fails_where_that_is_asked_for(
    render: Render, ffmpeg: Ffmpeg, speech: Path, avatar: Path, tmp_path: Path
) -> None:
    video = tmp_path / "gone.mkv"
    ffmpeg("-i", avatar, "-frames:v", 40, "-vf", "drawbox=t=fill:c=black:enable='lt(n,12)'", "-c:v", "ffv1", video)
    result = render(speech, video, on_no_face="fail")
    assert result.error is not None
    assert result.error.code == "face.lost"


def test_a_video_shorter_than_the_speech_may_not_loop(
    render: Render, ffmpeg: Ffmpeg, speech: Path, avatar: Path, tmp_path: Path
) -> None:
    video = tmp_path / "short.mp4"
    ffmpeg("-i", avatar, "-t", 1, "-c", "copy", video)
    result = render(speech, video, loop="error")
    assert result.error is not None
    assert result.error.code == "input.too_short"


@pytest.mark.parametrize("there", ["missing folder", "folder", "link", "foreign file"])
def test_an_output_that_cannot_be(there: str, render: Render, speech: Path, avatar: Path, tmp_path: Path) -> None:
    output = tmp_path / "sub" / "out.mp4"
    results = tmp_path / "results"
    if there != "missing folder":
        output.parent.mkdir()
    if there == "folder":
        output.mkdir()
    if there == "link":
        output.symlink_to(tmp_path / "target.mp4")
    if there == "foreign file":
        output.write_bytes(b"precious")
    result = render(speech, avatar, save_path=output, results_dir=results)
    assert result.error is not None
    expected = "output.exists" if there == "foreign file" else "output.not_writable"
    if there in {"folder", "link"}:
        assert result.error.code in {"output.exists", "output.not_writable"}
    else:
        assert result.error.code == expected
    assert str(output) in result.error.message
    if there == "foreign file":
        assert output.read_bytes() == b"precious"
    if there == "link":
        assert output.is_symlink()
