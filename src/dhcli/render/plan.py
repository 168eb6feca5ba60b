"""What a job is going to do, known before it does anything, and the trace of what it did so far.

Probing decides here what the output will be. It knows no networks, no threads and no part files.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from dhcli.errors import DhError
from dhcli.jobs.options import Job
from dhcli.media.ffmpeg import CHEAP_BYTES, InputFile
from dhcli.media.info import AudioInfo, VideoInfo, frame_format
from dhcli.media.input_limits import MAX_DURATION_S
from dhcli.media.playback import check_length
from dhcli.render.probes import Probes
from dhcli.runtime.scope import Scope
from dhcli.timing import frame_count
from dhcli.types import FrameFormat

ANALYSED_S = 30
"""A video of this length is analysed in whole; of a longer one this, twice this, four times this, …"""

RENDERED_SHARE = 32
"""An input with fewer bytes than this part of the frames that are rendered is hashed in 0.3 % of the render's time."""
BLAMED = ("input.", "decode.", "encode.", "audio.", "face.", "output.mismatch")
"""Codes that an input can cause which changes while it is read: half of a copy looks damaged, or has no face."""


@dataclass(slots=True)
class Trace:
    """What a job did so far."""

    video: VideoInfo | None = None
    audio: AudioInfo | None = None
    warnings: list[tuple[str, str]] = field(default_factory=list)
    planned: int | None = None
    decoded: int = 0
    rendered: int = 0
    encoded: int = 0
    batch: int | None = None
    """Most frames that went through the face network at once; None before the first."""
    analysis: Literal["made", "cached"] | None = None
    face_missing: int = 0
    face_missing_ranges: list[tuple[int, int]] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)
    stages_s: dict[str, float] = field(default_factory=dict)
    reader_wait_s: float = 0.0
    writer_wait_s: float = 0.0

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.timings_s[phase] = self.timings_s.get(phase, 0.0) + time.monotonic() - began

    def snapshot(self) -> Trace:
        """A copy that no other thread writes to. `list` and `dict` copy in one step of the interpreter."""
        return replace(
            self,
            warnings=list(self.warnings),
            face_missing_ranges=list(self.face_missing_ranges),
            timings_s=dict(self.timings_s),
            stages_s=dict(self.stages_s),
        )

    def warn(self, code: str, message: str) -> None:
        """Note something that the user should know and that does not stop the job."""
        self.warnings.append((code, message))


@dataclass(frozen=True, slots=True)
class Contents:
    """SHA-256 of what is in the inputs, as far as it is known without reading them for it."""

    video: str | None = None
    audio: str | None = None
    photo: str | None = None
    """Of the photo that the option `face` names."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be rendered, known before anything is."""

    job: Job
    video_file: InputFile
    audio_file: InputFile
    photo_file: InputFile | None
    """Of the photo that the option `face` names."""
    video: VideoInfo
    audio: AudioInfo
    format: FrameFormat
    frames: int
    """Frames of the output."""
    source_frames: int
    """Frames of the video that are needed for it."""
    analysed_frames: int
    """Frames of it in which the face is followed: those, and often more, so that other jobs need just the same."""
    duration: Fraction
    """Seconds of sound that go into the output."""
    contents: Contents

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """All that the output is made from."""
        photo = () if self.photo_file is None else (self.photo_file,)
        return (self.video_file, self.audio_file, *photo)

    def check_unchanged(self, alive: Callable[[], None]) -> None:
        """Raise DhError input.changed where an input is not what was hashed. `alive` is called all along."""
        cheap_bytes = max(CHEAP_BYTES, self.frames * self.format.frame_bytes // RENDERED_SHARE)
        for file in self.inputs:
            file.check_unchanged(alive, cheap_bytes=cheap_bytes)


def plan_job(
    job: Job,
    video_file: InputFile,
    audio_file: InputFile,
    scope: Scope,
    trace: Trace,
    *,
    photo_file: InputFile | None = None,
    contents: Contents | None = None,
    probes: Probes | None = None,
    limit_frames: int | None = None,
    max_duration_s: float = MAX_DURATION_S,
) -> Plan:
    """Probe both inputs, as far as `probes` does not know them, and say what the output will be.

    `photo_file` is the photo that the option `face` names, if it names one. Raises DhError input.*, audio.too_short.
    """
    contents, probes = contents or Contents(), probes or Probes()
    with trace.timed("probe"), scope.stage("probe"), unchanged(scope, "probe", video_file, audio_file):
        video = trace.video = probes.video(scope, video_file, contents.video, max_duration_s)
        audio = trace.audio = probes.audio(scope, audio_file, contents.audio, max_duration_s)
    trace.warnings.extend(video.warnings)
    options = job.options
    fmt = frame_format(video, options.fps)
    available = video.frames_at(fmt.fps)
    duration = audio.used(options.trim)
    if duration * fmt.fps < 1:
        raise DhError(
            "audio.too_short",
            f"audio {job.audio}: {float(duration) * 1000:.1f} ms of sound is less than one video frame "
            f"({1000 / float(fmt.fps):.1f} ms).",
            hint="Give a longer sound" + (", or widen 'trim'." if options.trim else "."),
            stage="probe",
        )
    frames = frame_count(duration, fmt.fps)
    limited = limit_frames is not None and limit_frames < frames
    if limit_frames is not None and limited:
        frames, duration = limit_frames, limit_frames / fmt.fps
    check_length(video_file, video, fmt, frames, options.loop)
    trace.planned = frames
    needed = min(available, frames)
    analysed = needed if limited else analysed_frames(available, needed, fmt.fps)
    return Plan(
        job,
        video_file,
        audio_file,
        photo_file,
        video,
        audio,
        fmt,
        frames,
        needed,
        analysed,
        duration,
        contents,
    )


def analysed_frames(available: int, needed: int, fps: Fraction) -> int:
    """How much of a video of `available` frames is analysed where `needed` are shown.

    It decides pixels, as what is known of a person comes from all of it, and so may depend neither on a cache nor much
    on the speech: speeches of any length over one video share one analysis, or a few.
    """
    enough = ANALYSED_S * fps
    while enough < needed:
        enough *= 2
    return min(available, math.ceil(enough))


@contextlib.contextmanager
def unchanged(scope: Scope, stage: str, *files: InputFile) -> Iterator[None]:
    """What the block says of its inputs holds only where they are what was opened. Raises DhError input.changed."""
    try:
        yield
    except DhError as error:
        if error.code.startswith(BLAMED) and error.code != "input.changed":
            for file in files:
                file.check_unchanged(lambda: scope.alive(stage))
        raise
