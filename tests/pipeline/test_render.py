"""Whole jobs on a real person: what comes out is what was planned, and the lips follow the speech."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.results.result import JobResult
from dhcli.types import F64, Frame

MPEG4_PICTURE = b"\0\0\1\xb6"
"""The start code of a picture in MPEG-4 part 2."""
Render = Callable[..., JobResult]
Ffmpeg = Callable[..., None]
Decode = Callable[..., list[Frame]]


@pytest.fixture(scope="module")
def short(speech: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """0.7 s of speech."""
    path = tmp_path_factory.mktemp("sound") / "short.wav"
    ffmpeg("-ss", 2, "-t", 0.7, "-i", speech, path)
    return path


def succeeded(result: JobResult) -> JobResult:
    assert result.status == "succeeded", result.error
    return result


def size(result: JobResult) -> tuple[int, int, int]:
    assert result.output is not None
    return result.output.width, result.output.height, result.output.frames


def mouth(frame: Frame) -> F64:
    """The part of the avatar's picture where its mouth is."""
    return frame.y[155:215, 165:240].astype(np.float64)


def test_the_whole_way(render: Render, short: Path, avatar: Path, decoded: Decode, tmp_path: Path) -> None:
    result = succeeded(render(short, avatar, label="hello"))
    assert size(result) == (400, 300, 18)
    assert result.output is not None
    assert (result.output.fps, result.output.audio_codec) == ("25/1", "aac")
    assert result.frames.planned == result.frames.decoded == result.frames.rendered == result.frames.encoded == 18
    assert result.options["label"] == "hello"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]
    new, old = decoded(tmp_path / "out.mp4", 400, 300), decoded(avatar, 400, 300, "-frames:v", "18")
    lips = max(np.abs(mouth(a) - mouth(b)).mean() for a, b in zip(new, old, strict=True))
    hair = max(np.abs(a.y[:80].astype(float) - b.y[:80]).mean() for a, b in zip(new, old, strict=True))
    assert lips > 3 * hair, "the mouth moves, all else is the encoder's loss"


@pytest.mark.slow
def test_outside_the_window_every_pixel_is_the_sources(
    render: Render, short: Path, avatar: Path, decoded: Decode, tmp_path: Path
) -> None:
    succeeded(render(short, avatar, crf=0, preset="ultrafast"))  # x264's crf 0 is lossless
    new, old = decoded(tmp_path / "out.mp4", 400, 300), decoded(avatar, 400, 300, "-frames:v", "18")
    outside = np.ones((300, 400), bool)
    outside[110:280, 110:290] = False
    for a, b in zip(new, old, strict=True):
        assert np.array_equal(a.y[outside], b.y[outside])
        assert np.array_equal(a.u[outside[::2, ::2]], b.u[outside[::2, ::2]])
        assert np.array_equal(a.v[outside[::2, ::2]], b.v[outside[::2, ::2]])
        assert not np.array_equal(a.y, b.y)


