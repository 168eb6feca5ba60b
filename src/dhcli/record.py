"""What a job did, put into the words of its result file."""

from __future__ import annotations

import datetime as dt
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from dhcli import __version__
from dhcli.errors import DhError
from dhcli.media.ffmpeg import InputFile, ffmpeg_version, find_ffmpeg
from dhcli.media.verify import OutputInfo as Finished
from dhcli.options import Job
from dhcli.pipeline import Trace
from dhcli.result import (
    AudioInput,
    Environment,
    ErrorInfo,
    FrameCounts,
    Inputs,
    JobResult,
    ModelInfo,
    OutputInfo,
    Resources,
    Status,
    Timings,
    VideoInput,
    WarningInfo,
)


def now() -> dt.datetime:
    """The time as results tell it: UTC."""
    return dt.datetime.now(dt.UTC)


def _cpu_s() -> float:
    """CPU time of this process and of its children that were reaped."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


@dataclass(slots=True)
class Record:
    """Everything about one attempt that its result will tell; filled in as it becomes known."""

    job: Job
    run_id: str
    manifest: Path | None
    attempt: int
    queued_s: float
    trace: Trace = field(default_factory=Trace)
    video: InputFile | None = None
    audio: InputFile | None = None
    fingerprint: str | None = None
    output: Finished | None = None
    model: ModelInfo | None = None
    provider: str | None = None
    device: str | None = None
    onnxruntime: str | None = None
    _started_at: dt.datetime = field(default_factory=now)
    _began_s: float = field(default_factory=time.monotonic)
    _began_cpu_s: float = field(default_factory=_cpu_s)

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began_s

    def result(self, status: Status, *, error: DhError | None = None, notes: Sequence[str] = ()) -> JobResult:
        """The attempt as it stands."""
        trace = self.trace
        return JobResult(
            job_id=self.job.id,
            status=status,
            attempt=self.attempt,
            run_id=self.run_id,
            pid=os.getpid(),
            manifest=str(self.manifest) if self.manifest is not None else None,
            error=ErrorInfo.from_error(error, notes=notes) if error is not None else None,
            warnings=tuple(WarningInfo(code=code, message=message) for code, message in trace.warnings),
            inputs=self._inputs(),
            output=self._output() if status == "succeeded" else None,
            options=self.job.options.model_dump(mode="json"),
            fingerprint=self.fingerprint,
            frames=FrameCounts(
                planned=trace.planned,
                decoded=trace.decoded,
                rendered=trace.rendered,
                encoded=trace.encoded,
                face_missing=trace.face_missing,
                face_missing_ranges=tuple(trace.face_missing_ranges),
            ),
            timings_s=self._timings(),
            resources=self._resources(),
            environment=self._environment(),
            started_at=self._started_at,
            finished_at=None if status == "running" else now(),
        )

    def _inputs(self) -> Inputs:
        return Inputs(video=self._video(), audio=self._audio())

    def _video(self) -> VideoInput:
        known, file = self.trace.video, self.video
        facts: dict[str, Any] = {}
        if file is not None:
            facts = {"bytes": file.bytes, "sha256": file.sha256()}
        if known is not None:
            facts |= {"width": known.width, "height": known.height, "fps": _rate(known.fps)}
            facts |= {"frames": known.frames, "duration_s": float(known.duration)}
        return VideoInput(path=str(self.job.video), **facts)

    def _audio(self) -> AudioInput:
        known, file = self.trace.audio, self.audio
        facts: dict[str, Any] = {}
        if file is not None:
            facts = {"bytes": file.bytes, "sha256": file.sha256()}
        if known is not None:
            facts |= {"sample_rate": known.sample_rate, "channels": known.channels}
            facts |= {"duration_s": float(known.duration)}
        return AudioInput(path=str(self.job.audio), **facts)

    def _output(self) -> OutputInfo | None:
        found = self.output
        if found is None:
            return None
        return OutputInfo(
            path=str(self.job.save_path),
            bytes=found.bytes,
            sha256=found.sha256,
            width=found.width,
            height=found.height,
            fps=_rate(found.fps),
            frames=found.frames,
            duration_s=float(found.duration),
            audio_codec=found.audio_codec,
        )

    def _timings(self) -> Timings:
        trace = self.trace
        return Timings(
            queued=self.queued_s,
            wall=self.wall_s,
            stages=dict(trace.stages_s),
            reader_wait=trace.reader_wait_s,
            writer_wait=trace.writer_wait_s,
            **trace.timings_s,
        )

    def _resources(self) -> Resources:
        try:
            free = shutil.disk_usage(self.job.save_path.parent).free
        except OSError:  # the folder is missing: that is the error, and the number is not known
            free = None
        unit = 1 if sys.platform == "darwin" else 1024
        return Resources(
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            disk_free_bytes=free,
            cpu_s=_cpu_s() - self._began_cpu_s,
        )

    def _environment(self) -> Environment:
        return Environment(
            dh=__version__,
            host=platform.node(),
            ffmpeg=ffmpeg_version(find_ffmpeg()),
            onnxruntime=self.onnxruntime,
            provider=self.provider,
            device=self.device,
            model=self.model,
        )


def _rate(fps: Fraction) -> str:
    return f"{fps.numerator}/{fps.denominator}"
