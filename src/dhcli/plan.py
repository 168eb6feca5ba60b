"""What a job is going to do, known before it does anything, and the trace of what it did so far.

Probing decides here what the output will be. It knows no networks, no threads and no part files.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from dhcli.errors import DhError
from dhcli.media.fence import MAX_DURATION_S
from dhcli.media.ffmpeg import InputFile
from dhcli.media.info import AudioInfo, VideoInfo, frame_format
from dhcli.media.playback import check_length
from dhcli.media.probe import probe_audio, probe_video
from dhcli.options import Job
from dhcli.scope import Scope
from dhcli.timing import frame_count
from dhcli.types import FrameFormat


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
class Plan:
    """What is going to be rendered, known before anything is."""

    job: Job
    video_file: InputFile
    audio_file: InputFile
    video: VideoInfo
    audio: AudioInfo
    format: FrameFormat
    frames: int
    """Frames of the output."""
    source_frames: int
    """Frames of the video that are needed for it."""
    duration: Fraction
    """Seconds of sound that go into the output."""


def plan_job(
    job: Job,
    video_file: InputFile,
    audio_file: InputFile,
    scope: Scope,
    trace: Trace,
    *,
    limit_frames: int | None = None,
    max_duration_s: float = MAX_DURATION_S,
) -> Plan:
    """Probe both inputs and say what the output will be. Raises DhError input.*, audio.too_short."""
    with trace.timed("probe"), scope.stage("probe"), unchanged(video_file, audio_file):
        video = trace.video = probe_video(scope, video_file, max_duration_s=max_duration_s)
        audio = trace.audio = probe_audio(scope, audio_file, max_duration_s=max_duration_s)
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
    if limit_frames is not None and limit_frames < frames:
        frames, duration = limit_frames, limit_frames / fmt.fps
    check_length(video_file, video, fmt, frames, options.loop)
    trace.planned = frames
    return Plan(job, video_file, audio_file, video, audio, fmt, frames, min(available, frames), duration)


@contextlib.contextmanager
def unchanged(*files: InputFile) -> Iterator[None]:
    """What the block says of its inputs holds only where they are what was opened. Raises DhError input.changed."""
    try:
        yield
    except DhError as error:
        if error.code.startswith(("input.", "decode.")):  # half of a copy that still goes on looks damaged
            for file in files:
                file.check_unchanged()
        raise
