"""The finished file, read back: is it what was planned? Trusts nothing that the encoder said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dhcli.disk.regular import FileStamp
from dhcli.errors import DhError
from dhcli.media.failure import RENDER_AGAIN, read_back_failure
from dhcli.media.ffmpeg import InputFile, base_argv, beating, input_argv, lines_of, running
from dhcli.media.packets import Timeline, read_timelines
from dhcli.runtime.scope import Scope
from dhcli.types import FrameFormat

AUDIO_SLACK_S = Fraction(1, 5)
"""A copied sound's last packet may reach beyond, or its encoder delay fall short of, the decoded length."""


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
    bytes: int
    sha256: str
    stamp: FileStamp
    """The file as it was when its last byte was read."""


def verify_output(
    scope: Scope,
    path: Path,
    *,
    folder: int | None = None,
    fmt: FrameFormat,
    frames: int,
    audio_duration: Fraction | None = None,
    stage: str = "verify",
) -> VerifiedOutput:
    """Read `path` and compare: size, exact frame times, frame count; a sound of `audio_duration` s, or none where None.

    `folder` is its folder where that is open.

    Raises output.mismatch, decode.failed, env.*, Stopped.
    """
    with scope.stage(stage), _written(path, folder) as file:
        argv = [*base_argv(), *input_argv(file), "-map", "0:v", "-map", "0:a?"]
        argv += ["-c", "copy", "-f", "framecrc", "pipe:1"]
        with running(scope, stage, argv, pass_fds=file.pass_fds) as child:
            found = read_timelines(beating(scope, stage, lines_of(child)), 2)
            code = child.wait()
            scope.check()
            if code:
                raise read_back_failure(path, child, code)
        video, audio = found
        _compare_video(path, video, fmt, frames)
        _compare_audio(path, audio, audio_duration)
        return VerifiedOutput(
            width=fmt.width,
            height=fmt.height,
            fps=fmt.fps,
            frames=frames,
            duration=frames / fmt.fps,
            audio_codec=audio.codec or None,
            bytes=file.bytes,
            sha256=file.sha256(lambda: _alive(scope, stage)),
            stamp=FileStamp.of(file.fd),
        )


@contextlib.contextmanager
def _written(path: Path, folder: int | None) -> Iterator[InputFile]:
    """The output, opened; what is wrong with it is no fault of an input."""
    try:
        with InputFile(path, "output", folder=folder) as file:
            yield file
    except DhError as error:
        if not error.code.startswith("input."):
            raise
        raise DhError("output.mismatch", error.message, hint=RENDER_AGAIN) from error


def _alive(scope: Scope, stage: str) -> None:
    scope.check()
    scope.beat(stage)


def _compare_video(path: Path, video: Timeline, fmt: FrameFormat, frames: int) -> None:
    times = video.times
    if len(times) != frames or video.corrupt or video.untimed:
        raise _mismatch(path, f"it has {len(times)} of {frames} frames")
    if video.size != (fmt.width, fmt.height):
        raise _mismatch(path, f"its size is {video.size}, not {fmt.width}x{fmt.height}")
    if times[0] * video.time_base * fmt.fps * 2 > 1:
        raise _mismatch(path, f"its first frame stands at {float(times[0] * video.time_base):.3f} s")
    step = 1 / (fmt.fps * video.time_base)
    off = np.flatnonzero((times - times[0]) * step.denominator != np.arange(frames) * step.numerator)
    if len(off):
        wrong = int(off[0])
        time = float((int(times[wrong]) - int(times[0])) * video.time_base)
        raise _mismatch(path, f"frame {wrong} stands at {time:.6f} s, not at {float(wrong / fmt.fps):.6f} s")


def _compare_audio(path: Path, audio: Timeline, duration: Fraction | None) -> None:
    if bool(len(audio.pts)) != (duration is not None):
        raise _mismatch(path, "it has a sound that was not planned" if len(audio.pts) else "it has no sound")
    if duration is None:
        return
    end = audio.end() * audio.time_base
    if abs(end - duration) > AUDIO_SLACK_S:
        raise _mismatch(path, f"its sound has {float(end):.3f} s, not {float(duration):.3f} s")


def _mismatch(path: Path, finding: str) -> DhError:
    return DhError("output.mismatch", f"output {path}: {finding}.", hint=RENDER_AGAIN)
