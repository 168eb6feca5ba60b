"""Which ffmpeg runs, with which command line, and what its messages mean."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dhcli.errors import DhError
from dhcli.jobs.options import Trim
from dhcli.media import complaints
from dhcli.media.audio import waveform_argv
from dhcli.media.ffmpeg_program import ffmpeg_encoders, ffmpeg_version, find_ffmpeg
from dhcli.media.info import AudioInfo, VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import CODECS, FORMATS
from dhcli.media.listing import parse_listing, parse_picture
from dhcli.media.reader import SWS, decode_argv, filters
from dhcli.media.sound_track import Sound, audio_argv
from dhcli.media.writer import LARGE_FRAMES, Encoding, encode_argv
from dhcli.types import Colour, FrameFormat

FENCE = [
    *("-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS, "-codec_whitelist", CODECS),
    *("-max_pixels", "35389440"),
]


@pytest.fixture
def ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A name that command lines can be compared with."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho something else\n")
    program.chmod(0o755)
    monkeypatch.setenv("DH_FFMPEG", str(program))
    return str(program)


def base(program: str, level: str = "warning") -> list[str]:
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", f"level+{level}"]
    return [program, *quiet, "-max_alloc", "1073741824"]


def test_the_bundled_ffmpeg_is_found_and_has_what_dh_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DH_FFMPEG", raising=False)
    program = find_ffmpeg()
    assert ffmpeg_version(program)
    assert {"libx264", "libx265", "aac"} <= ffmpeg_encoders(program)


def test_a_missing_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DH_FFMPEG", str(tmp_path / "none"))
    with pytest.raises(DhError) as caught:
        find_ffmpeg()
    assert caught.value.code == "env.ffmpeg_missing"
    assert "DH_FFMPEG" in caught.value.hint


def test_a_file_that_is_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("x")
    monkeypatch.setenv("DH_FFMPEG", str(tmp_path / "ffmpeg"))
    with pytest.raises(DhError) as caught:
        find_ffmpeg()
    assert caught.value.code == "env.ffmpeg_unusable"


def test_a_program_of_another_kind(ffmpeg: str) -> None:
    with pytest.raises(DhError) as caught:
        ffmpeg_version(ffmpeg)
    assert caught.value.code == "env.ffmpeg_unusable"


def test_a_program_that_cannot_be_executed(clip: Path, ffmpeg: str, video: Callable[[Path], VideoInfo]) -> None:
    Path(ffmpeg).write_bytes(b"\x7fELF of another machine")
    with pytest.raises(DhError) as caught:
        video(clip)
    assert caught.value.code == "env.ffmpeg_unusable"


def test_decoder_command_line(clip: Path, video: Callable[[Path], VideoInfo], request: pytest.FixtureRequest) -> None:
    info = video(clip)
    program = request.getfixturevalue("ffmpeg")
    with InputFile(clip, "video") as file:
        argv = decode_argv(file, info, seek=Fraction(1, 3))
        assert argv == [
            *(*base(program, "info"), "-max_error_rate", "1", *FENCE, "-ss", "0.333333"),
            *("-i", f"file:/proc/self/fd/{file.fd}", "-map", "0:0", "-vf", filters(info), "-fps_mode", "passthrough"),
            *("-thread_queue_size", "1", "-f", "yuv4mpegpipe", "-pix_fmt", "yuv420p", "-strict", "-1", "pipe:1"),
        ]


def test_filters_do_nothing_that_is_not_needed(clip: Path, video: Callable[[Path], VideoInfo]) -> None:
    info = video(clip)
    fitted = f"scale=w=round(min(96\\,64*dar/(1/1))):h=round(min(64\\,96*(1/1)/dar)):{SWS},pad=96:64:"
    assert filters(info).startswith(f"format=yuv420p,{fitted}")
    assert filters(replace(info, is_image=True)) == "format=yuv420p"
    assert filters(replace(info, interlaced=True)).endswith("bwdif=mode=send_frame:deint=interlaced,format=yuv420p")
    assert filters(replace(info, pix_fmt="yuv420p10le")).startswith("scale=flags=")
    assert "tonemap" in filters(replace(info, source_colour=Colour(transfer="arib-std-b67")))


def test_waveform_command_line(clip: Path, ffmpeg: str) -> None:
    info = AudioInfo(1, "aac", "mov", 48000, 6, 96000)
    chain = (
        "aresample=async=1:first_pts=0,atrim=start=0.500000,asetpts=PTS-STARTPTS,"
        "aresample=out_sample_rate=16000:out_chlayout=mono:out_sample_fmt=flt:rematrix_maxval=1"
    )
    with InputFile(clip, "audio") as file:
        argv = waveform_argv(file, info, 16000, Trim(Fraction(1, 2), None))
        assert argv == [
            *(*base(ffmpeg), "-max_error_rate", "1", *FENCE, "-i", file.url, "-map", "0:1", "-af", chain),
            *("-ar", "16000", "-ac", "1", "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"),
        ]


def test_encoder_command_line(clip: Path, ffmpeg: str) -> None:
    fmt = FrameFormat(96, 64, Fraction(30000, 1001), colour=Colour("tv", "bt709"))
    with InputFile(clip, "audio") as file:
        sound = audio_argv(Sound(file, AudioInfo(1, "aac", "mov", 48000, 1, 48000), duration=Fraction(2)))
        url = f"file:/proc/self/fd/{file.fd}"
    argv = encode_argv(fmt, "file:out", Encoding("libx264", 18, "veryfast", threads=2), sound)
    assert argv == [
        *(*base(ffmpeg), "-protocol_whitelist", "pipe"),
        *("-thread_queue_size", "1", "-f", "yuv4mpegpipe", "-r", "30000/1001", "-i", "pipe:0", *FENCE, "-i", url),
        *("-map", "0:v:0", "-map", "1:1", "-c:a", "copy", "-map_metadata", "-1", "-map_chapters", "-1"),
        *("-c:v", "libx264", "-crf", "18", "-preset", "veryfast", "-pix_fmt", "yuv420p"),
        *("-vf", "setparams=range=tv:colorspace=bt709", "-threads:v", "2"),
        *("-fps_mode", "passthrough", "-metadata", "comment=Synthetic media: lips rendered by dh", "-metadata"),
        "digital_source_type=http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
        *("-video_track_timescale", "30000", "-movflags", "+faststart+use_metadata_tags", "-f", "mp4"),
        *("-abort_on", "empty_output+empty_output_stream", "-y", "file:out"),
    ]


@pytest.mark.parametrize(
    ("height", "encoder", "spared"), [(2160, "libx264", True), (2160, "libx265", False), (1080, "libx264", False)]
)
def test_memory_is_spared_with_large_frames_only(height: int, encoder: str, spared: bool) -> None:
    fmt = FrameFormat(height * 16 // 9, height, Fraction(25))
    argv = encode_argv(fmt, "file:out", Encoding(encoder))
    assert (LARGE_FRAMES in argv) is spared
    assert f"tile=1x{8 if height == 2160 else 4}" in argv


def test_no_playlist_is_among_the_formats() -> None:
    names = FORMATS.split(",")
    assert not {"hls", "concat", "dash", "sdp", "rtp", "rtsp", "image2", "tee", "lavfi", "ffmetadata", "imf"} & set(
        names
    )
    assert len(names) == len(set(names))


def test_every_allowed_codec_is_named_once_and_most_are_there() -> None:
    names = CODECS.split(",")
    listing = subprocess.run([find_ffmpeg(), "-v", "error", "-decoders"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"^ [VAS][F.][S.][X.][B.][D.] (\w[\w-]*)", listing.stdout, re.MULTILINE))
    assert len(names) == len(set(names))
    unknown = {name for name in set(names) - known if not name.startswith("lib")}  # libraries differ by build
    assert not unknown, "a misspelled name allows nothing"
    assert not {"librsvg", "ansi", "tty", "bintext", "xbin", "wavesynth"} & set(names)


def test_many_streams_are_all_listed(clip: Path, video: Callable[[Path], VideoInfo], make: Callable[..., Path]) -> None:
    maps = [part for _ in range(70) for part in ("-map", "0:a")]
    notes = [part for at in range(70) for part in (f"-metadata:s:a:{at}", "comment=" + "\n".join("abcdefgh"))]
    path = make("disc.mkv", "-i", clip, "-map", "0:v", *maps, *notes, "-c", "copy")
    assert video(path).audio_streams == 70


def test_metadata_cannot_pose_as_a_stream(
    clip: Path, video: Callable[[Path], VideoInfo], make: Callable[..., Path]
) -> None:
    fake = "x\n[info]   Stream #0:9: Video: fake, yuv420p, 9x9, 9 fps (default)\n[info] Input #0, fake, from 'x"
    info = video(make("posing.mkv", "-i", clip, "-c", "copy", "-metadata", f"title={fake}"))
    assert (info.index, info.codec, info.container) == (0, "h264", "matroska,webm")


@pytest.mark.parametrize(
    ("text", "size", "rates", "kind"),
    [
        ("Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709), 1920x1080 [SAR 1:1 DAR 16:9], 29.97 fps, 30 tbr",
         (1920, 1080), (29.97, 30.0), "video"),
        ("Video: mpeg4 (FMP4 / 0x34504D46), none, 96x64, SAR 1:1 DAR 3:2, 1k fps, 25 tbr",
         (96, 64), (1000.0, 25.0), "video"),
        ("Video: bmp, bgr24, 96x64", (96, 64), (), "video"),
        ("Audio: pcm_s16le, 48000 Hz, 7.1, s16, 9 kb/s", None, (), "audio"),
    ],
)  # fmt: skip
def test_stream_lines(text: str, size: tuple[int, int] | None, rates: tuple[float, ...], kind: str) -> None:
    listing = parse_listing(["[info] Input #0, mov,mp4, from 'file:x':", f"[info]   Stream #0:0[0x1](und): {text}"])
    assert listing is not None
    (stream,) = listing.streams
    assert (stream.kind, stream.size, stream.rates) == (kind, size, rates)


@pytest.mark.parametrize(
    ("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1(side)", 6), ("7.1", 8), ("3 channels", 3)]
)
def test_channel_layouts(layout: str, channels: int) -> None:
    line = f"[info]   Stream #0:0: Audio: aac, 48000 Hz, {layout}, fltp"
    listing = parse_listing(["[info] Input #0, x, from 'y':", line])
    assert listing is not None
    assert (listing.streams[0].sample_rate, listing.streams[0].channels) == (48000, channels)


def test_nothing_to_parse() -> None:
    assert parse_listing(["[error] no"]) is None
    assert parse_picture(["[error] no"]) is None


def test_the_reason_is_the_line_that_says_why() -> None:
    tail = [
        "[warning] a warning",
        "[h264 @ 0x5555] [error] the real one",
        "[out#0/mp4 @ 0x5555] [error] Nothing was written into output file",
        "[fatal] Conversion failed!",
    ]
    assert complaints.reason(tail) == "the real one"
    assert complaints.reason(["no level"]) == "no level"
    harmless = "[aac @ 0x5555] [warning] Too many bits 12288.000000 > 6144 per frame requested, clamping to max"
    assert complaints.reason(["[warning] a warning", harmless]) == "a warning"
    assert complaints.reason([]) == ""
