"""Reads the finished output back and compares it with the plan and with what was rendered.

One run of ffmpeg lists all packets and decodes pictures: all of a small video; of a larger one those that others refer
to; of the largest only those that need no other one. A picture that cannot be decoded is an error, and so is one that
shows something else than what was rendered.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dhcli.disk.memory import in_memory
from dhcli.disk.regular import FileStamp
from dhcli.errors import DhError
from dhcli.media.besides import NOTHING, Besides
from dhcli.media.complaints import damage, reason
from dhcli.media.encoders import TABLE
from dhcli.media.ffmpeg import base_argv, beating, input_argv, lines_of, running
from dhcli.media.ffmpeg_errors import RENDER_AGAIN, read_back_error
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import CPU_BASE_S, CPU_PER_FRAME_S, ChildLimits
from dhcli.media.opening import list_streams
from dhcli.media.packets import Timeline, read_timelines
from dhcli.media.thumbnail import KEPT, SCALE, SHOWN_BYTES, THUMBNAIL_BYTES, unlike
from dhcli.runtime.child import Command, exit_text
from dhcli.runtime.scope import Scope
from dhcli.types import Frame, FrameFormat

DECODED_SHARE = 0.01
"""Share of a render's processor time that decoding the output may take. Decoding fills one core and rendering two, so
that a user waits 2 % longer."""
PLAIN = ("yuv420p", "nv12")
"""What is decoded as the frames were rendered: 8 bits, colours of half the size."""
START_NS = 1e9
RENDERED_NS, RENDERED_PIXEL_NS, RENDERED_BYTE_NS = 35e6, 25, 400
"""Processor time for the start of a job, and for a frame: the networks, each of its pixels, each byte of the output."""
DECODED_PIXEL_NS, DECODED_BYTE_NS = 2.2, 130
FREE_BYTES = 2 << 20
"""Bytes that count as none: they take 0.25 s, and a broken encoder's large frames are decoded thanks to this."""
UNREFERRED = "noref"
"""Leaves out the pictures to which no other one refers: about half of a video, and a fault in one is seen for 0.1 s."""
REFERRED_PART = {"libx264": 0.6, "libx265": 0.5}
"""By encoder: the share of the time that the rest takes. Of those of others, all pictures or key frames are decoded."""
INTRA_ONLY = "nointra"
"""Leaves only pictures that need no other one: key frames, and those at changes of scene."""
STAGE = "verify"
AUDIO_SLACK_S = Fraction(1, 5)
"""A copied sound may be a little longer than the decoded one, by its last packet, or shorter, by its delay."""


@dataclass(frozen=True, slots=True)
class VerifiedOutput:
    """A finished output, as it is on the disk."""

    width: int
    height: int
    fps: Fraction
    frames: int
    duration: Fraction
    """Of the video, s."""
    audio_codec: str | None
    keys: tuple[int, ...]
    """The key frames, ascending."""
    bytes: int
    sha256: str
    stamp: FileStamp
    """The file as it was when its last byte was read."""
    wanted: tuple[Frame, ...] | None = None
    """The frames that were asked for; None: they were not decoded, since the output is large."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the plan says of an output, and what was rendered for it."""

    fmt: FrameFormat
    frames: int
    audio_duration: Fraction | None = None
    """Of its sound, s; None: it has no sound."""
    encoder: str = "libx264"
    thumbnails: bytes = b""
    """Of the rendered frames; b"" compares none."""
    has: Besides = NOTHING
    """What it was given of the video's besides pictures."""


@dataclass(frozen=True, slots=True)
class _ReadBack:
    """What ffmpeg read from the output."""

    video: Timeline
    audio: Timeline
    decoded: Timeline
    """Of the decoded pictures."""
    shown: Timeline
    """Of the pictures with a thumbnail."""
    thumbnails: bytes
    pictures: bytes
    """Of the frames that were asked for."""
    complaint: str
    """What ffmpeg complained about; "" for nothing."""


