"""What every family of painted faces does with odd jobs: the same as dh-base."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.results.result import read_result
from dhcli.runs.retry import Retry
from dhcli.types import Frame
from families.studio import SHARED, Studio, fake_ffmpeg, manifest, peak_bytes, psnr, succeeded

pytestmark = pytest.mark.slow

Decode = Callable[..., list[Frame]]
Ffmpeg = Callable[..., None]
SIZE = 400, 300
FACE = np.s_[120:240, 170:245]
"""Rows and columns of the avatar's face that lie in every family's crop."""
LIMIT_S = 60.0
each = pytest.mark.parametrize("family", SHARED)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def words(speech: Path, studio: Studio, ffmpeg: Ffmpeg) -> Path:
    """0.6 s of speech: 15 frames."""
    path = studio.folder / "words.wav"
    ffmpeg("-ss", 2, "-t", 0.6, "-i", speech, path)
    return path


@pytest.fixture(scope="module")
def five(avatar: Path, studio: Studio, ffmpeg: Ffmpeg) -> Path:
    """Five frames of the avatar, without loss."""
    path = studio.folder / "five.mkv"
    ffmpeg("-i", avatar, "-frames:v", 5, "-c:v", "ffv1", path)
    return path


@each
def test_a_short_video_goes_there_and_back(
    family: str, studio: Studio, words: Path, five: Path, decoded: Decode, tmp_path: Path
) -> None:
    """An echo is the same picture: whatever frame it is pasted into shows that the crop was that frame's."""
    result = succeeded(studio.render(words, five, tmp_path / "out.mp4", studio.model(family, "echo"), crf=0))
    assert result.frames.planned == result.frames.rendered == result.frames.encoded == 15
    new, old = decoded(tmp_path / "out.mp4", *SIZE), decoded(five, *SIZE)
    for index, frame in enumerate(new):
        there = old[[0, 1, 2, 3, 4, 3, 2, 1][index % 8]]
        assert psnr(frame.y[FACE].astype(float), there.y[FACE].astype(float)) >= 40, index
        assert np.array_equal(frame.y[:60], there.y[:60])


