"""What the probe says about videos of every kind, and that the reader delivers exactly that."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.info import VideoInfo, frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.reader import read_frames
from dhcli.runtime.scope import Scope

Make = Callable[..., Path]
Decode = Callable[[Path], SimpleNamespace]
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "0", "-pix_fmt", "yuv420p")


def source(size: str = "96x64", rate: str = "25", seconds: str = "1") -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}")


def raw_planes(path: Path, frames: int, *options: str) -> np.ndarray:
    """The decoder's own planes, by a way that shares nothing with the reader."""
    argv = [find_ffmpeg(), "-v", "error", "-noautorotate", "-i", str(path), *options, "-fps_mode", "passthrough"]
    done = subprocess.run([*argv, "-f", "rawvideo", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(frames, -1)


def codes(info: VideoInfo) -> list[str]:
    return [code for code, _ in info.warnings]


@pytest.mark.slow
@pytest.mark.parametrize("container", ["mp4", "mkv", "avi", "ts"])
@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "30", "50", "60"])
def test_constant_rate_is_exact(make: Make, decode: Decode, rate: str, container: str) -> None:
    got = decode(make(f"cfr.{container}", *source(rate=rate), *X264))
    assert got.info.fps == Fraction(rate)
    assert not got.info.vfr
    assert got.info.frames == len(got.frames)
    assert abs(len(got.frames) - Fraction(rate)) <= 1
    assert [frame.index for frame in got.frames] == list(range(len(got.frames)))
    assert got.info.duration == len(got.frames) / Fraction(rate)


def test_b_frames_and_edit_lists_do_not_disturb_the_count(make: Make, decode: Decode) -> None:
    got = decode(make("b.mp4", *source(rate="30000/1001"), "-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p"))
    assert got.info.frames == len(got.frames) == 30


def test_frames_cut_away_by_an_edit_list_are_not_counted(make: Make, decode: Decode) -> None:
    whole = make("whole.mp4", *source(), *X264, "-g", "25")
    got = decode(make("cut.mp4", "-ss", "0.4", "-i", whole, "-c", "copy"))
    assert got.info.frames == len(got.frames) == 15


def test_a_late_video_stream_counts_from_its_own_start(make: Make, decode: Decode) -> None:
    late = make("late.mkv", *source(), "-itsoffset", "0.5", *source(), "-map", "1:v", "-map", "0:v", *X264)
    assert decode(late).info.frames == 25


def test_leading_packets_without_key_frame_are_not_counted(make: Make, decode: Decode, tmp_path: Path) -> None:
    whole = make(
        "open.ts", *source(seconds="2"), "-c:v", "libx264", "-g", "10", "-bf", "2", "-x264-params", "open-gop=1"
    )
    packets = [whole.read_bytes()[at : at + 188] for at in range(0, whole.stat().st_size, 188)]
    starts = [at for at, packet in enumerate(packets) if packet[1] & 0x5F == 0x41]  # first packet of a picture, PID 256
    cut = tmp_path / "tuned-in.ts"
    cut.write_bytes(b"".join(packets[:3] + packets[starts[4] :]))
    got = decode(cut)
    assert 0 < got.info.frames == len(got.frames) < 50


def test_variable_rate_becomes_its_grid(make: Make, decode: Decode) -> None:
    hole = ("-vf", "select='not(between(n,10,40))'", "-fps_mode", "vfr")
    got = decode(make("hole.mp4", *source(seconds="4"), *hole, *X264))
    assert (got.info.fps, got.info.vfr, got.info.frames, len(got.frames)) == (25, True, 100, 100)
    assert got.info.decoded == 69
    assert "input.vfr" in codes(got.info)
    assert all((frame.data == got.frames[9].data).all() for frame in got.frames[9:41])
    assert not (got.frames[41].data == got.frames[40].data).all()


