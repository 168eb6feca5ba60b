"""One attempt at one job: lock, skip or render, commit, and the result file that tells the truth about it.

The order is the promise: `running` is on the disk before anything starts, the output is renamed only after it was read
back, and `succeeded` is written last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dhcli.bundle import Bundle, load_bundle
from dhcli.errors import DhError, as_dh_error
from dhcli.families.dh_base import DhBase
from dhcli.inference import Device, runtime_version
from dhcli.lock import output_lock
from dhcli.media.ffmpeg import InputFile
from dhcli.options import Job
from dhcli.part import PartFile, translated
from dhcli.pipeline import Notify, Plan, plan_job, render_job
from dhcli.record import Record
from dhcli.result import (
    JobResult,
    ModelInfo,
    UnreadableResultError,
    fingerprint,
    read_result,
    result_path,
    why_render,
    write_result,
)
from dhcli.scope import Scope

IfExists = Literal["skip", "overwrite", "fail"]


class Models:
    """The models of a run: descriptors read once, networks opened at their first use and kept."""

    def __init__(self, folders: Sequence[Path], device: Device, threads: int = 0) -> None:
        self.device = device
        self._folders, self._threads = tuple(folders), threads
        self._bundles: dict[str, Bundle] = {}
        self._families: dict[str, DhBase] = {}

    def bundle(self, name: str) -> Bundle:
        """The model's description. Raises DhError model.*."""
        if name not in self._bundles:
            self._bundles[name] = load_bundle(name, self._folders)
        return self._bundles[name]

    def family(self, name: str) -> DhBase:
        """The model, ready to run. Raises DhError model.*, env.device_unavailable."""
        if name not in self._families:
            bundle = self.bundle(name)
            if bundle.family != DhBase.name:
                raise DhError(
                    "model.incompatible",
                    f"The model '{name}' is of the family '{bundle.family}', which this dh does not know.",
                    hint=f"This dh knows the family {DhBase.name}.",
                )
            self._families[name] = DhBase(bundle, self.device, self._threads)
        return self._families[name]


@dataclass(frozen=True, slots=True)
class Settings:
    """How jobs are run, the same for all jobs of a run."""

    models: Models
    manifest: Path | None = None
    if_exists: IfExists = "skip"
    results_dir: Path | None = None
    limit_frames: int | None = None
    stall_timeout_s: float = 60.0
    timeout_s: float | None = None

    def result_path(self, job: Job) -> Path:
        """Where the job's result file lies."""
        return result_path(job.save_path, job.id, self.results_dir)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    result: JobResult
    lost: DhError | None = None
    """Why the result is not on the disk."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an attempt would do."""

    job: Job
    action: Literal["render", "skip", "fail"]
    reason: str
    plan: Plan | None = None
    error: DhError | None = None