@pytest.mark.slow
def test_how_many_frames_are_asked_for_at_once_changes_no_pixel(
    render: Render, short: Path, avatar: Path, decoded: Decode, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    """Also where frames without the face stand between the others, and batches are not full."""
    video = tmp_path / "gaps.mp4"
    dark = "drawbox=enable='between(n,5,6)+between(n,13,13)':color=black:t=fill"
    ffmpeg("-i", avatar, "-frames:v", 18, "-vf", dark, "-c:v", "libx264", "-crf", 10, "-preset", "ultrafast", video)
    pictures = {}
    for batch in (1, 2, 3, 4):
        how = {"batch": batch, "if_exists": "overwrite", "max_face_missing": 0.5}
        succeeded(render(short, video, crf=0, preset="ultrafast", **how))
        pictures[batch] = decoded(tmp_path / "out.mp4", 400, 300)
    for batch in (2, 3, 4):
        for one, other in zip(pictures[1], pictures[batch], strict=True):
            assert np.abs(one.data.astype(int) - other.data).max() <= 1, batch


@pytest.mark.slow
@pytest.mark.parametrize("fps", ["30000/1001", "24000/1001", "50", "60"])
def test_the_frame_rate_stays(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path, fps: str
) -> None:
    video = tmp_path / "rate.mp4"
    ffmpeg("-i", avatar, "-t", 0.5, "-r", fps, "-c:v", "libx264", "-preset", "ultrafast", video)
    result = succeeded(render(short, video))
    rate = Fraction(fps)
    assert result.output is not None
    assert Fraction(result.output.fps) == rate
    assert result.output.frames == math.ceil(Fraction(7, 10) * rate)


@pytest.mark.slow
def test_lips_keep_in_time_to_the_last_second(
    render: Render, speech: Path, avatar: Path, ffmpeg: Ffmpeg, decoded: Decode, tmp_path: Path
) -> None:
    """The same words 32 s later move the mouth 959 frames later: 30000/1001 taken for 30 would make it 960."""
    still, sound = tmp_path / "still.mp4", tmp_path / "sound.wav"
    ffmpeg("-loop", 1, "-framerate", "30000/1001", "-t", 0.2, "-i", _first_frame(avatar, ffmpeg, tmp_path), still)
    ffmpeg("-i", speech, "-af", "atrim=1:3,asetpts=PTS-STARTPTS,apad=whole_dur=4,aloop=9:size=64000", sound)
    result = succeeded(render(sound, still, loop="hold", preset="ultrafast"))
    assert result.output is not None
    assert result.output.frames == math.ceil(40 * Fraction(30000, 1001))
    frames = decoded(tmp_path / "out.mp4", 400, 300)
    rest = mouth(frames[110])  # 3.7 s: nobody speaks
    opening = np.array([np.abs(mouth(frame) - rest).mean() for frame in frames])
    early = opening[115:235]
    lags = {lag: np.corrcoef(early, opening[115 + lag : 235 + lag])[0, 1] for lag in range(955, 964)}
    assert max(lags, key=lambda lag: lags[lag]) == 959, lags
    assert opening[100:115].max() < 0.2 * early.max(), "the mouth rests while nobody speaks"


def _first_frame(video: Path, ffmpeg: Ffmpeg, folder: Path) -> Path:
    picture = folder / "first.png"
    ffmpeg("-i", video, "-frames:v", 1, picture)
    return picture


@pytest.mark.slow
def test_a_still_image_speaks(render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    result = succeeded(render(short, _first_frame(avatar, ffmpeg, tmp_path)))
    assert size(result) == (400, 300, 18)


@pytest.mark.slow
@pytest.mark.parametrize(("degrees", "transpose"), [(90, "clock"), (270, "cclock")])
def test_a_rotated_phone_video_is_upright(
    render: Render,
    short: Path,
    avatar: Path,
    ffmpeg: Ffmpeg,
    decoded: Decode,
    tmp_path: Path,
    degrees: int,
    transpose: str,
) -> None:
    lying, video = tmp_path / "lying.mp4", tmp_path / "rotated.mp4"
    ffmpeg("-i", avatar, "-t", 0.4, "-vf", f"transpose={transpose}", "-c:v", "libx264", "-preset", "ultrafast", lying)
    ffmpeg("-display_rotation", degrees, "-i", lying, "-c", "copy", video)
    result = succeeded(render(short, video))
    assert size(result) == (400, 300, 18)
    new, old = decoded(tmp_path / "out.mp4", 400, 300)[0], decoded(avatar, 400, 300, "-frames:v", "1")[0]
    assert np.abs(new.y[:80].astype(float) - old.y[:80]).mean() < 4, "the top of the picture is the top"


@pytest.mark.slow
def test_a_variable_rate_becomes_constant(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    video = tmp_path / "vfr.mp4"
    ffmpeg("-i", avatar, "-t", 2, "-vf", "select='not(between(n,10,20))'", "-fps_mode", "vfr", video)
    result = succeeded(render(short, video))
    assert size(result) == (400, 300, math.ceil(Fraction(7, 10) * Fraction(result.output.fps if result.output else 0)))
    assert [warning.code for warning in result.warnings] == ["input.vfr"]


@pytest.mark.slow
def test_an_odd_size_is_padded_by_one(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    video = tmp_path / "odd.mkv"
    ffmpeg("-i", avatar, "-t", 0.4, "-vf", "crop=371:287:0:0:exact=1", "-c:v", "ffv1", "-pix_fmt", "yuv444p", video)
    result = succeeded(render(short, video))
    assert size(result) == (372, 288, 18)
    assert "input.padded" in {warning.code for warning in result.warnings}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sound", "codec"),
    [
        (["-ac", "6", "-ar", "48000", "-c:a", "flac", "5.1.mka"], "aac"),
        (["-ar", "8000", "-c:a", "pcm_s16le", "8k.wav"], "aac"),
        (["-ar", "44100", "-c:a", "libmp3lame", "music.mp3"], "mp3"),
        (["-c:a", "aac", "speech.m4a"], "aac"),
    ],
)
def test_any_sound(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path, sound: list[str], codec: str
) -> None:
    audio = tmp_path / sound[-1]
    ffmpeg("-i", short, *sound[:-1], audio)
    result = succeeded(render(audio, avatar))
    assert result.inputs.audio is not None
    assert result.inputs.audio.duration_s is not None
    duration = result.inputs.audio.duration_s
    assert duration == pytest.approx(0.7, abs=0.06), "MP3 and AAC fill their last packet"
    assert size(result) == (400, 300, math.ceil(round(duration * 25, 6)))
    assert result.output is not None
    assert result.output.audio_codec == codec


@pytest.mark.slow
def test_the_sound_of_a_video_is_a_speech(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    both = tmp_path / "both.mp4"
    ffmpeg("-i", avatar, "-i", short, "-shortest", "-c:v", "copy", both)
    assert size(succeeded(render(both, both)))[2] in {18, 19}


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["pingpong", "restart", "hold"])
def test_a_short_video_goes_on(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, decoded: Decode, tmp_path: Path, loop: str
) -> None:
    video = tmp_path / "five.mkv"
    ffmpeg("-i", avatar, "-frames:v", 5, "-c:v", "ffv1", video)
    succeeded(render(short, video, loop=loop, crf=0, preset="ultrafast"))
    new, old = decoded(tmp_path / "out.mp4", 400, 300), decoded(video, 400, 300)
    order = {"pingpong": [0, 1, 2, 3, 4, 3, 2, 1], "restart": [0, 1, 2, 3, 4], "hold": [0, 1, 2, 3] + [4] * 14}[loop]
    for index, frame in enumerate(new):
        assert np.array_equal(frame.y[:80], old[order[index % len(order)]].y[:80]), index


@pytest.mark.slow
def test_a_part_of_the_speech(render: Render, speech: Path, avatar: Path) -> None:
    result = succeeded(render(speech, avatar, trim="1.5-2.1"))
    assert size(result)[2] == 15


@pytest.mark.slow
def test_frames_without_the_face_pass_through(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, decoded: Decode, tmp_path: Path
) -> None:
    video = tmp_path / "gone.mkv"
    ffmpeg("-i", avatar, "-frames:v", 40, "-vf", "drawbox=t=fill:c=black:enable='lt(n,14)'", "-c:v", "ffv1", video)
    result = succeeded(render(short, video, crf=0, preset="ultrafast", max_face_missing=1))
    assert result.frames.face_missing == 14
    assert result.frames.face_missing_ranges == ((0, 13),)
    new, old = decoded(tmp_path / "out.mp4", 400, 300), decoded(video, 400, 300)
    assert all(np.array_equal(new[i].data, old[i].data) for i in range(14))
    assert not np.array_equal(new[17].data, old[17].data)


def test_frames_with_a_covered_mouth_pass_through(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, decoded: Decode, tmp_path: Path
) -> None:
    video = tmp_path / "cup.mkv"
    cup = "drawbox=x=185:y=180:w=52:h=66:t=fill:c=white:enable='between(n,9,13)'"
    ffmpeg("-i", avatar, "-frames:v", 18, "-vf", cup, "-c:v", "ffv1", video)
    result = succeeded(render(short, video, crf=0, preset="ultrafast"))
    assert (result.frames.mouth_covered, result.frames.mouth_covered_ranges) == (11, ((6, 16),))
    (warning,) = result.warnings
    assert warning.code == "mouth.covered"
    assert "in 11 of 18 frames; they stay as they are: 6-16." in warning.message
    new, old = decoded(tmp_path / "out.mp4", 400, 300), decoded(video, 400, 300)
    same = [np.array_equal(a.data, b.data) for a, b in zip(new, old, strict=True)]
    assert same == [6 <= i <= 16 for i in range(18)]


def test_a_trim_beyond_the_end_is_told(render: Render, speech: Path, avatar: Path) -> None:
    """The speech has 7.1 s; a time that is rounded up by less than a frame is none."""
    for trim, expected in (("6-9", ["audio.short"]), ("6-7.12", []), ("6-", [])):
        result = succeeded(render(speech, avatar, limit_frames=2, if_exists="overwrite", trim=trim))
        assert [warning.code for warning in result.warnings] == expected
        if expected:
            assert "trim goes to 9 s, but the sound has 7.1" in result.warnings[0].message


def test_a_stretch_beyond_the_end_is_told(render: Render, short: Path, avatar: Path) -> None:
    result = succeeded(render(short, avatar, leave="0.1-0.2, 5-6", preset="ultrafast"))
    (warning,) = result.warnings
    assert warning.code == "audio.short"
    assert "leave has a stretch from 5 s on, but the output ends at 0." in warning.message


def test_noise_in_the_pauses_is_told(
    render: Render, speech: Path, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    """Pink noise some 13 dB below the speech, or alone: the result says so. Without it there is nothing to say."""
    for amplitude, expected in ((0.0, []), (0.1, ["audio.noisy"])):
        noise, sound = f"anoisesrc=c=pink:a={amplitude}:r=16000:d=4:seed=1", tmp_path / "noisy.wav"
        mix = "[0]atrim=0:2,apad=pad_dur=2[voice];[voice][1]amix=normalize=0"
        ffmpeg("-i", speech, "-f", "lavfi", "-i", noise, "-filter_complex", mix, "-y", sound)
        result = succeeded(render(sound, avatar, limit_frames=2, if_exists="overwrite"))
        assert [warning.code for warning in result.warnings] == expected
    assert re.search(r"only 1[234] dB quieter than the speech", result.warnings[0].message)
    ffmpeg("-f", "lavfi", "-i", noise, "-y", sound)
    (warning,) = succeeded(render(sound, avatar, limit_frames=2, if_exists="overwrite")).warnings
    assert warning.code == "audio.noisy"
    assert "and no speech" in warning.message


@pytest.mark.slow
def test_gain_scales_the_movement(
    render: Render, short: Path, avatar: Path, ffmpeg: Ffmpeg, decoded: Decode, tmp_path: Path
) -> None:
    picture = _first_frame(avatar, ffmpeg, tmp_path)
    moves = []
    for gain in (0, 1):
        succeeded(render(short, picture, gain=gain, if_exists="overwrite"))
        frames = decoded(tmp_path / "out.mp4", 400, 300)
        moves.append(max(np.abs(mouth(frame) - mouth(frames[0])).mean() for frame in frames))
    assert moves[0] < 0.3 * moves[1]


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1])
def test_the_face_of_a_photo(
    place: int,
    render: Render,
    short: Path,
    avatar: Path,
    repository: Path,
    ffmpeg: Ffmpeg,
    decoded: Decode,
    tmp_path: Path,
) -> None:
    """Two people side by side; a photo of one of them, scaled and darkened, says who speaks."""
    woman = repository / "tests/stages/track/portrait.jpg"
    video, photo = tmp_path / "two.mkv", tmp_path / "photo.png"
    pair = "[0:v]scale=400:300[a];[1:v]scale=-2:300,crop=300:300,loop=20:1,format=yuv420p[b];[a][b]hstack=shortest=1"
    ffmpeg("-i", avatar, "-i", woman, "-filter_complex", pair, "-frames:v", 20, "-c:v", "ffv1", video)
    of_whom = ["-i", woman] if place else ["-ss", 4, "-i", avatar]
    ffmpeg(*of_whom, "-frames:v", 1, "-vf", "scale=1.4*iw:-2,eq=brightness=-0.1", photo)
    result = succeeded(render(short, video, face=f"like:{photo}", crf=0, preset="ultrafast"))
    new, old = decoded(tmp_path / "out.mp4", 700, 300), decoded(video, 700, 300)
    halves = (slice(None, 400), slice(400, None))
    assert not np.array_equal(new[10].y[:, halves[place]], old[10].y[:, halves[place]])
    assert np.array_equal(new[10].y[:, halves[1 - place]], old[10].y[:, halves[1 - place]])
    assert result.frames.face_missing == 0


@pytest.mark.slow
def test_a_poster_that_is_larger_is_taken_with_a_word(
    render: Render, short: Path, avatar: Path, repository: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    """Whoever means the smaller, living face learns of the mistake, and how to name it."""
    woman, video = repository / "tests/stages/track/portrait.jpg", tmp_path / "poster.mkv"
    pair = "[0:v]scale=400:300[a];[1:v]crop=240:240:45:0,scale=600:600,loop=20:1,format=yuv420p[b];"
    pair += "[a]pad=400:600:0:150[c];[c][b]hstack=shortest=1"
    ffmpeg("-i", avatar, "-i", woman, "-filter_complex", pair, "-frames:v", 20, "-c:v", "ffv1", video)
    result = succeeded(render(short, video, preset="ultrafast"))
    (several,) = [one for one in result.warnings if one.code == "face.several"]
    assert "2 persons" in several.message
    (named,) = re.findall(r"face: (box:[\d,]+)", several.message)
    chosen = succeeded(render(short, video, preset="ultrafast", face=named, if_exists="overwrite"))
    assert [one.taken for one in chosen.persons if one.box[0] < 400] == [20]
    assert not [one for one in chosen.warnings if one.code == "face.several"]


@pytest.mark.slow
def test_a_video_without_a_face_that_is_damaged_is_told_so(
    render: Render, short: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole.mov", tmp_path / "broken.mov"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x120", "-frames:v", 10, "-c:v", "mpeg4", "-q:v", 5, "-threads", 1, whole)
    data = bytearray(whole.read_bytes())
    begin = data.index(MPEG4_PICTURE) + 24
    end = data.index(MPEG4_PICTURE, begin)
    data[begin:end] = bytes(end - begin)
    broken.write_bytes(data)
    result = render(short, broken)
    assert result.error is not None
    assert result.error.code == "face.not_found"
    assert [one.code for one in result.warnings] == ["input.damaged"], "it may be why"