def test_frames_repeated_by_the_rate_do_not_share_memory(make: Make, decode: Decode) -> None:
    got = decode(
        make("hole.mp4", *source(seconds="4"), "-vf", "select='not(between(n,10,40))'", "-fps_mode", "vfr", *X264)
    )
    got.frames[9].data[:] = 0
    assert got.frames[10].data.any()


def test_irregular_rate_becomes_its_average(make: Make, decode: Decode) -> None:
    jitter = ("-vf", "settb=1/1000,setpts='N*40+12*mod(N,3)'", "-fps_mode", "passthrough", "-enc_time_base", "1/1000")
    got = decode(make("jitter.mkv", *source(seconds="4"), *jitter, *X264))
    assert got.info.vfr
    assert got.info.fps == 25
    assert abs(got.info.frames - 100) <= 1
    assert len(got.frames) == got.info.frames


@pytest.mark.parametrize(("fps", "frames"), [("50", 50), ("12.5", 13), ("30000/1001", 30)])
def test_another_rate_on_request(
    scope: Scope, clip: Path, video: Callable[[Path], VideoInfo], fps: str, frames: int
) -> None:
    info = video(clip)
    fmt = frame_format(info, Fraction(fps))
    with InputFile(clip, "video") as file:
        got = list(read_frames(scope, file, info, fmt))
    assert fmt.fps == Fraction(fps)
    assert len(got) == info.frames_at(Fraction(fps)) == frames


@pytest.mark.parametrize(("first", "count"), [(0, 3), (7, 1), (7, 5), (24, 1), (11, None), (20, 99)])
def test_a_part_equals_that_part_of_the_whole(
    scope: Scope, make: Make, decode: Decode, first: int, count: int | None
) -> None:
    path = make("gop.mp4", *source(rate="30000/1001", seconds="0.9"), "-c:v", "libx264", "-g", "9", "-bf", "2")
    whole = decode(path)
    with InputFile(path, "video") as file:
        part = list(read_frames(scope, file, whole.info, whole.fmt, first=first, count=count))
    expected = whole.frames[first:] if count is None else whole.frames[first : first + count]
    assert [frame.index for frame in part] == [frame.index for frame in expected]
    assert all((a.data == b.data).all() for a, b in zip(part, expected, strict=True))


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (270, (0, 1))])
def test_rotation_is_applied(make: Make, decode: Decode, degrees: int, corner: tuple[int, int]) -> None:
    marked = ("-f", "lavfi", "-i", "color=black:s=96x64:r=25:d=0.2,drawbox=x=0:y=0:w=24:h=16:c=white:t=fill")
    plain = make("marked.mp4", *marked, *X264)
    got = decode(make("turned.mp4", "-display_rotation", str(degrees), "-i", plain, "-c", "copy"))
    upright = (96, 64) if degrees % 180 == 0 else (64, 96)
    assert (got.info.width, got.info.height, got.info.rotation) == (*upright, degrees)
    luma = got.frames[0].y
    height, width = luma.shape
    bright = {
        (row, column)
        for row in (0, 1)
        for column in (0, 1)
        if luma[row * (height - 9) + 4, column * (width - 9) + 4] > 200
    }
    assert bright == {corner}


