"""The options `lead`, `tail`, `own_sound` and `keep` through the whole pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_video
from dhcli.results.result import JobResult
from dhcli.runtime.scope import Scope
from dhcli.types import Frame

Render = Callable[..., JobResult]


@pytest.mark.slow
def test_the_video_goes_on_around_the_speech(
    render: Render,
    speech: Path,
    avatar: Path,
    ffmpeg: Callable[..., None],
    decoded: Callable[..., list[Frame]],
    tmp_path: Path,
) -> None:
    sound, video, words = tmp_path / "short.wav", tmp_path / "short.mkv", tmp_path / "words.srt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,900\nhello\n")
    ffmpeg("-ss", 2, "-t", 0.4, "-i", speech, sound)
    tags = ("-metadata", "title=A talk", "-metadata", "location=+48+11/")
    hum, maps = ("-f", "lavfi", "-i", "sine=d=2"), ("-map", "0:v", "-map", "1", "-map", "2")
    ffmpeg("-i", avatar, *hum, "-i", words, *maps, "-frames:v", 30, "-t", 1.2, "-c:v", "ffv1", *tags, video)
    result = render(sound, video, crf=0, preset="ultrafast", lead=0.4, tail="0.4", own_sound="duck")
    assert result.status == "succeeded", result.error
    assert result.warnings == ()
    assert (result.options["lead"], result.options["own_sound"]) == (0.4, "duck")
    assert result.output is not None
    assert (result.output.frames, result.output.duration_s) == (30, 1.2)
    # Speech from frame 10 to 19; within 4 frames before and after it the mouth comes and goes.
    assert (result.frames.left, result.frames.left_ranges) == (12, ((0, 5), (24, 29)))
    new, old = decoded(tmp_path / "out.mp4", 400, 300), decoded(video, 400, 300)
    same = [np.array_equal(a.data, b.data) for a, b in zip(new, old, strict=True)]
    assert all(same[:6] + same[24:])
    assert not any(same[10:20])
    with InputFile(tmp_path / "out.mp4", "video") as file, Scope(stall_timeout_s=20) as scope:
        assert str(probe_video(scope, file).besides) == "1 subtitle track, a title"


@pytest.mark.slow
def test_a_video_without_sound_is_told(render: Render, speech: Path, avatar: Path) -> None:
    silent = render(speech, avatar, preset="ultrafast", own_sound="mix", trim="2-2.2")
    assert silent.status == "succeeded", silent.error
    codes = [warning.code for warning in silent.warnings]
    assert codes == ["audio.own_missing"], "the sample's video has no sound"