class Attempt:
    """One attempt at a job. `run` never raises for what is wrong with the job: that is in the result."""

    def __init__(self, job: Job, settings: Settings, record: Record, notify: Notify) -> None:
        self._job, self._settings, self._record, self._notify = job, settings, record, notify
        self._result_path = settings.result_path(job)

    def run(self, publish: Callable[[Scope | None], None], abandon: Callable[[Outcome], None]) -> Outcome:
        """Run the job to its end.

        `publish` is called with the scope that a signal may fail, and with None when it is gone; `abandon` from
        another thread, and must not return, where the job cannot be ended.
        """
        try:
            with output_lock(self._job.save_path):
                return self._run_locked(publish, abandon)
        except DhError as error:
            if error.code == "env.locked":  # its holder is writing the result file too
                return Outcome(self._record.result("failed", error=error))
            return self._failed(error)

    def preview(self) -> Preview:
        """What `run` would do, found out without writing anything."""
        job = self._job
        scope = Scope(stall_timeout_s=self._settings.stall_timeout_s)
        try:
            with contextlib.ExitStack() as stack, scope:
                previous = self._previous()
                if self._settings.if_exists == "skip" and self._up_to_date(previous, stack) is not None:
                    return Preview(job, "skip", "up to date")
                self._refuse_foreign_output(previous)
                video, audio = self._open_inputs(stack)
                reason = why_render(previous, self._record.fingerprint or "", job.save_path) or "asked for"
                plan = plan_job(job, video, audio, scope, self._record.trace, self._settings.limit_frames)
                return Preview(job, "render", reason, plan)
        except Exception as error:  # noqa: BLE001 - as in a run, nothing that is wrong with a job leaves it
            found = scope.error or as_dh_error(error, "check")
            return Preview(job, "fail", found.message, error=found)

    def _run_locked(self, publish: Callable[[Scope | None], None], abandon: Callable[[Outcome], None]) -> Outcome:
        scope = Scope(
            stall_timeout_s=self._settings.stall_timeout_s,
            timeout_s=self._settings.timeout_s,
            on_stuck=lambda error: abandon(self._failed(error)),
        )
        with contextlib.ExitStack() as stack:
            stack.callback(publish, None)
            try:
                with scope:
                    publish(scope)
                    return self._skip_or_render(scope, stack)
            except Exception as error:  # noqa: BLE001 - whatever ends a job ends in its result
                return self._failed(scope.error or as_dh_error(error, "job"), scope.notes)

    def _skip_or_render(self, scope: Scope, stack: contextlib.ExitStack) -> Outcome:
        previous = self._previous()
        if self._settings.if_exists == "skip" and (done := self._up_to_date(previous, stack)) is not None:
            return Outcome(done)
        self._refuse_foreign_output(previous)
        self._render(scope, stack)
        return self._finish(self._record.result("succeeded"))

    def _previous(self) -> JobResult | None:
        try:
            return read_result(self._result_path)
        except UnreadableResultError as error:
            self._record.trace.warn("result.unreadable", f"{error}; it is replaced.")
            return None

    def _up_to_date(self, previous: JobResult | None, stack: contextlib.ExitStack) -> JobResult | None:
        """The earlier result where it still holds. Its file tells the truth already and is not touched."""
        if previous is None or previous.output is None:
            return None
        self._open_inputs(stack)
        assert self._record.fingerprint is not None
        if why_render(previous, self._record.fingerprint, self._job.save_path) is not None:
            return None
        return previous.model_copy(update={"status": "skipped"})

    def _open_inputs(self, stack: contextlib.ExitStack) -> tuple[InputFile, InputFile]:
        record, job = self._record, self._job
        if record.video is None or record.audio is None:
            record.video = stack.enter_context(InputFile(job.video, "video"))
            record.audio = stack.enter_context(InputFile(job.audio, "audio"))
            bundle = self._settings.models.bundle(job.options.model)
            record.model = ModelInfo(name=bundle.name, sha256=bundle.sha256)
            options = job.options.model_dump(mode="json")
            if self._settings.limit_frames is not None:
                options["limit_frames"] = self._settings.limit_frames
            record.fingerprint = fingerprint(
                audio_sha256=record.audio.sha256(),
                video_sha256=record.video.sha256(),
                model_sha256=bundle.sha256,
                options=options,
            )
        return record.video, record.audio

    def _refuse_foreign_output(self, previous: JobResult | None) -> None:
        """An existing output is replaced only where dh made it, or where the user says so."""
        choice, save_path = self._settings.if_exists, self._job.save_path
        if choice == "overwrite" or not os.path.lexists(save_path) or (choice == "skip" and previous is not None):
            return
        raise DhError(
            "output.exists",
            f"The output {save_path} is there already"
            + (", without a result file that says dh made it." if choice == "skip" else "."),
            hint="Move it away, name another save_path, or use --if-exists overwrite.",
            stage="output",
        )

    def _render(self, scope: Scope, stack: contextlib.ExitStack) -> None:
        job, record = self._job, self._record
        with PartFile(job.save_path) as part:
            self._write(record.result("running"))
            video, audio = self._open_inputs(stack)
            plan = plan_job(job, video, audio, scope, record.trace, self._settings.limit_frames)
            family = self._settings.models.family(job.options.model)
            record.provider, record.device = family.provider, family.device
            record.onnxruntime = runtime_version()
            if family.warning:
                record.trace.warn("device.fallback", family.warning)
            record.output = render_job(plan, family, scope, record.trace, part, self._notify)
            scope.check()
            part.commit()

    def _failed(self, error: DhError, notes: Sequence[str] = ()) -> Outcome:
        status: Literal["cancelled", "failed"] = "cancelled" if error.code == "job.cancelled" else "failed"
        return self._finish(self._record.result(status, error=error, notes=notes))

    def _finish(self, result: JobResult) -> Outcome:
        try:
            self._write(result)
        except DhError as error:
            return Outcome(result, lost=error)
        return Outcome(result)

    def _write(self, result: JobResult) -> None:
        if self._settings.results_dir is not None:
            with translated(self._settings.results_dir, "be created"):
                self._settings.results_dir.mkdir(parents=True, exist_ok=True)
        write_result(self._result_path, result)
