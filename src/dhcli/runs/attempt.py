"""One attempt at one job: lock, skip or render, commit, and a result file that is always true.

The order guarantees it: an output that is up to date or refused is left as it is. Otherwise `running` is on the disk
before anything is rendered, the output is renamed only after it was read back, and `succeeded` is written last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from dhcli.disk.lock import make_folder, output_lock, refuse_locked, refuse_unwritable
from dhcli.disk.part import PartFile, refuse_special, refuse_stray
from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError, as_dh_error
from dhcli.events import Event, JobDecided, Listener, Progress
from dhcli.jobs.options import Job
from dhcli.media.ffmpeg_program import asked_version, ffmpeg_version, find_ffmpeg
from dhcli.networks.network import runtime_version
from dhcli.render.pipeline import Rendering, render_job
from dhcli.render.plan import Plan, PlanInputs, PlanLimits, plan_job
from dhcli.results.result import JobResult, UnreadableResultError, read_result
from dhcli.results.uptodate import killed_in_a_row, made_by_another_ffmpeg, why_render
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.inputs import JobInputs
from dhcli.runs.output_file import OutputFile, Outputs
from dhcli.runs.result_writer import Outcome, ResultWriter, status_of
from dhcli.runs.settings import Settings
from dhcli.runtime.monitor import Monitor
from dhcli.runtime.scope import Scope

POISON_AFTER = 2
"""One crash may have an outside cause; two in a row are blamed on the job."""


UP_TO_DATE = "up to date"
PREPARING = "start"
"""The stage of everything that belongs to no other one."""

Abandon = Callable[[Callable[[], Outcome]], None]
"""Ends the process after it called its argument, which writes the job's result."""


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

    def __init__(
        self, job: Job, settings: Settings, record: AttemptRecord, emit: Listener, outputs: Outputs | None = None
    ) -> None:
        """`outputs` are those of the run so far; the attempt adds its own."""
        self._job, self._settings, self._record, self._emit = job, settings, record, emit
        self._result_path = settings.result_path(job)
        self._writer = ResultWriter(job, settings, record)
        self._holding = False
        """Whether the locks of the output and of the result are held."""
        self._output = OutputFile(job, settings, record, outputs if outputs is not None else {})

    def run(self, publish: Callable[[Scope | None], None], abandon: Abandon, check: Callable[[], None]) -> Outcome:
        """Run the job to its end.

        Before the job has a scope, `check` raises after a signal. `publish` is called with the scope, which a signal
        may fail, and with None at its end. `abandon` is called from another thread where the job does not end, and must
        not return.
        """
        try:
            with self._locked(check):
                if (error := self._output.clash()) is None:
                    return self._run_locked(publish, abandon, check)
                if self._settings.results_dir is not None:
                    return self._writer.fail(error)
        except Exception as unforeseen:  # noqa: BLE001 - one bad job never ends the others
            error = as_dh_error(unforeseen, "job")
            if error.code not in {"env.locked", "job.cancelled"}:
                return self._writer.fail(error)
        # Another process, or another job of this run, has the result file.
        return Outcome(self._record.result(status_of(error), error=error), unwritten=True)

    def give_up(self, error: DhError) -> Outcome:
        """Write, from another thread, the result of a job whose own thread does not return. The process must end then.

        Without the lock nothing is written or removed, since it may belong to another process.
        """
        if not self._holding:
            return Outcome(self._record.result(status_of(error), error=error), unwritten=True)
        return self._writer.give_up(error)

    @contextlib.contextmanager
    def _locked(self, check: Callable[[], None]) -> Iterator[None]:
        """Lock the output, and then its result where other jobs can have the same one.

        All runs take the two locks in this order, so that no two of them can wait for each other.
        """
        how, run_id = self._settings, self._record.run_id
        refuse_stray(self._job.save_path, how.root)  # the check of the manifest may be hours old
        if how.make_folders:
            make_folder(self._job.save_path)
        with contextlib.ExitStack() as stack:
            stack.enter_context(output_lock(self._job.save_path, run_id=run_id, wait_s=how.lock_wait_s, check=check))
            if how.results_dir is not None:
                self._writer.make_results_dir()
                stack.enter_context(output_lock(self._result_path, run_id=run_id, wait_s=how.lock_wait_s, check=check))
            self._holding = True
            try:
                yield
            finally:
                self._holding = False

    def preview(self, moved: Callable[[], None] = lambda: None) -> Preview:
        """What `run` would do; writes nothing, and calls `moved` at every step.

        It cannot foresee that two outputs turn out to be one file once the first one is there.
        """
        job = self._job
        scope = Scope(stall_timeout_s=self._settings.stall_timeout_s, on_beat=moved)
        try:
            with contextlib.ExitStack() as stack:
                refuse_unwritable(job.save_path, makes_folder=self._settings.make_folders)
                for path in (job.save_path, self._result_path):
                    refuse_locked(path)
                previous = self._previous()
                self._output.look(previous)
                inputs = JobInputs(job, self._settings, self._record, stack, moved)
                watched = not self._reads_nothing(inputs)
                if watched:
                    stack.enter_context(scope)
                reason = self._why(previous, scope, inputs)
                if reason is None:
                    assert previous is not None
                    return Preview(job, "skip", _up_to_date(previous))
                self._refuse_poison(previous)
                if self._output.existed and not watched:
                    stack.enter_context(scope)
                self._output.prove_ownership(scope)
                refuse_special(job.save_path)
                self._settings.models.check(job.options.model, job.options.enhancer)
                return Preview(job, "render", reason, self._plan(inputs, scope))
        except Exception as error:  # noqa: BLE001 - as in a run, nothing that is wrong with a job leaves it
            cause = scope.error or as_dh_error(error, "check")
            return Preview(job, "fail", cause.message, error=cause)

    def _reads_nothing(self, inputs: JobInputs) -> bool:
        """Whether the preview reads no input, so that no watchdog is needed."""
        how, contents = self._settings, inputs.contents()
        if how.verify or (self._record.photo is not None and contents.photo is None):
            return False
        return how.probes.has(self._job, contents.video, contents.audio, how.max_duration_s)

    def _run_locked(
        self, publish: Callable[[Scope | None], None], abandon: Abandon, check: Callable[[], None]
    ) -> Outcome:
        scope = Scope(
            stall_timeout_s=self._settings.stall_timeout_s,
            timeout_s=self._settings.timeout_s,
            on_stuck=lambda error: abandon(lambda: self.give_up(error)),
        )
        with contextlib.ExitStack() as stack:
            stack.callback(publish, None)
            try:
                previous = self._previous()
                self._output.look(previous)
                inputs = JobInputs(self._job, self._settings, self._record, stack, check)
                if previous is not None and self._still_holds(previous, inputs):
                    return self._skipped(previous, scope)
                with scope:
                    publish(scope)
                    try:
                        with scope.stage(PREPARING):
                            return self._skip_or_render(previous, scope, inputs)
                    except Exception as error:  # noqa: BLE001 - as below, and the scope still watches what is written
                        scope.fail(error, "job")
                        return self._writer.fail(scope.error or as_dh_error(error, "job"), scope.notes)
            except Exception as error:  # noqa: BLE001 - whatever ends a job ends in its result
                return self._writer.fail(scope.error or as_dh_error(error, "job"), scope.notes)

    def _still_holds(self, previous: JobResult, inputs: JobInputs) -> bool:
        """Whether the earlier result still holds, by file sizes and times alone.

        This needs no threads of a scope: starting and ending them took more than half of the time of such a job.
        """
        if self._settings.if_exists == "overwrite" or self._settings.verify or previous.output is None:
            return False
        known = inputs.known()
        return known is not None and why_render(previous, known, self._job.save_path, self._settings.strict) is None

    def _emit_in_stage(self, event: Event, scope: Scope) -> None:
        with scope.waiting(PREPARING):
            self._emit(event)

    def _skipped(self, previous: JobResult, scope: Scope) -> Outcome:
        self._emit_in_stage(JobDecided(self._job.id, "skip", UP_TO_DATE), scope)
        self._output.keep()
        if previous.output is None:  # the result of an attempt that rendered nothing: else it would stay for ever
            return self._writer.finish(self._record.result("skipped"))
        return Outcome(previous.model_copy(update={"status": "skipped"}))

    def _skip_or_render(self, previous: JobResult | None, scope: Scope, inputs: JobInputs) -> Outcome:
        reason = self._why(previous, scope, inputs)
        if reason is None:
            assert previous is not None
            return self._skipped(previous, scope)
        inputs.identify(scope)
        inputs.watch()
        self._refuse_poison(previous)
        self._settings.models.check_device()
        find_ffmpeg()
        self._output.prove_ownership(scope)
        self._emit_in_stage(JobDecided(self._job.id, "render", reason), scope)
        self._render(scope, inputs)
        with scope.stage("commit"):
            self._output.check_in_place()
            return self._writer.finish(self._record.result("succeeded"))

    def _previous(self) -> JobResult | None:
        try:
            return read_result(self._result_path, only_of=self._settings.result_only_of(self._job))
        except UnreadableResultError as error:
            self._record.trace.warn("result.unreadable", f"{error}; it is replaced.")
            return None

    def _why(self, previous: JobResult | None, scope: Scope, inputs: JobInputs) -> str | None:
        """Why the job is rendered; None where the earlier result still holds, and its file is not touched."""
        if previous is None:
            return "no earlier result"
        ingredients = inputs.identify(scope)
        if self._settings.if_exists == "overwrite":
            return "asked for"
        reason = why_render(previous, ingredients, self._job.save_path, self._settings.strict)
        if reason is None and self._settings.verify:
            return self._output.why_changed(scope)
        return reason

    def _refuse_poison(self, previous: JobResult | None) -> None:
        record, ingredients = self._record, self._record.ingredients
        record.killed_before = killed_in_a_row(previous, ingredients.fingerprint) if ingredients is not None else 0
        if record.killed_before < POISON_AFTER or self._settings.retry_poison:
            return
        raise DhError(
            "job.poison",
            f"The process was killed {record.killed_before} times in a row while it rendered {self._job.save_path}.",
            hint="Look for what ended it (the kernel's log tells of too little memory), then use --retry-poison; "
            "changed inputs or options are tried without it.",
            stage="start",
        )

    def _render(self, scope: Scope, inputs: JobInputs) -> None:
        job, record, root = self._job, self._record, self._settings.root
        with self._monitor(scope), PartFile(job.save_path, root=root) as part:
            self._writer.part = part
            with scope.stage("commit"):
                self._writer.begin()
            with scope.waiting(PREPARING):
                self._notify("probe", 0, None)
            plan = self._plan(inputs, scope)
            with scope.stage("load"):
                models = self._settings.models
                family, finder = models.family(job.options.model), models.finder
                sharper = job.options.enhancer
                enhancer = models.enhancer(sharper) if sharper is not None else None
            record.model, record.onnxruntime = family.model, runtime_version()
            how = self._settings
            try:
                record.output = render_job(
                    Rendering(
                        plan=plan,
                        finder=finder,
                        family=family,
                        enhancer=enhancer,
                        scope=scope,
                        trace=record.trace,
                        part=part,
                        notify=self._notify,
                        scratch=Scratch(job.save_path, how.min_disk_bytes),
                        store=how.probes.store,
                        batch=how.batch,
                    )
                )
            finally:  # some networks are opened only when they are needed
                if (warning := family.model.warning or finder.warning) is not None:
                    record.trace.warn("device.fallback", warning)
            self._refuse_warnings()
            with scope.stage("commit"):
                self._output.replace(part, scope, self._writer.begin)

    def _refuse_warnings(self) -> None:
        """Raise DhError job.strict where the job has a warning that may not be."""
        told = {code: text for code, text in self._record.trace.warnings if code in self._settings.strict}
        if told:
            texts = " ".join(f"{text} [{code}]" for code, text in told.items())
            raise DhError(
                "job.strict",
                f"The output {self._job.save_path} is not put in place: {texts}",
                hint="The result's block 'picture' has the figures. To look at the video, render without --strict.",
                stage="verify",
            )

    def _notify(self, stage: str, done: int, total: int | None) -> None:
        self._emit(Progress(self._job.id, stage, done, total))

    def _plan(self, inputs: JobInputs, scope: Scope) -> Plan:
        how = self._settings
        video, audio = inputs.open()
        opened = PlanInputs(video, audio, self._record.photo, inputs.contents())
        limits = PlanLimits(how.limit_frames, how.max_duration_s)
        return plan_job(self._job, opened, scope, self._record.trace, how.probes, limits)

    def _monitor(self, scope: Scope) -> Monitor:
        folder, floor = self._job.save_path.parent, self._settings.min_disk_bytes
        return Monitor(scope, folder, self._record.usage, self._record.trace.warn, min_disk_bytes=floor)


def _up_to_date(previous: JobResult) -> str:
    """`UP_TO_DATE`, and the ffmpeg that made the output where its major version is another one."""
    with contextlib.suppress(DhError):  # without a working ffmpeg only renders fail
        ffmpeg_version(find_ffmpeg())
    before = made_by_another_ffmpeg(previous, now := asked_version())
    return UP_TO_DATE if before is None else f"{UP_TO_DATE}; made with ffmpeg {before}, and {now} would render now"
