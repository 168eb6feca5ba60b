"""One second of the sample, rendered with a new model in a temporary folder: an ordinary run of one job."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dhcli.bench.clip import sample
from dhcli.errors import DhError, checked_code
from dhcli.events import Event, JobFinished, Summary
from dhcli.jobs.options import Job, JobOptions
from dhcli.render.models import Models
from dhcli.results.result import read_result
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Settings

FRAMES = 25
STALL_S = 600.0
"""A batch of a large network takes minutes on a CPU."""

VERIFY = "dh models verify"
COMPARE = "Run the network with its own program, and compare its inputs with the settings in docs/models.md."
"""Instead of a hint to verify a model that is installed."""


class InterruptedTestError(Exception):
    """A signal ended it. The argument is the exit code."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is rendered."""

    audio: Path
    video: Path
    frames: int = FRAMES

    @classmethod
    def packed(cls, frames: int = FRAMES) -> Sample:
        """The sample that comes with dh. Raises DhError input.missing."""
        audio, video = sample()
        return cls(audio, video, frames)


@dataclass(frozen=True, slots=True)
class Tested:
    """How fast it was."""

    frames: int
    wall_s: float
    fps: float
    """While frames were made; the analysis of the video and opening the networks do not count."""


def asking(model: str) -> JobOptions:
    """The options of a job that uses a model."""
    return JobOptions(model=model, preset="ultrafast")


def sharpened_by(enhancer: str) -> JobOptions:
    """The options of a job of dh-base that uses an enhancer."""
    return JobOptions(enhancer=enhancer, preset="ultrafast")


def self_test(models: Models, options: JobOptions, clip: Sample, on_end: Callable[[], None] = lambda: None) -> Tested:
    """Render the clip with these options. `on_end` is called where the process may end with the test.

    Raises DhError with what kept it from the end, InterruptedTestError after a signal.
    """
    with tempfile.TemporaryDirectory(prefix="dh-self-test-") as folder:
        failed: list[JobFinished] = []

        def listen(event: Event) -> None:
            match event:
                case JobFinished(code=str()):
                    failed.append(event)
                case Summary(exit_code=code) if code:
                    shutil.rmtree(folder, ignore_errors=True)  # if a call hangs, the run ends the process next
                    on_end()

        job = Job(0, None, "self-test", clip.audio, clip.video, Path(folder) / "out.mp4", options)
        settings = Settings(models, limit_frames=clip.frames, stall_timeout_s=STALL_S)
        summary = Batch(settings, listen).run([job])
        if summary.exit_code > 128:
            raise InterruptedTestError(summary.exit_code)
        if failed:
            raise _as_error(failed[-1])
        result = read_result(settings.result_path(job))
        assert result is not None
        times = result.timings_s
        return Tested(result.frames.encoded, times.wall, result.frames.encoded / max(times.render, 1e-9))


def _as_error(event: JobFinished) -> DhError:
    """The job's error. One of the model is for good: another try would end in the same way."""
    assert event.code is not None
    code = checked_code(event.code)
    message = f"The self-test failed, and nothing is installed: {event.message} [{code}]"
    hint = COMPARE if VERIFY in (event.hint or "") else event.hint or ""
    return DhError("model.incompatible" if code.startswith("model.") else code, message, hint=hint)
