"""Many jobs, one after another: order, signals, what stops the run, and how it ends.

A job that fails never stops the others, unless its error says that no job can succeed any more.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dhcli.disk.descriptor import check_descriptors
from dhcli.disk.lock import run_lock
from dhcli.errors import BUG, CODES, FAILED, OK, RESULTS_LOST, TRY_LATER, DhError, as_dh_error
from dhcli.events import BatchStarted, Event, JobDeferred, JobFinished, JobStarted, Listener, Retrying, Summary, Warned
from dhcli.jobs.options import Job
from dhcli.networks.batch_size import BATCH
from dhcli.render.face_track import CACHE_UNUSABLE
from dhcli.results.parts import EarlierAttempt, ErrorInfo
from dhcli.results.resume import in_order
from dhcli.runs.attempt import Attempt, Outputs
from dhcli.runs.attempt_record import Record
from dhcli.runs.result_writer import Outcome
from dhcli.runs.retry import FailureLimit, Retry
from dhcli.runs.settings import Settings
from dhcli.runtime.monitor import open_files_allowed
from dhcli.runtime.scope import Scope
from dhcli.runtime.signals import StopSignals
from dhcli.runtime.threads import start_thread

DEVICE_FALLBACK, RUN_STOPPED = "device.fallback", "run.stopped"
KEPT_OF_ERROR = {"code", "stage", "message", "stderr_tail"}
"""What a result tells of the attempts before the last one."""
HALVED = frozenset({"device.out_of_memory", "job.out_of_memory"})
"""Codes after which half as many frames go through the face network at once."""
WATCHED = "run"
"""The stage of all that happens around the jobs' own scopes: locks, earlier results, what is kept for the next run."""
LAST_WORDS_S = 1.0
"""Where a job cannot be ended, its result and the summary must be written within this, or the process ends without."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a run does around its jobs."""

    retry: Retry = field(default_factory=Retry)
    max_failures: FailureLimit | None = None
    only_failed: bool = False
    """Only jobs that earlier runs tried and did not finish."""
    run_lock: Path | None = None
    """The file that only one run at a time may hold; --lock-wait counts for it, too."""