def test_odd_size_is_padded_by_its_own_edge(make: Make, decode: Decode) -> None:
    path = make("odd.mkv", "-f", "lavfi", "-i", "testsrc=s=95x63:r=25:d=1", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    got = decode(path)
    assert (got.info.width, got.info.height, got.info.padded) == (95, 63, True)
    assert (got.fmt.width, got.fmt.height) == (96, 64)
    assert "input.padded" in codes(got.info)
    frame = got.frames[3]
    assert (frame.y[:, 95] == frame.y[:, 94]).all()
    assert (frame.y[63] == frame.y[62]).all()
    raw = raw_planes(path, 25)[3]
    assert (frame.y[:63, :95].ravel() == raw[: 95 * 63]).all()
    assert (frame.u.ravel() == raw[95 * 63 : 95 * 63 + 48 * 32]).all()


def test_sample_aspect_ratio_is_kept(make: Make, decode: Decode) -> None:
    got = decode(make("sar.mp4", *source(), "-vf", "setsar=4/3", *X264))
    assert got.fmt.sar == Fraction(4, 3)


def test_turned_sample_aspect_ratio_is_turned(make: Make, decode: Decode) -> None:
    plain = make("sar.mp4", *source(), "-vf", "setsar=4/3", *X264)
    assert decode(make("t.mp4", "-display_rotation", "90", "-i", plain, "-c", "copy")).fmt.sar == Fraction(3, 4)


@pytest.mark.parametrize("full", [False, True])
def test_untouched_planes_are_the_decoders(make: Make, decode: Decode, full: bool) -> None:
    span = "pc" if full else "tv"
    tags = ("-color_range", span, "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
    path = make("tags.mp4", *source(), "-vf", f"scale=out_range={span}", *X264, *tags)
    got = decode(path)
    assert (got.fmt.colour.range, got.fmt.colour.matrix) == (span, "bt709")
    raw = raw_planes(path, 25, *(() if not full else ("-pix_fmt", "yuvj420p")))
    assert all((frame.data.ravel() == planes).all() for frame, planes in zip(got.frames, raw, strict=True))


def test_ten_bits_become_eight(make: Make, decode: Decode) -> None:
    got = decode(
        make("ten.mp4", *source(), "-c:v", "libx264", "-crf", "0", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le")
    )
    eight = decode(make("eight.mp4", *source(), *X264))
    assert "input.high_bit_depth" in codes(got.info)
    off = [np.abs(a.data.astype(int) - b.data).max() for a, b in zip(got.frames, eight.frames, strict=True)]
    assert max(off) <= 2


@pytest.mark.parametrize(
    "tags", ["color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv", "color_trc=arib-std-b67"]
)
def test_hdr_is_tone_mapped(make: Make, decode: Decode, tags: str) -> None:
    path = make("hdr.mkv", *source(seconds="0.2"), "-vf", f"format=yuv420p10le,setparams={tags}", "-c:v", "ffv1")
    got = decode(path)
    assert got.fmt.colour.transfer == got.fmt.colour.matrix == "bt709"
    assert "input.hdr" in codes(got.info)
    assert got.frames[0].y.std() > 5


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mov", ("-c:v", "qtrle")), ("a.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"))]
)
def test_alpha_is_dropped_with_a_warning(make: Make, decode: Decode, name: str, codec: tuple[str, ...]) -> None:
    got = decode(make(name, *source(seconds="0.2"), "-vf", "format=rgba,colorchannelmixer=aa=0.5", *codec))
    assert got.info.alpha
    assert "input.alpha" in codes(got.info)
    assert len(got.frames) == 5


def test_gray_has_no_colour(make: Make, decode: Decode) -> None:
    path = make("gray.mkv", *source(seconds="0.2"), "-c:v", "ffv1", "-pix_fmt", "gray")
    frame = decode(path).frames[0]
    assert (frame.u == 128).all()
    assert (frame.v == 128).all()
    assert frame.y.std() > 20
    assert (frame.y.ravel() == raw_planes(path, 5)[0]).all()


def test_what_a_file_says_about_itself_is_no_damage(clip: Path, make: Make, decode: Decode) -> None:
    notes = ("-metadata", "title=Truncated: a partial file, packet corrupt", "-metadata", "comment=[error] corrupt")
    assert len(decode(make("titled.mkv", "-i", clip, "-c", "copy", *notes)).frames) == 25


def test_interlaced_video_is_deinterlaced(make: Make, decode: Decode) -> None:
    fields = ("-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct")
    path = make("fields.mkv", *source(rate="50"), *fields, "-c:v", "libx264", "-x264-params", "tff=1", "-crf", "0")
    got = decode(path)
    assert got.info.interlaced
    assert "input.interlaced" in codes(got.info)
    assert len(got.frames) == got.info.frames == 25


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff", "a.avif", "a.ppm"])
def test_still_image_is_one_frame(make: Make, decode: Decode, name: str) -> None:
    encoder = ("-c:v", "libaom-av1") if name.endswith("avif") else ()
    got = decode(make(name, *source(), "-frames:v", "1", *encoder))
    assert got.info.is_image
    assert (got.info.frames, got.info.fps, len(got.frames)) == (1, 25, 1)
    assert got.info.frames_at(Fraction(60)) == 1


def test_rgb_picture_keeps_its_colours(make: Make, decode: Decode) -> None:
    red = decode(make("red.png", "-f", "lavfi", "-i", "color=red:s=96x64,format=rgb24", "-frames:v", "1"))
    assert (red.fmt.colour.range, red.fmt.colour.matrix) == ("tv", "smpte170m")
    frame = red.frames[0]
    found = int(frame.y[32, 48]), int(frame.u[16, 24]), int(frame.v[16, 24])
    assert np.abs(np.array(found) - (81, 90, 240)).max() <= 1, found


def test_one_frame_video(make: Make, decode: Decode) -> None:
    got = decode(make("one.mp4", *source(), "-frames:v", "1", *X264))
    assert (got.info.frames, got.info.is_image, len(got.frames)) == (1, False, 1)


def test_default_stream_wins(make: Make, decode: Decode) -> None:
    both = (
        *source("96x64"),
        *source("64x48"),
        "-map",
        "0",
        "-map",
        "1",
        *X264,
        "-disposition:v:0",
        "0",
        "-disposition:v:1",
        "default",
    )
    assert decode(make("two.mkv", *both)).info.width == 64


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [("96x64", "64x48"), ("1920x1080", "1280x720")])
def test_size_change_on_the_way_is_scaled_to_the_first(
    make: Make, decode: Decode, tmp_path: Path, sizes: tuple[str, str]
) -> None:
    """ffmpeg begins its filters anew there: one that holds frames, or parts of frames, back would lose them."""
    parts = [make(f"{size}.h264", *source(size, seconds="0.4"), *X264) for size in sizes]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    first, got = decode(parts[0]), decode(joined)
    assert len(got.frames) == 20
    assert {frame.data.shape for frame in got.frames} == {first.frames[0].data.shape}
    assert all((a.data == b.data).all() for a, b in zip(first.frames, got.frames, strict=False))


def test_size_change_of_an_interlaced_video_loses_no_frame(make: Make, decode: Decode, tmp_path: Path) -> None:
    fields = ("-vf", "interlace,setfield=tff", *X264, "-x264-params", "tff=1:keyint=5", "-flags", "+ildct+ilme")
    parts = [
        make(f"{size}.h264", "-f", "lavfi", "-i", f"testsrc2=s={size}:r=50:d=0.4", *fields)
        for size in ("96x64", "64x48")
    ]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    got = decode(joined)
    assert got.info.interlaced
    assert len(got.frames) == 20


@pytest.mark.parametrize("name", ["told.mp4", "told.mkv"])
def test_what_a_video_tells_of_itself_is_no_damage(make: Make, decode: Decode, name: str) -> None:
    """ffmpeg prints a tag of several lines as one message: only its first line says that it is none."""
    tag = "A talk.\nThe premature end of the truncated, corrupt broadcast\nEBML number: 3\nno decoder found"
    path = make(
        name, *source("96x64", seconds="0.4"), *X264, "-metadata", f"comment={tag}", "-metadata", f"title={tag}"
    )
    assert len(decode(path).frames) == 10


def test_sound_tracks_of_a_video_are_counted(clip: Path, video: Callable[[Path], VideoInfo]) -> None:
    assert video(clip).audio_streams == 1


@pytest.mark.parametrize("name", ["-y.mp4", "a:b.mp4", "img%03d.mp4", "new\nline.mp4", "ünï 🙂.mp4", "pipe:0"])
def test_any_name_is_just_a_name(clip: Path, decode: Decode, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    assert len(decode(path).frames) == 25
