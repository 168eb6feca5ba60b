"""One attempt at one job: lock, skip or render, commit, and the result file that tells the truth about it.

The order is the promise: what is up to date or refused is left as it is; otherwise `running` is on the disk before
anything is rendered, the output is renamed only after it was read back, and `succeeded` is written last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dhcli.disk.lock import output_lock, refuse_locked, refuse_unwritable
from dhcli.disk.part import PartFile, Replaceable, refuse_special, refuse_stray
from dhcli.disk.regular import FileStamp
from dhcli.errors import DhError, as_dh_error
from dhcli.events import Event, JobDecided, Listener, Progress
from dhcli.jobs.options import Job
from dhcli.media.ffmpeg import InputFile, asked_version, ffmpeg_version, find_ffmpeg
from dhcli.media.verify import VerifiedOutput
from dhcli.networks.network import runtime_version
from dhcli.render.pipeline import render_job
from dhcli.render.plan import Plan, plan_job
from dhcli.results.parts import FileContent, PutInPlace
from dhcli.results.result import JobResult, UnreadableResultError, read_result
from dhcli.results.uptodate import Legacy, killed_in_a_row, legacy, made_by_another_ffmpeg, why_render
from dhcli.runs.attempt_record import Record
from dhcli.runs.inputs import Sources, content_sha256
from dhcli.runs.result_writer import Ending, Outcome, status_of
from dhcli.runs.settings import Settings
from dhcli.runtime.monitor import Monitor
from dhcli.runtime.scope import Scope

POISON_AFTER = 2
"""One crash may have an outside cause; two in a row are blamed on the job."""


UP_TO_DATE = "up to date"
PREPARING = "start"
"""The stage of all that is in no other one."""

Abandon = Callable[[Callable[[], Outcome]], None]
Outputs: TypeAlias = dict[tuple[int, int], Job]
"""Device and inode of the outputs that this run has made, or found up to date, and whose they are."""


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
        self, job: Job, settings: Settings, record: Record, emit: Listener, outputs: Outputs | None = None
    ) -> None:
        """`outputs` are those of the run so far; the attempt adds its own."""
        self._job, self._settings, self._record, self._emit = job, settings, record, emit
        self._outputs = outputs if outputs is not None else {}
        self._result_path = settings.result_path(job)
        self._ending = Ending(job, settings, record)
        self._holding = False
        """The lock of the output, and that of the result."""
        self._before: FileStamp | None = None
        """What was at the output's path when the attempt began."""
        self._whole: FileStamp | None = None
        """The checked part, as it was right before it was renamed."""
        self._earlier = Legacy()
        """What the earlier result tells about it."""

    def run(self, publish: Callable[[Scope | None], None], abandon: Abandon, check: Callable[[], None]) -> Outcome:
        """Run the job to its end.

        `check` raises what a signal says while there is no scope yet; `publish` is called with the scope that a signal
        may fail, and with None when it is gone; `abandon` from another thread, and must not return, where the job
        cannot be ended: with what writes the job's result.
        """
        try:
            with self._locked(check):
                if (error := self._same_output()) is None:
                    return self._run_locked(publish, abandon)
                if self._settings.results_dir is not None:
                    return self._ending.fail(error)
        except Exception as unforeseen:  # noqa: BLE001 - one bad job never ends the others
            error = as_dh_error(unforeseen, "job")
            if error.code not in {"env.locked", "job.cancelled"}:
                return self._ending.fail(error)
        # Another process, or another job of this run, has the result file.
        return Outcome(self._record.result(status_of(error), error=error), unwritten=True)

    def give_up(self, error: DhError) -> Outcome:
        """From another thread: the result of a job whose own thread does not come back. The process must end then.

        Without the lock nothing is written or removed: it may be another process's.
        """
        if not self._holding:
            return Outcome(self._record.result(status_of(error), error=error), unwritten=True)
        return self._ending.give_up(error)

    @contextlib.contextmanager
    def _locked(self, check: Callable[[], None]) -> Iterator[None]:
        """Hold the output, and then its result where other jobs can have the same one.

        All runs take them in this order, one of each, so that none can wait for another in a circle.
        """
        how, run_id = self._settings, self._record.run_id
        refuse_stray(self._job.save_path, how.root)  # it was judged hours ago, when the manifest was read
        with contextlib.ExitStack() as stack:
            stack.enter_context(output_lock(self._job.save_path, run_id=run_id, wait_s=how.lock_wait_s, check=check))
            if how.results_dir is not None:
                self._ending.make_results_dir()
                stack.enter_context(output_lock(self._result_path, run_id=run_id, wait_s=how.lock_wait_s, check=check))
            self._holding = True
            try:
                yield
            finally:
                self._holding = False

    def preview(self, moved: Callable[[], None] = lambda: None) -> Preview:
        """What `run` would do, found out without writing anything; `moved` is called at every step.

        What only the run can show is not foreseen: two outputs that turn out to be one file once the first is there.
        """
        job = self._job
        scope = Scope(stall_timeout_s=self._settings.stall_timeout_s, on_beat=moved)
        try:
            with contextlib.ExitStack() as stack:
                refuse_unwritable(job.save_path)
                for path in (job.save_path, self._result_path):
                    refuse_locked(path)
                previous = self._previous()
                self._look_at_output(previous)
                sources = Sources(job, self._settings, self._record, stack)
                watched = not self._foreseeable(sources)
                if watched:
                    stack.enter_context(scope)
                reason = self._why(previous, scope, sources)
                if reason is None:
                    assert previous is not None
                    return Preview(job, "skip", _up_to_date(previous))
                self._refuse_poison(previous)
                if self._before is not None and not watched:
                    stack.enter_context(scope)
                self._prove_ownership(scope)
                refuse_special(job.save_path)
                return Preview(job, "render", reason, self._plan(sources, scope))
        except Exception as error:  # noqa: BLE001 - as in a run, nothing that is wrong with a job leaves it
            found = scope.error or as_dh_error(error, "check")
            return Preview(job, "fail", found.message, error=found)

    def _foreseeable(self, sources: Sources) -> bool:
        """Nothing need be read to know what the job would be, so that there is nothing to watch over."""
        how, contents = self._settings, sources.contents()
        if how.verify or (self._record.photo is not None and contents.photo is None):
            return False
        return how.probes.knows(contents.video, contents.audio, how.max_duration_s)

    def _run_locked(self, publish: Callable[[Scope | None], None], abandon: Abandon) -> Outcome:
        scope = Scope(
            stall_timeout_s=self._settings.stall_timeout_s,
            timeout_s=self._settings.timeout_s,
            on_stuck=lambda error: abandon(lambda: self.give_up(error)),
        )
        with contextlib.ExitStack() as stack:
            stack.callback(publish, None)
            try:
                previous = self._previous()
                self._look_at_output(previous)
                sources = Sources(self._job, self._settings, self._record, stack)
                if previous is not None and self._recognised(previous, sources):
                    return self._skipped(previous, scope)
                with scope:
                    publish(scope)
                    try:
                        with scope.stage(PREPARING):
                            return self._skip_or_render(previous, scope, sources)
                    except Exception as error:  # noqa: BLE001 - as below, and the scope still watches what is written
                        scope.fail(error, "job")
                        return self._ending.fail(scope.error or as_dh_error(error, "job"), scope.notes)
            except Exception as error:  # noqa: BLE001 - whatever ends a job ends in its result
                return self._ending.fail(scope.error or as_dh_error(error, "job"), scope.notes)

    def _recognised(self, previous: JobResult, sources: Sources) -> bool:
        """The earlier result holds, told by file sizes and times alone.

        It needs none of a scope's threads: starting and ending them took more than half of the time of such a job.
        """
        if self._settings.if_exists == "overwrite" or self._settings.verify or previous.output is None:
            return False
        known = sources.known()
        return known is not None and why_render(previous, known, self._job.save_path) is None

    def _tell(self, event: Event, scope: Scope) -> None:
        with scope.waiting(PREPARING):
            self._emit(event)

    def _skipped(self, previous: JobResult, scope: Scope) -> Outcome:
        self._tell(JobDecided(self._job.id, "skip", UP_TO_DATE), scope)
        if self._before is not None:
            self._outputs[self._before.device, self._before.inode] = self._job
        if previous.output is None:  # it tells of an attempt that rendered nothing, and would do so for ever
            return self._ending.finish(self._record.result("skipped"))
        return Outcome(previous.model_copy(update={"status": "skipped"}))

    def _skip_or_render(self, previous: JobResult | None, scope: Scope, sources: Sources) -> Outcome:
        reason = self._why(previous, scope, sources)
        if reason is None:
            assert previous is not None
            return self._skipped(previous, scope)
        sources.identify(scope)
        sources.watch()
        self._refuse_poison(previous)
        self._prove_ownership(scope)
        self._tell(JobDecided(self._job.id, "render", reason), scope)
        self._render(scope, sources)
        with scope.stage("commit"):
            self._refuse_missing_output()
            return self._ending.finish(self._record.result("succeeded"))

    def _previous(self) -> JobResult | None:
        try:
            return read_result(self._result_path, only_of=self._settings.result_only_of(self._job))
        except UnreadableResultError as error:
            self._record.trace.warn("result.unreadable", f"{error}; it is replaced.")
            return None

    def _why(self, previous: JobResult | None, scope: Scope, sources: Sources) -> str | None:
        """Why the job is rendered. None: the earlier result still holds, and its file is not touched."""
        if previous is None:
            return "no earlier result"
        ingredients = sources.identify(scope)
        if self._settings.if_exists == "overwrite":
            return "asked for"
        reason = why_render(previous, ingredients, self._job.save_path)
        if reason is None and self._settings.verify:
            return self._why_content(scope)
        return reason

    def _why_content(self, scope: Scope) -> str | None:
        success = self._record.last_success
        assert success is not None
        try:
            with InputFile(self._job.save_path, "output") as output:
                found = content_sha256(output, scope)
        except DhError as error:
            return f"stale: {error.message}"
        return None if found == success.output.sha256 else "stale: the output's content is not what was rendered"

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

    def _same_output(self) -> DhError | None:
        """Why the file at the output's path is another job's of this run; the result beside it is that job's as well.

        The manifest's check compares names. It cannot tell of names that differ in case only on every disk, nor of
        folders that were linked together since.
        """
        try:
            found = FileStamp.of(self._job.save_path)
        except OSError:
            return None
        other = self._outputs.get((found.device, found.inode), self._job)
        if other.id == self._job.id:
            return None
        return DhError(
            "output.exists",
            f"The output {self._job.save_path} is the file {other.save_path}, which this run made for the job "
            f"{other.id}: the disk ignores case, or a link joins the two.",
            hint="Give each job an output of its own.",
            stage="output",
        )

    def _look_at_output(self, previous: JobResult | None) -> None:
        """Refuse to render over an existing output that cannot be dh's, or that the user wants to keep.

        Sizes are compared here; `_prove_ownership` compares hashes, right before the render.
        """
        how, record, save_path = self._settings, self._record, self._job.save_path
        with contextlib.suppress(OSError):
            self._before = FileStamp.of(save_path)
        earlier = self._earlier = legacy(previous, save_path, beside=how.results_dir is None)
        success = earlier.last_success
        record.last_success, record.put_in_place = success, earlier.put_in_place
        record.owns_output = self._before is not None and earlier.may_own(self._before.size)
        if how.if_exists == "overwrite" or self._before is None:
            return
        if how.if_exists == "fail":
            found = "is there already"
        elif not record.owns_output:
            found = "is there already, and no result says that dh made it as it is now"
        elif how.limit_frames is not None and success is not None and success.limit_frames is None:
            found = f"is whole, and a render with --limit-frames {how.limit_frames} would replace it"
        else:
            return
        raise self._exists(found)

    def _prove_ownership(self, scope: Scope) -> None:
        """Read the file that is about to be replaced: dh wrote it only if its hash is recorded."""
        if self._settings.if_exists == "overwrite" or self._before is None:
            return
        with InputFile(self._job.save_path, "output") as output:
            sha256 = self._settings.hashes.sha256(output.fd, lambda: content_sha256(output, scope))
            if not self._earlier.owns(output.bytes, sha256):
                self._record.owns_output = False
                raise self._exists("is there already, and its content is not what dh wrote there")

    def _exists(self, found: str) -> DhError:
        return DhError(
            "output.exists",
            f"The output {self._job.save_path} {found}.",
            hint="Move it away, name another save_path, or use --force (--if-exists overwrite).",
            stage="output",
        )

    def _render(self, scope: Scope, sources: Sources) -> None:
        job, record, root = self._job, self._record, self._settings.root
        with self._monitor(scope), PartFile(job.save_path, root=root) as part:
            self._ending.part = part
            with scope.stage("commit"):
                self._ending.begin()
            with scope.waiting(PREPARING):
                self._notify("probe", 0, None)
            plan = self._plan(sources, scope)
            with scope.stage("load"):
                models = self._settings.models
                family, finder = models.family(job.options.model), models.finder
            record.model, record.onnxruntime = family.model, runtime_version()
            how = self._settings
            try:
                record.output = render_job(
                    plan,
                    finder,
                    family,
                    scope,
                    record.trace,
                    part,
                    self._notify,
                    batch=how.batch,
                    store=how.probes.store,
                    keep_free_bytes=how.min_disk_bytes,
                )
            finally:  # some networks are opened only where they are needed
                if (warning := family.model.warning or finder.warning) is not None:
                    record.trace.warn("device.fallback", warning)
            self._commit(part, scope)

    def _commit(self, part: PartFile, scope: Scope) -> None:
        """Rename the part; a result that tells its hash comes first, as proof of whose it is after a kill."""
        record, before = self._record, self._record.put_in_place
        output = record.output
        assert output is not None
        written = FileContent(bytes=output.bytes, sha256=output.sha256)
        contents = dict.fromkeys((*(before.contents if before is not None else ()), written))
        with scope.stage("commit"):
            record.put_in_place = PutInPlace(path=str(self._job.save_path), contents=tuple(contents))
            try:
                self._ending.begin()
                scope.seal()
                over: Replaceable = "anything" if self._settings.if_exists == "overwrite" else self._before
                part.commit(over=over, whole=lambda: self._refuse_changed_part(part, output, scope))
                self._outputs[output.stamp.device, output.stamp.inode] = self._job
            finally:
                if part.committed:
                    record.owns_output = True
                else:
                    record.put_in_place = before

    def _refuse_changed_part(self, part: PartFile, output: VerifiedOutput, scope: Scope) -> None:
        """What is renamed has to be what was read back. Where only its times differ, its content is read again."""
        self._whole = FileStamp.of(part.fd)
        if self._whole == output.stamp:
            return
        with InputFile(part.path, "output", folder=part.folder) as file:
            if content_sha256(file, scope) != output.sha256:
                raise DhError(
                    "output.mismatch",
                    f"output {part.path}: it was changed after it was checked.",
                    hint="Let nobody but dh write this file, then render again.",
                )

    def _refuse_missing_output(self) -> None:
        """The last look before `succeeded`: the output is at its path, as it was checked."""
        with contextlib.suppress(OSError):
            if FileStamp.of(self._job.save_path).same_content(self._whole):
                return
        raise DhError(
            "output.mismatch",
            f"The output {self._job.save_path} was changed, removed or replaced after dh had put it in place.",
            hint="Let nobody else write there, then render again.",
        )

    def _notify(self, stage: str, done: int, total: int | None) -> None:
        self._emit(Progress(self._job.id, stage, done, total))

    def _plan(self, sources: Sources, scope: Scope) -> Plan:
        how = self._settings
        video, audio = sources.open()
        return plan_job(
            self._job,
            video,
            audio,
            scope,
            self._record.trace,
            photo_file=self._record.photo,
            contents=sources.contents(),
            probes=how.probes,
            limit_frames=how.limit_frames,
            max_duration_s=how.max_duration_s,
        )

    def _monitor(self, scope: Scope) -> Monitor:
        folder, floor = self._job.save_path.parent, self._settings.min_disk_bytes
        return Monitor(scope, folder, self._record.usage, self._record.trace.warn, min_disk_bytes=floor)


def _up_to_date(previous: JobResult) -> str:
    """`UP_TO_DATE`, and which ffmpeg made the output where that was one of another major version."""
    with contextlib.suppress(DhError):  # without a working ffmpeg only renders fail
        ffmpeg_version(find_ffmpeg())
    before = made_by_another_ffmpeg(previous, now := asked_version())
    return UP_TO_DATE if before is None else f"{UP_TO_DATE}; made with ffmpeg {before}, and {now} would render now"