@each
def test_a_painted_face_stays_in_the_face(
    family: str, studio: Studio, words: Path, five: Path, decoded: Decode, tmp_path: Path
) -> None:
    result = succeeded(studio.render(words, five, tmp_path / "out.mp4", studio.model(family, "channels"), crf=0))
    assert result.environment.model is not None
    assert result.environment.model.name == studio.model(family, "channels")
    new, old = decoded(tmp_path / "out.mp4", *SIZE), decoded(five, *SIZE)
    assert np.abs(new[0].y[FACE].astype(int) - old[0].y[FACE]).max() > 10
    for plane, by in (("y", 1), ("u", 2), ("v", 2)):
        one, other = getattr(new[0], plane), getattr(old[0], plane)
        assert np.array_equal(one[: 60 // by], other[: 60 // by])
        assert np.array_equal(one[:, : 100 // by], other[:, : 100 // by])
        assert np.array_equal(one[:, 310 // by :], other[:, 310 // by :])


@each
def test_a_variable_rate_becomes_constant(
    family: str, studio: Studio, words: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    video = tmp_path / "vfr.mp4"
    ffmpeg("-i", avatar, "-t", 1, "-vf", "select='not(between(n,5,9))'", "-fps_mode", "vfr", video)
    result = succeeded(studio.render(words, video, tmp_path / "out.mp4", studio.model(family, "echo")))
    assert result.output is not None
    assert result.output.frames == math.ceil(Fraction(6, 10) * Fraction(result.output.fps))
    assert [warning.code for warning in result.warnings] == ["input.vfr"]


@each
def test_of_two_faces_the_chosen_one_speaks(
    family: str, studio: Studio, words: Path, avatar: Path, decoded: Decode, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    video, width = tmp_path / "two.mkv", 2 * SIZE[0]
    ffmpeg("-i", avatar, "-vf", "split[a][b];[b]hflip[c];[a][c]hstack", "-frames:v", 5, "-c:v", "ffv1", video)
    (old, *_) = decoded(video, width, SIZE[1])
    for face, half in (("left", slice(None, SIZE[0])), ("right", slice(SIZE[0], None))):
        output = tmp_path / f"{face}.mp4"
        model = studio.model(family, "channels")
        succeeded(studio.render(words, video, output, model, face=face, crf=0, limit_frames=2))
        (new, *_) = decoded(output, width, SIZE[1])
        other = slice(SIZE[0], None) if face == "left" else slice(None, SIZE[0])
        assert not np.array_equal(new.y[:, half], old.y[:, half])
        assert np.array_equal(new.y[:, other], old.y[:, other])


@each
def test_silence_is_told_and_one_picture(
    family: str, studio: Studio, five: Path, decoded: Decode, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    silence = tmp_path / "silence.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", 0.4, silence)
    result = succeeded(studio.render(silence, five, tmp_path / "out.mp4", studio.model(family, "rows"), crf=0))
    assert "audio.silent" in {warning.code for warning in result.warnings}
    shown = [frame.y[180:210, 195:215].astype(int) for frame in decoded(tmp_path / "out.mp4", *SIZE)]
    assert len(shown) == 10
    for there, back in ((0, 8), (1, 7), (2, 6), (3, 5), (1, 9)):
        assert np.abs(shown[there].mean() - shown[back].mean()) < 1.5, "the same frame, the same mouth"


@each
def test_a_face_that_is_gone_for_a_while_stays_as_filmed(
    family: str, studio: Studio, words: Path, avatar: Path, decoded: Decode, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    video = tmp_path / "gone.mkv"
    ffmpeg("-i", avatar, "-frames:v", 20, "-vf", "drawbox=t=fill:c=black:enable='lt(n,6)'", "-c:v", "ffv1", video)
    model = studio.model(family, "channels")
    result = succeeded(studio.render(words, video, tmp_path / "out.mp4", model, crf=0, max_face_missing=1))
    assert result.frames.face_missing_ranges == ((0, 5),)
    new, old = decoded(tmp_path / "out.mp4", *SIZE), decoded(video, *SIZE)
    assert all(np.array_equal(new[k].data, old[k].data) for k in range(6))
    assert not np.array_equal(new[12].data, old[12].data)


@each
def test_how_many_frames_are_asked_for_at_once_changes_no_pixel(
    family: str, studio: Studio, words: Path, five: Path, decoded: Decode, tmp_path: Path
) -> None:
    pictures = []
    for batch in (1, 3):
        output = tmp_path / f"{batch}.mp4"
        succeeded(studio.render(words, five, output, studio.model(family, "channels"), crf=0, batch=batch))
        pictures.append(decoded(output, *SIZE))
    for one, other in zip(*pictures, strict=True):
        assert np.abs(one.data.astype(int) - other.data).max() <= 1


def test_a_video_is_analysed_once_for_all_families(words: Path, avatar: Path, tmp_path: Path) -> None:
    own = Studio(tmp_path / "own")
    video = tmp_path / "video.mp4"
    video.write_bytes(avatar.read_bytes())
    models = ["dh-base", *(own.model(family, "echo") for family in SHARED)]
    found = [own.render(words, video, tmp_path / f"{name}.mp4", name, limit_frames=3) for name in models]
    assert [succeeded(result).analysis for result in found] == ["made", *["cached"] * len(SHARED)]


@each
def test_the_same_job_gives_the_same_bytes_and_is_recognised(
    family: str, studio: Studio, words: Path, five: Path, tmp_path: Path
) -> None:
    output, hashes = tmp_path / "out.mp4", []
    for if_exists in ("overwrite", "overwrite", "skip"):
        succeeded(studio.render(words, five, output, studio.model(family, "rows"), if_exists=if_exists))
        hashes.append((hashlib.sha256(output.read_bytes()).hexdigest(), output.stat().st_mtime_ns))
    assert hashes[0][0] == hashes[1][0]
    assert hashes[1] == hashes[2], "up to date"
    succeeded(studio.render(words, five, output, studio.model(family, "echo")))
    assert output.stat().st_mtime_ns != hashes[2][1], "another model, another output"


@each
def test_a_transient_error_is_tried_once_more(
    family: str, studio: Studio, words: Path, five: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DH_FFMPEG", str(fake_ffmpeg(tmp_path, "sys.exit(3)", 1)))
    waits: list[float] = []
    retry = Retry(1, dice=lambda: 0.5, pause=waits.append)
    result = succeeded(studio.render(words, five, tmp_path / "out.mp4", studio.model(family, "echo"), retry=retry))
    assert (result.attempt, len(waits)) == (2, 1)
    assert [earlier.code for earlier in result.earlier_attempts] == ["encode.failed"]


@each
def test_a_killed_run_goes_on_where_it_was(
    family: str, studio: Studio, words: Path, five: Path, tmp_path: Path
) -> None:
    """Killed while it encodes the second of three videos: the first one is kept, the others are rendered."""
    name = studio.model(family, "rows")
    job = {"audio": str(words), "video": str(five), "model": name, "preset": "ultrafast"}
    night = manifest(tmp_path, [job | {"save_path": f"{out}.mp4"} for out in "abc"])
    command = studio.command(night)
    now = tmp_path / "now"
    behaviour = f"open({str(now)!r}, 'w').close(); os.read(0, 1); time.sleep(600)"
    environment = {**os.environ, "DH_FFMPEG": str(fake_ffmpeg(tmp_path, behaviour, 2))}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + LIMIT_S
        while not now.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert now.exists()
    first = (tmp_path / "a.mp4").stat().st_mtime_ns
    ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    statuses = {
        event["job_id"]: event["status"]
        for event in map(json.loads, ended.stdout.splitlines())
        if event["event"] == "job_finished"
    }
    assert statuses == {"a": "skipped", "b": "succeeded", "c": "succeeded"}
    assert (tmp_path / "a.mp4").stat().st_mtime_ns == first
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "no part and no lock is left"
    again = read_result(tmp_path / "b.mp4.json")
    assert again is not None
    assert again.frames.encoded == 15


@pytest.mark.timeout(300)
@each
def test_memory_does_not_grow_with_the_speech(
    family: str, studio: Studio, speech: Path, avatar: Path, ffmpeg: Ffmpeg
) -> None:
    """Ten minutes of speech over a clip of one frame a second; a row of sound each 10 ms would be 20 to 120 MB."""
    video = studio.folder / "slow.mp4"
    if not video.exists():
        ffmpeg("-i", avatar, "-vf", "fps=1,scale=200:150", "-c:v", "libx264", "-preset", "ultrafast", video)
    peaks = []
    for minutes in (1, 10):
        sound = studio.folder / f"{minutes}.wav"
        if not sound.exists():
            ffmpeg("-stream_loop", -1, "-i", speech, "-t", 60 * minutes, sound)
        output = studio.folder / f"{family}{minutes}.mp4"
        files = ["--audio", sound, "--video", video, "--save-path", output, "--set", "preset=ultrafast"]
        peaks.append(peak_bytes(studio.command(*files, "--set", f"model={studio.model(family, 'echo')}")))
        result = read_result(Path(f"{output}.json"))
        assert result is not None
        assert result.frames.encoded == 60 * minutes
    assert peaks[1] < peaks[0] + (24 << 20), peaks
