"""Collects everything about one attempt, and makes the result of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import platform
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from dhcli import __version__
from dhcli.errors import DhError
from dhcli.jobs.options import Job, parse_face
from dhcli.media.ffmpeg_program import asked_version
from dhcli.media.input_file import InputFile
from dhcli.media.verify import VerifiedOutput
from dhcli.networks.model import Model
from dhcli.render.trace import Trace
from dhcli.results.parts import (
    AudioInput,
    EarlierAttempt,
    Environment,
    ErrorInfo,
    FrameCounts,
    Inputs,
    LastSuccess,
    OutputInfo,
    PersonSeen,
    PhotoInput,
    Picture,
    PutInPlace,
    Resources,
    Timings,
    VideoInput,
    WarningInfo,
    without_surrogates,
)
from dhcli.results.result import RENDER_VERSION, JobResult, Status
from dhcli.results.uptodate import Ingredients
from dhcli.runtime.monitor import Usage
from dhcli.stages.census import Sighting
from dhcli.timing import rate_text


def now() -> dt.datetime:
    """The present time, UTC, as results have it."""
    return dt.datetime.now(dt.UTC)


def _cpu_s() -> float:
    """CPU time, s, of this process and its reaped children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _frames_in(ranges: Sequence[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _place(path: Path, file: InputFile | None) -> str:
    """Where an input is from: its address, or its path."""
    return file.address if file is not None and file.address else str(path)


@dataclass(slots=True)
class AttemptRecord:
    """Everything about one attempt that goes into its result; filled in as it becomes known."""

    job: Job
    run_id: str
    manifest: Path | None
    attempt: int
    queued_s: float
    limit_frames: int | None = None
    trace: Trace = field(default_factory=Trace)
    usage: Usage = field(default_factory=Usage)
    video: InputFile | None = None
    audio: InputFile | None = None
    photo: InputFile | None = None
    """The photo that the option `face` names."""
    ingredients: Ingredients | None = None
    earlier_attempts: tuple[EarlierAttempt, ...] = ()
    killed_before: int = 0
    owns_output: bool = False
    """Whether the file at the output's path is dh's work."""
    last_success: LastSuccess | None = None
    """An earlier success. Its output is still in place until this attempt puts its own there."""
    put_in_place: PutInPlace | None = None
    """The contents that an earlier, killed attempt or this one may have put in place."""
    output: VerifiedOutput | None = None
    model: Model | None = None
    """The model, once it is opened; where it ran is asked when the result is made."""
    onnxruntime: str | None = None
    _started_at: dt.datetime = field(default_factory=now)
    _began_s: float = field(default_factory=time.monotonic)
    _began_cpu_s: float = field(default_factory=_cpu_s)

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began_s

    @property
    def options(self) -> dict[str, JsonValue]:
        """Every option with its value, and the limit of this run where there is one."""
        options: dict[str, JsonValue] = self.job.options.model_dump(mode="json")
        return options if self.limit_frames is None else {**options, "limit_frames": self.limit_frames}

    def result(self, status: Status, *, error: DhError | None = None, notes: Sequence[str] = ()) -> JobResult:
        """The result of the attempt so far."""
        trace = self.trace
        poison = error is not None and error.code == "job.poison"
        ended_well = status in {"succeeded", "skipped"}
        return JobResult(
            job_id=self.job.id,
            status=status,
            attempt=self.attempt,
            earlier_attempts=self.earlier_attempts,
            killed_before=self.killed_before if status == "running" or poison else 0,
            run_id=self.run_id,
            pid=os.getpid(),
            manifest=str(self.manifest) if self.manifest is not None else None,
            error=ErrorInfo.from_error(error, notes=notes) if error is not None else None,
            warnings=self._warnings(status),
            inputs=self._inputs(),
            output=self._output(status),
            owns_output=self.owns_output or ended_well,
            last_success=None if ended_well else self.last_success,
            put_in_place=None if ended_well else self.put_in_place,
            options=self.options,
            fingerprint=self.ingredients.fingerprint if self.ingredients is not None else None,
            frames=FrameCounts(
                planned=trace.planned,
                decoded=trace.decoded,
                rendered=trace.rendered,
                encoded=trace.encoded,
                face_missing=trace.face_missing,
                face_missing_ranges=tuple(trace.face_missing_ranges),
                mouth_covered=_frames_in(trace.mouth_covered_ranges),
                mouth_covered_ranges=tuple(trace.mouth_covered_ranges),
                left=_frames_in(trace.left_ranges),
                left_ranges=tuple(trace.left_ranges),
            ),
            analysis=trace.analysis,
            persons=tuple(map(_person, trace.sightings)),
            picture=self._picture(),
            timings_s=self._timings(),
            resources=self._resources(),
            environment=self._environment(),
            started_at=self._started_at,
            finished_at=None if status == "running" else now(),
        )

    def _warnings(self, status: Status) -> tuple[WarningInfo, ...]:
        """Those of this attempt, and where it leaves an earlier output as it is, those of that."""
        kept = self.last_success.warnings if status == "skipped" and self.last_success is not None else ()
        return (*kept, *(WarningInfo(code=code, message=message) for code, message in self.trace.warnings))

    def _inputs(self) -> Inputs:
        return Inputs(video=self._video(), audio=self._audio(), photo=self._photo())

    def _photo(self) -> PhotoInput | None:
        path = parse_face(self.job.options.face).photo
        if path is None:
            return None
        size = self.photo.bytes if self.photo is not None else None
        sha256 = self.ingredients.photo_sha256 if self.ingredients is not None else None
        return PhotoInput(path=_place(path, self.photo), bytes=size, sha256=sha256)

    def _video(self) -> VideoInput:
        known, file = self.trace.video, self.video
        facts: dict[str, Any] = {}
        if file is not None:
            facts["bytes"] = file.bytes
        if known is not None:
            facts |= {"width": known.width, "height": known.height, "fps": rate_text(known.fps)}
            facts |= {"frames": known.frames, "duration_s": float(known.duration)}
        if self.ingredients is not None:
            facts["sha256"] = self.ingredients.video_sha256
        return VideoInput(path=_place(self.job.video, file), **facts)

    def _audio(self) -> AudioInput:
        known, file = self.trace.audio, self.audio
        facts: dict[str, Any] = {}
        if file is not None:
            facts["bytes"] = file.bytes
        if known is not None:
            facts |= {"sample_rate": known.sample_rate, "channels": known.channels}
            channel = self.trace.channel
            facts |= {"heard": "mix" if channel is None else str(channel + 1), "duration_s": float(known.duration)}
        if self.ingredients is not None:
            facts["sha256"] = self.ingredients.audio_sha256
        return AudioInput(path=_place(self.job.audio, file), **facts)

    def _output(self, status: Status) -> OutputInfo | None:
        if status == "skipped" and self.last_success is not None:
            return self.last_success.output.model_copy(update={"path": without_surrogates(str(self.job.save_path))})
        output = self.output
        if output is None or status != "succeeded":
            return None
        return OutputInfo(
            path=str(self.job.save_path),
            bytes=output.bytes,
            sha256=output.sha256,
            width=output.width,
            height=output.height,
            fps=rate_text(output.fps),
            frames=output.frames,
            duration_s=float(output.duration),
            audio_codec=output.audio_codec,
        )

    def _picture(self) -> Picture | None:
        figures = self.trace.picture
        return None if figures is None else Picture.model_validate(dataclasses.asdict(figures))

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
        except OSError:  # the folder is missing, and that is the job's error
            free = None
        usage = self.usage
        return Resources(
            peak_rss_bytes=usage.peak_rss_bytes,
            peak_vram_bytes=usage.peak_vram_bytes,
            disk_free_bytes=free,
            cpu_s=_cpu_s() - self._began_cpu_s,
            peak_open_files=usage.peak_open_files,
            min_disk_free_bytes=usage.min_disk_free_bytes,
        )

    def _environment(self) -> Environment:
        return Environment(
            dh=__version__,
            render_version=RENDER_VERSION,
            host=platform.node(),
            ffmpeg=asked_version(),
            onnxruntime=self.onnxruntime,
            provider=self.model.provider if self.model is not None else None,
            device=self.model.device if self.model is not None else None,
            precision=self.model.precision if self.model is not None else None,
            model=self.ingredients.model if self.ingredients is not None else None,
            face_finder=self.ingredients.face_finder if self.ingredients is not None else None,
            enhancer=self.ingredients.enhancer if self.ingredients is not None else None,
        )


def _person(seen: Sighting) -> PersonSeen:
    left, top = max(0, round(seen.box.x)), max(0, round(seen.box.y))
    box = (left, top, max(1, round(seen.box.width)), max(1, round(seen.box.height)))
    return PersonSeen(taken=seen.taken, first=seen.first, last=seen.last, looks=seen.looks, box=box)