class Batch:
    """One run over some jobs. `run` may be called once."""

    def __init__(
        self,
        settings: Settings,
        emit: Listener,
        policy: Policy | None = None,
        on_signal: Callable[[int], None] = lambda _: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_signal` is called with every signal's number, from another thread: nothing may wait for long any more.

        `on_end`, from another thread, too, where the process ends by itself within `LAST_WORDS_S`.
        """
        self._settings, self._listener, self._policy = settings, emit, policy or Policy()
        self._on_signal, self._on_end = on_signal, on_end
        now = dt.datetime.now(dt.UTC)
        self.run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        self._began_s = time.monotonic()
        self._scope: Scope | None = None
        self._watch = Scope(stall_timeout_s=settings.stall_timeout_s, on_stuck=self._stand_still)
        """Of the run, where no job's scope watches. All it can do is to end the process: it is sealed at once."""
        self._jobs = 0
        self._give_up: Callable[[DhError], None] | None = None
        """Ends the process with the result of the job that is at its beginning or its end."""
        self._signals = StopSignals(self._cancel, self._die)
        self._abandoned = False
        self._statuses: collections.Counter[str] = collections.Counter()
        self._codes: collections.Counter[str] = collections.Counter()
        self._outputs: Outputs = {}
        self._lost = self._said_device = self._bug = False
        self._stopped_by: DhError | None = None

    def run(self, jobs: Sequence[Job], manifest: Path | None = None) -> Summary:
        """Every job. What is wrong with a job ends in its result; raises DhError where the run may not start."""
        with contextlib.ExitStack() as stack:
            open_files_allowed()  # otherwise the first call that needs one more is the trouble, whatever it is
            check_descriptors()
            stack.enter_context(self._watch)
            self._watch.seal()
            stack.enter_context(self._watch.stage(WATCHED))
            stack.enter_context(self._signals)
            stack.callback(self._settings.hashes.save)
            self._alone(stack)
            chosen = in_order(jobs, self._result_path, only_failed=self._policy.only_failed)
            self._jobs = len(chosen)
            self._emit(BatchStarted(self.run_id, str(manifest) if manifest else None, len(chosen)))
            self._all(chosen)
            self._keep_hashes()
            summary = self._summary(len(chosen))
            self._emit(summary)
        return dataclasses.replace(summary, exit_code=self._exit_code())  # a signal may have come meanwhile

    def _keep_hashes(self) -> None:
        """For the next run. Where the cache takes none, all inputs are read again then, and only this says why."""
        hashes = self._settings.hashes
        hashes.save()
        if (trouble := hashes.take_trouble()) is not None:
            self._emit(Warned(None, CACHE_UNUSABLE, f"Not kept in the cache: {trouble}."))

    def _emit(self, event: Event) -> None:
        """Tell it; a reader may take as long as he likes."""
        with self._watch.waiting(WATCHED):
            self._listener(event)

    def _result_path(self, job: Job) -> Path:
        self._watch.beat(WATCHED)  # 10 000 results on a network disk may take longer than the stall timeout
        return self._settings.result_path(job)

    def _alone(self, stack: contextlib.ExitStack) -> None:
        """Take the run lock, where there is one."""
        if self._policy.run_lock is None:
            return
        wait_s = self._settings.lock_wait_s
        lock = run_lock(self._policy.run_lock, run_id=self.run_id, wait_s=wait_s, check=self._check_signals)
        try:
            stack.enter_context(lock)
        except DhError as error:
            if error.code != "job.cancelled":  # a signal: the summary says that no job was started
                raise

    def _all(self, chosen: Sequence[Job]) -> None:
        """Each job, and those that another run was writing once more at the end: it may have finished by then."""
        waiting = collections.deque((index, job, False) for index, job in enumerate(chosen))
        while waiting and not self._must_stop(len(chosen)):
            index, job, again = waiting.popleft()
            ended = self._statuses.total()
            try:
                done = self._job(job, index, len(chosen), may_defer=bool(waiting) and not again)
            except Exception as error:  # noqa: BLE001 - a bug around one job: the others and the summary still come
                self._broken(job, as_dh_error(error, "job"), counted=self._statuses.total() > ended)
                continue
            if not done:
                waiting.append((index, job, True))

    def _must_stop(self, jobs: int) -> bool:
        if self._signals.number is not None or self._stopped_by is not None:
            return True
        limit, failed = self._policy.max_failures, self._statuses["failed"]
        if limit is None or not limit.reached(failed, jobs):
            return False
        if failed + self._statuses["succeeded"] + self._statuses["skipped"] < jobs:
            self._emit(Warned(None, RUN_STOPPED, f"Failed: {failed} (limit {limit}); no more jobs are started."))
        return True

    def _job(self, job: Job, index: int, jobs: int, *, may_defer: bool) -> bool:
        """Attempts until one is the last word. False: another run writes the job, and others can be done meanwhile."""
        earlier: tuple[EarlierAttempt, ...] = ()
        wait_s = 0.0 if may_defer else self._settings.lock_wait_s
        for number in itertools.count(1):
            outcome, record = self._attempt(job, index, jobs, number, earlier, wait_s)
            error = outcome.result.error
            if error is not None and error.code == "env.locked" and may_defer:
                self._emit(JobDeferred(job.id, error.code, error.message))
                return False
            if error is None or not self._tried_again(job, number, error, record):
                self._finished(job, outcome, record)
                break
            earlier = (*earlier, EarlierAttempt(attempt=number, **error.model_dump(include=KEPT_OF_ERROR)))
        return True

    def _tried_again(self, job: Job, number: int, error: ErrorInfo, record: Record) -> bool:
        """Wait for the next attempt, if there is one: a signal ends the wait, too."""
        if self._signals.number is not None:
            return False
        made_from, probes = record.ingredients, self._settings.probes
        if made_from is not None and probes.doubt(error.code, made_from.video_sha256, made_from.audio_sha256):
            self._emit(Retrying(job.id, number, error.code, error.message, 0.0))
            return True
        if not self._policy.retry.allows(error.code, number):
            return False
        if error.code in HALVED:  # for the rest of the run: the next job would need as much
            used = record.trace.batch or self._settings.batch or BATCH
            self._settings = dataclasses.replace(self._settings, batch=max(1, used // 2))
        wait_s = self._policy.retry.wait_s(number)
        self._emit(Retrying(job.id, number, error.code, error.message, wait_s))
        with self._watch.waiting(WATCHED):
            (self._policy.retry.pause or self._signals.wait)(wait_s)
        return self._signals.number is None

    def _attempt(
        self, job: Job, index: int, jobs: int, number: int, earlier: tuple[EarlierAttempt, ...], lock_wait_s: float
    ) -> tuple[Outcome, Record]:
        settings = dataclasses.replace(self._settings, lock_wait_s=lock_wait_s)
        record = Record(
            job,
            self.run_id,
            settings.manifest,
            number,
            time.monotonic() - self._began_s,
            limit_frames=settings.limit_frames,
            earlier_attempts=earlier,
        )
        audio, video, save_path = (str(path) for path in (job.audio, job.video, job.save_path))
        started = JobStarted(self.run_id, job.id, index, jobs, number, audio, video, save_path, record.queued_s)
        self._emit(started)

        def abandon(end: Callable[[], Outcome]) -> None:
            self._abandoned = True
            try:
                self._exit_soon()
                self._finished(job, end(), record)
                self._emit(self._summary(jobs))
            finally:
                os._exit(self._exit_code())

        attempt = Attempt(job, settings, record, self._emit, self._outputs)
        self._give_up = lambda error: abandon(lambda: attempt.give_up(error))
        try:
            return attempt.run(self._publish, abandon, self._check_signals), record
        finally:
            self._give_up = None

    def _finished(self, job: Job, outcome: Outcome, record: Record) -> None:
        result, error = outcome.result, outcome.result.error
        text = json.dumps(result.model_dump(mode="json")) if outcome.lost is not None else ""
        self._count(result.status, error)
        for warning in result.warnings if result.status != "skipped" else ():
            if warning.code == DEVICE_FALLBACK:  # the same for every job: said once
                if self._said_device:
                    continue
                self._said_device = True
            self._emit(Warned(job.id, warning.code, warning.message))
        if outcome.lost is not None:
            self._lost = True
            self._bug |= outcome.lost.code == "internal.bug"
            self._emit(Warned(job.id, "result.lost", f"{outcome.lost.message} It says: {text}"))
        frames = result.frames.encoded if result.status == "succeeded" else 0
        self._emit(
            JobFinished(
                run_id=self.run_id,
                job_id=job.id,
                status=result.status,
                save_path=str(job.save_path),
                result_path=None if outcome.lost or outcome.unwritten else str(self._settings.result_path(job)),
                wall_s=record.wall_s,
                frames=frames,
                fps=frames / record.wall_s if frames else None,
                code=error.code if error else None,
                message=error.message if error else None,
                hint=error.hint if error else None,
                attempt=result.attempt,
                stage=error.stage if error else None,
                peak_rss_bytes=result.resources.peak_rss_bytes if result.status != "skipped" else None,
                analysis=result.analysis if result.status != "skipped" else None,
            )
        )

    def _count(self, status: str, error: ErrorInfo | None) -> None:
        self._statuses[status] += 1
        if error is not None:
            self._codes[error.code] += 1
            if CODES[error.code].stops == "run":
                self._stopped_by = self._stopped_by or DhError(error.code, error.message)

    def _broken(self, job: Job, error: DhError, *, counted: bool) -> None:
        """End a job whose end could not be told, by a bug. Its result may be on the disk, or may not."""
        info = ErrorInfo.from_error(error)
        self._bug |= error.code == "internal.bug"
        if not counted:
            self._count("failed", info)
        self._emit(Warned(job.id, "result.lost", f"{info.message} {info.traceback or ''}".strip()))
        self._emit(
            JobFinished(
                run_id=self.run_id,
                job_id=job.id,
                status="failed",
                save_path=str(job.save_path),
                result_path=None,
                wall_s=0.0,
                frames=0,
                fps=None,
                code=info.code,
                message=info.message,
                hint=info.hint,
            )
        )

    def _summary(self, jobs: int) -> Summary:
        done = sum(self._statuses.values())
        return Summary(
            run_id=self.run_id,
            jobs=jobs,
            succeeded=self._statuses["succeeded"],
            skipped=self._statuses["skipped"],
            failed=self._statuses["failed"],
            cancelled=self._statuses["cancelled"],
            not_started=jobs - done,
            wall_s=time.monotonic() - self._began_s,
            exit_code=self._exit_code(),
            codes=dict(self._codes),
        )

    def _exit_code(self) -> int:
        """The gravest that applies: signal, bug, lost results, environment, failed for good, nothing."""
        if self._signals.number is not None:
            return 128 + self._signals.number
        if self._bug or "internal.bug" in self._codes:
            return BUG
        if self._lost:
            return RESULTS_LOST
        if self._abandoned:
            return TRY_LATER
        if self._stopped_by is not None:
            return self._stopped_by.info.exit_code
        if not self._codes:
            return OK
        return TRY_LATER if all(CODES[code].transient for code in self._codes) else FAILED

    def _publish(self, scope: Scope | None) -> None:
        self._scope = scope
        if scope is None:
            self._watch.beat(WATCHED)
        else:
            self._watch.idle(WATCHED)
        if scope is not None and self._signals.number is not None:  # it came before there was a scope to fail
            scope.fail(_cancelled(self._signals.number), "signal")

    def _check_signals(self) -> None:
        self._watch.beat(WATCHED)
        if self._signals.number is not None:
            raise _cancelled(self._signals.number)

    def _cancel(self, number: int) -> None:
        self._on_signal(number)
        (self._scope or self._watch).fail(_cancelled(number), "signal")

    def _stand_still(self, error: DhError) -> None:
        """End the process from the watchdog's thread: the main one waits for a disk, and nothing can call it back."""
        if self._give_up is not None:
            self._give_up(error)
        self._abandoned = True
        try:
            self._exit_soon()
            self._emit(Warned(None, error.code, f"{error.message} {error.hint or ''}".strip()))
            self._emit(self._summary(self._jobs))
        finally:
            os._exit(self._exit_code())

    def _die(self, number: int) -> None:
        """At once, but for the job's result: `running` would count as a crash, and two of them as a poisonous job."""
        self._on_signal(number)
        scope = self._scope
        if scope is None:
            os._exit(self._exit_code())
        self._exit_soon()
        scope.give_up()

    def _exit_soon(self) -> None:
        """End the process after its last words, and without them where the disk or the terminal hangs, too."""
        self._on_end()
        last_words = threading.Timer(LAST_WORDS_S, lambda: os._exit(self._exit_code()))
        last_words.daemon = True
        try:
            start_thread(last_words)
        except DhError:  # no thread is left to give
            os._exit(self._exit_code())


def _cancelled(number: int) -> DhError:
    return DhError(
        "job.cancelled",
        f"{signal.Signals(number).name} ended the job.",
        hint="Run the same command again: what is finished is not rendered twice.",
    )