def verify_output(
    scope: Scope, path: Path, expected: Expected, *, folder: int | None = None, wanted: Sequence[int] = ()
) -> VerifiedOutput:
    """Read `path` and compare it with what is expected. `folder` is its folder where that is open.

    `wanted` are a few frames that are delivered, too, where all are decoded anyway.

    Raises output.mismatch, decode.failed, env.*, Stopped.
    """
    fmt, frames = expected.fmt, expected.frames
    with scope.stage(STAGE), opened_output(path, folder) as file:
        skipped = _skipped_pictures(fmt.width * fmt.height, frames, file.bytes, expected.encoder)
        whole = skipped is None
        read = _read(scope, file, expected, skipped, wanted if whole else ())
        if read.complaint:  # decode all, to see where the fault is, or that it comes from the pictures left out
            skipped, complaint = None, read.complaint
            read = _read(scope, file, expected, None, wanted if whole else (), to_first_fault=True)
            if read.complaint:
                frame = len(read.decoded.pts)
                raise _mismatch(path, f"it cannot be decoded, from about frame {frame} on ({complaint})", frame)
        _compare_video(path, read.video, fmt, frames)
        _compare_audio(path, read.audio, expected.audio_duration)
        _compare_decoded(path, read, whole=skipped is None)
        _compare_thumbnails(path, read, expected.thumbnails)
        if expected.has:
            _compare_besides(path, list_streams(scope, file).besides, expected.has)
        sha256 = file.sha256(lambda: scope.alive(STAGE))
        if (stamp := FileStamp.of(file.fd)) != file.stamp:
            raise _mismatch(path, "somebody wrote to it while it was read back")
        return VerifiedOutput(
            width=fmt.width,
            height=fmt.height,
            fps=fmt.fps,
            frames=frames,
            duration=frames / fmt.fps,
            audio_codec=read.audio.codec or None,
            keys=tuple(np.searchsorted(read.video.times, np.sort(read.video.keys)).tolist()),
            bytes=file.bytes,
            sha256=sha256,
            stamp=stamp,
            wanted=_pictures(read.pictures, wanted, fmt) if whole else None,
        )


def _pictures(raw: bytes, wanted: Sequence[int], fmt: FrameFormat) -> tuple[Frame, ...]:
    planes = np.frombuffer(raw, np.uint8).reshape(-1, fmt.height * 3 // 2, fmt.width)
    return tuple(Frame(index, data) for index, data in zip(wanted, planes, strict=True))


@contextlib.contextmanager
def opened_output(path: Path, folder: int | None) -> Iterator[InputFile]:
    """The output, open for reading; errors about it get an output's code instead of an input's."""
    try:
        with InputFile(path, "output", folder=folder) as file:
            yield file
    except DhError as error:
        if not error.code.startswith("input."):
            raise
        raise DhError("output.mismatch", error.message, hint=RENDER_AGAIN) from error


def _skipped_pictures(pixels: int, frames: int, file_bytes: int, encoder: str) -> str | None:
    """The pictures that are not decoded, since that would take too long compared with rendering; None: decode all."""
    frame_bytes = max(0, file_bytes - FREE_BYTES) / frames
    decoded_ns = DECODED_PIXEL_NS * pixels + DECODED_BYTE_NS * frame_bytes
    rendered_ns = START_NS / frames + RENDERED_NS + RENDERED_PIXEL_NS * pixels + RENDERED_BYTE_NS * frame_bytes
    share = decoded_ns / rendered_ns
    if share <= DECODED_SHARE:
        return None
    return UNREFERRED if share * REFERRED_PART.get(encoder, 1) <= DECODED_SHARE else INTRA_ONLY


def _read(
    scope: Scope,
    file: InputFile,
    expected: Expected,
    skipped: str | None,
    wanted: Sequence[int] = (),
    *,
    to_first_fault: bool = False,
) -> _ReadBack:
    """List all packets of `file`, and decode its pictures, but for those that are `skipped`.

    Where none is skipped, the frames `wanted` are kept.

    Raises output.mismatch, decode.failed, env.*, Stopped.
    """
    with in_memory() as thumbnails, in_memory() as pictures:
        argv = _read_argv(file, expected.encoder, thumbnails, skipped, to_first_fault)
        argv += _wanted_argv(pictures, wanted) if wanted else []
        limits = ChildLimits(CPU_BASE_S + CPU_PER_FRAME_S * expected.frames)
        command = Command(argv, (*file.pass_fds, thumbnails, pictures), flood="output.mismatch")
        with running(scope, STAGE, command, limits) as child:
            video, decoded, shown, audio = read_timelines(beating(scope, STAGE, lines_of(child)), 4)
            code = child.wait()
            scope.check()
            complaint = damage(child.tail(100)) or (reason(child.tail()) or exit_text(code) if code else "")
            if (code is not None and code < 0) or (code and not len(video.pts) and not to_first_fault):
                raise read_back_error(file.path, child, code)
        return _ReadBack(video, audio, decoded, shown, _content(thumbnails), _content(pictures), complaint)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _wanted_argv(pictures: int, wanted: Sequence[int]) -> list[str]:
    """One more output of the command line: raw frames."""
    chosen = "+".join(f"eq(n\\,{index})" for index in wanted)
    return [
        *("-map", "0:v", "-vf", f"select={chosen},format=yuv420p", "-fps_mode", "passthrough"),
        *("-f", "rawvideo", f"pipe:{pictures}"),
    ]


def _read_argv(file: InputFile, encoder: str, thumbnails: int, skipped: str | None, to_first_fault: bool) -> list[str]:
    """The command line: a listing of packets, decoded pictures and thumbnails to stdout, thumbnails to their file."""
    decoder, choice = ["-err_detect", "explode"], f"select=lt(n\\,{KEPT}),"
    if skipped is not None:  # other pictures look different without those that they refer to
        # Without "explode": ffmpeg 9 submits a packet for ever that unmarks a reference which was left out.
        decoder = ["-skip_frame", skipped, "-skip_loop_filter", "all"]
        choice = "select=eq(pict_type\\,I),"
    if to_first_fault:  # with several threads, one may be ahead of the others
        decoder = ["-xerror", *decoder, "-threads", "1"]
    small = SCALE if TABLE[encoder].pix_fmt in PLAIN else f"{SCALE},format=yuv420p"
    graph = f"[0:v]split[a][b];[a]crop=2:2[decoded];[b]{choice}{small},split[shown][thumbnails]"
    exact = ["-fps_mode", "passthrough", "-enc_time_base", "demux"]
    return [
        *(*base_argv(), "-max_error_rate", "0", *input_argv(file, *decoder), "-filter_complex", graph),
        *("-map", "0:v", "-map", "[decoded]", "-map", "[shown]", "-map", "0:a?", *exact),
        *("-c:v", "rawvideo", "-c:v:0", "copy", "-c:a", "copy", "-f", "framecrc", "pipe:1"),
        *("-map", "[thumbnails]", "-fps_mode", "passthrough", "-f", "rawvideo", f"pipe:{thumbnails}"),
    ]


def _compare_video(path: Path, video: Timeline, fmt: FrameFormat, frames: int) -> None:
    times = video.times
    if len(times) != frames or video.corrupt or video.untimed:
        raise _mismatch(path, f"it has {len(times)} of {frames} frames")
    if video.size != (fmt.width, fmt.height):
        raise _mismatch(path, f"its size is {video.size}, not {fmt.width}x{fmt.height}")
    if times[0] * video.time_base * fmt.fps * 2 > 1:
        raise _mismatch(path, f"its first frame stands at {float(times[0] * video.time_base):.3f} s")
    step = 1 / (fmt.fps * video.time_base)
    apart = (times - times[0]) * step.denominator - np.arange(frames) * step.numerator
    # An MP4 counts in parts of the frame rate, a Matroska in ms: there each time, the first one too, is rounded.
    off = np.flatnonzero(np.abs(apart) > (0 if step.denominator == 1 else step.denominator))
    if len(off):
        wrong = int(off[0])
        time = float((int(times[wrong]) - int(times[0])) * video.time_base)
        raise _mismatch(path, f"frame {wrong} stands at {time:.6f} s, not at {float(wrong / fmt.fps):.6f} s")


def _compare_decoded(path: Path, read: _ReadBack, *, whole: bool) -> None:
    times = read.video.times if whole else read.video.times[:1]
    lost = np.flatnonzero(~np.isin(times, read.decoded.times))
    if len(lost):
        frame = int(lost[0])
        raise _mismatch(path, f"frame {frame} cannot be decoded", frame)


def _compare_thumbnails(path: Path, read: _ReadBack, rendered: bytes) -> None:
    """Compare the thumbnails of the decoded pictures with those of the rendered frames."""
    if not rendered:
        return
    frames = np.searchsorted(read.video.times, np.frombuffer(read.shown.pts, np.int64))
    frames = frames[frames < len(rendered) // THUMBNAIL_BYTES]
    wanted = b"".join(rendered[frame * THUMBNAIL_BYTES :][:THUMBNAIL_BYTES] for frame in frames)
    if len(different := unlike(wanted, read.thumbnails[: len(frames) * SHOWN_BYTES])):
        frame = int(frames[different[0]])
        raise _mismatch(path, f"frame {frame} shows something else than what was rendered", frame)


def _compare_audio(path: Path, audio: Timeline, duration: Fraction | None) -> None:
    if bool(len(audio.pts)) != (duration is not None):
        raise _mismatch(path, "it has a sound that was not planned" if len(audio.pts) else "it has no sound")
    if duration is None:
        return
    end = audio.end() * audio.time_base
    if abs(end - duration) > AUDIO_SLACK_S:
        raise _mismatch(path, f"its sound has {float(end):.3f} s, not {float(duration):.3f} s")


def _compare_besides(path: Path, found: Besides, planned: Besides) -> None:
    if str(found) != str(planned):
        raise _mismatch(path, f"besides pictures and sound it has {found or 'nothing'}, not {planned}")


def _mismatch(path: Path, finding: str, frame: int | None = None) -> DhError:
    return DhError("output.mismatch", f"output {path}: {finding}.", hint=RENDER_AGAIN, frame=frame)
