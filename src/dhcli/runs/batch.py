"""Runs many jobs, one after another: order, retries, signals, and what ends the run.

A job that fails does not stop the others, unless after its error no job can succeed any more.
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
from pathlib import Path

from dhcli.disk.descriptor import check_descriptors
from dhcli.disk.lock import run_lock
from dhcli.errors import DhError, WarningCode, as_dh_error
from dhcli.events import BatchStarted, Event, JobDeferred, JobFinished, JobStarted, Listener, Retrying, Summary, Warned
from dhcli.jobs.options import Job
from dhcli.networks.batch_size import BATCH
from dhcli.render.face_track import CACHE_UNUSABLE
from dhcli.results.parts import EarlierAttempt, ErrorInfo
from dhcli.results.resume import in_order
from dhcli.runs.attempt import Attempt
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.output_file import Outputs
from dhcli.runs.result_writer import Outcome
from dhcli.runs.settings import Policy, Settings
from dhcli.runs.tally import Tally
from dhcli.runtime.monitor import open_files_allowed
from dhcli.runtime.scope import Scope
from dhcli.runtime.signals import StopSignals
from dhcli.runtime.threads import start_thread

DEVICE_FALLBACK: WarningCode = "device.fallback"
RUN_STOPPED: WarningCode = "run.stopped"
KEPT_OF_ERROR = {"code", "stage", "message", "stderr_tail"}
"""What a result keeps of the attempts before the last one."""
HALVED = frozenset({"device.out_of_memory", "job.out_of_memory"})
"""Codes after which half as many frames go through the main network at once."""
WATCHED = "run"
"""The stage of everything outside of the jobs' own scopes: locks, earlier results, the cache of hashes."""
LAST_WORDS_S = 1.0
"""Where a job cannot be ended, its result and the summary must be written within this, or the process ends without."""


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
        """`on_signal` is called from another thread with the number of every signal: the run has to end soon then.

        `on_end` is called, also from another thread, before the process ends by itself within `LAST_WORDS_S`.
        """
        self._settings, self._listener, self._policy = settings, emit, policy or Policy()
        self._on_signal, self._on_end = on_signal, on_end
        now = dt.datetime.now(dt.UTC)
        self.run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        self._began_s = time.monotonic()
        self._scope: Scope | None = None
        self._watch = Scope(stall_timeout_s=settings.stall_timeout_s, on_stuck=self._stand_still)
        """Watches the run outside of the jobs' scopes. It is sealed at once: all it can do is to end the process."""
        self._jobs = 0
        self._give_up: Callable[[DhError], None] | None = None
        """Ends the process after it wrote the present job's result; None between jobs."""
        self._signals = StopSignals(self._cancel, self._die)
        self._tally = Tally()
        self._outputs: Outputs = {}
        self._said_device = False

    def run(self, jobs: Sequence[Job], manifest: Path | None = None) -> Summary:
        """Run every job. A job's error goes into its result; raises DhError where the run cannot start."""
        with contextlib.ExitStack() as stack:
            open_files_allowed()  # else some later call would fail in a misleading way
            check_descriptors()
            stack.enter_context(self._watch)
            self._watch.seal()
            stack.enter_context(self._watch.stage(WATCHED))
            stack.enter_context(self._signals)
            stack.callback(self._settings.hashes.save)
            self._take_run_lock(stack)
            chosen = in_order(jobs, self._result_path, only_failed=self._policy.only_failed)
            self._jobs = len(chosen)
            self._emit(BatchStarted(self.run_id, str(manifest) if manifest else None, len(chosen)))
            self._all(chosen)
            self._keep_hashes()
            summary = self._summary(len(chosen))
            self._emit(summary)
        return dataclasses.replace(summary, exit_code=self._exit_code())  # a signal may have come meanwhile

    def _keep_hashes(self) -> None:
        """Save the hashes for the next run; where that fails, warn why the next run has to read all inputs again."""
        hashes = self._settings.hashes
        hashes.save()
        if (trouble := hashes.take_trouble()) is not None:
            self._emit(Warned(None, CACHE_UNUSABLE, f"Not kept in the cache: {trouble}."))

    def _emit(self, event: Event) -> None:
        """Emit an event; its reader may take any time."""
        with self._watch.waiting(WATCHED):
            self._listener(event)

    def _result_path(self, job: Job) -> Path:
        self._watch.beat(WATCHED)  # 10 000 results on a network disk may take longer than the stall timeout
        return self._settings.result_path(job)

    def _take_run_lock(self, stack: contextlib.ExitStack) -> None:
        """Take the run lock, if one is wanted."""
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
        """Run each job, and at the end those again that another run was writing: it may have finished by then."""
        waiting = collections.deque((index, job, False) for index, job in enumerate(chosen))
        while waiting and not self._must_stop(len(chosen)):
            index, job, again = waiting.popleft()
            ended = self._tally.ended
            try:
                done = self._job(job, index, len(chosen), may_defer=bool(waiting) and not again)
            except Exception as error:  # noqa: BLE001 - a bug around one job: the others and the summary still come
                self._broken(job, as_dh_error(error, "job"), counted=self._tally.ended > ended)
                continue
            if not done:
                waiting.append((index, job, True))

    def _must_stop(self, jobs: int) -> bool:
        if self._signals.number is not None or self._tally.stopped_by is not None:
            return True
        limit, failed = self._policy.max_failures, self._tally.failed
        if limit is None or not limit.reached(failed, jobs):
            return False
        if self._tally.ended - self._tally.cancelled < jobs:
            self._emit(Warned(None, RUN_STOPPED, f"Failed: {failed} (limit {limit}); no more jobs are started."))
        return True

    def _job(self, job: Job, index: int, jobs: int, *, may_defer: bool) -> bool:
        """Attempt a job until an attempt is final. False: another run writes it, so that it is deferred."""
        earlier: tuple[EarlierAttempt, ...] = ()
        wait_s = 0.0 if may_defer else self._settings.lock_wait_s
        for number in itertools.count(1):
            outcome, record = self._attempt(job, index, jobs, number, earlier, wait_s)
            error = outcome.result.error
            if error is not None and error.code == "env.locked" and may_defer:
                self._emit(JobDeferred(job.id, error.known_code, error.message))
                return False
            if error is None or not self._tried_again(job, number, error, record):
                self._finished(job, outcome, record)
                break
            earlier = (*earlier, EarlierAttempt(attempt=number, **error.model_dump(include=KEPT_OF_ERROR)))
        return True

    def _tried_again(self, job: Job, number: int, error: ErrorInfo, record: AttemptRecord) -> bool:
        """Whether to try again, after the wait before the next attempt, which a signal ends."""
        if self._signals.number is not None:
            return False
        code = error.known_code
        made_from, probes = record.ingredients, self._settings.probes
        if made_from is not None and probes.doubt(code, made_from.video_sha256, made_from.audio_sha256):
            self._emit(Retrying(job.id, number, code, error.message, 0.0))
            return True
        if not self._policy.retry.allows(code, number):
            return False
        if error.code in HALVED:  # for the rest of the run, since the next job needs as much memory
            used = record.trace.batch or self._settings.batch or BATCH
            self._settings = dataclasses.replace(self._settings, batch=max(1, used // 2))
        wait_s = self._policy.retry.wait_s(number)
        self._emit(Retrying(job.id, number, error.known_code, error.message, wait_s))
        with self._watch.waiting(WATCHED):
            (self._policy.retry.pause or self._signals.wait)(wait_s)
        return self._signals.number is None

    def _attempt(
        self, job: Job, index: int, jobs: int, number: int, earlier: tuple[EarlierAttempt, ...], lock_wait_s: float
    ) -> tuple[Outcome, AttemptRecord]:
        settings = dataclasses.replace(self._settings, lock_wait_s=lock_wait_s)
        record = AttemptRecord(
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
            self._tally.is_abandoned = True
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

    def _finished(self, job: Job, outcome: Outcome, record: AttemptRecord) -> None:
        result, error = outcome.result, outcome.result.error
        text = json.dumps(result.model_dump(mode="json")) if outcome.lost is not None else ""
        self._tally.count(result.status, error)
        for warning in result.warnings if result.status != "skipped" else ():
            if warning.code == DEVICE_FALLBACK:  # the same for every job: warn once
                if self._said_device:
                    continue
                self._said_device = True
            self._emit(Warned(job.id, warning.known_code, warning.message))
        if outcome.lost is not None:
            self._tally.has_lost_results = True
            self._tally.note_bug(outcome.lost.code)
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
                code=error.known_code if error else None,
                message=error.message if error else None,
                hint=error.hint if error else None,
                attempt=result.attempt,
                stage=error.stage if error else None,
                peak_rss_bytes=result.resources.peak_rss_bytes if result.status != "skipped" else None,
                analysis=result.analysis if result.status != "skipped" else None,
            )
        )

    def _broken(self, job: Job, error: DhError, *, counted: bool) -> None:
        """End a job after a bug outside of its attempt. Its result may be on the disk, or may not."""
        info = ErrorInfo.from_error(error)
        self._tally.note_bug(error.code)
        if not counted:
            self._tally.count("failed", info)
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
                code=error.code,
                message=info.message,
                hint=info.hint,
            )
        )

    def _summary(self, jobs: int) -> Summary:
        return self._tally.summary(self.run_id, jobs, time.monotonic() - self._began_s, self._signals.number)

    def _exit_code(self) -> int:
        return self._tally.exit_code(self._signals.number)

    def _publish(self, scope: Scope | None) -> None:
        self._scope = scope
        if scope is None:
            self._watch.beat(WATCHED)
        else:
            self._watch.idle(WATCHED)
        if scope is not None and self._signals.number is not None:  # it came before the scope was published
            scope.fail(_cancelled(self._signals.number), "signal")

    def _check_signals(self) -> None:
        self._watch.beat(WATCHED)
        if self._signals.number is not None:
            raise _cancelled(self._signals.number)

    def _cancel(self, number: int) -> None:
        self._on_signal(number)
        (self._scope or self._watch).fail(_cancelled(number), "signal")

    def _stand_still(self, error: DhError) -> None:
        """End the process from the watchdog's thread: the main thread waits for a disk, and cannot be interrupted."""
        if self._give_up is not None:
            self._give_up(error)
        self._tally.is_abandoned = True
        try:
            self._exit_soon()
            self._emit(Warned(None, error.code, f"{error.message} {error.hint or ''}".strip()))
            self._emit(self._summary(self._jobs))
        finally:
            os._exit(self._exit_code())

    def _die(self, number: int) -> None:
        """End the process after a second signal, at once, with the job's result: `running` would count as a crash."""
        self._on_signal(number)
        scope = self._scope
        if scope is None:
            os._exit(self._exit_code())
        self._exit_soon()
        scope.give_up()

    def _exit_soon(self) -> None:
        """End the process within `LAST_WORDS_S`, even where the disk or the terminal hangs, too."""
        self._on_end()
        last_words = threading.Timer(LAST_WORDS_S, lambda: os._exit(self._exit_code()))
        last_words.daemon = True
        try:
            start_thread(last_words)
        except DhError:  # no thread can be started
            os._exit(self._exit_code())


def _cancelled(number: int) -> DhError:
    return DhError(
        "job.cancelled",
        f"{signal.Signals(number).name} ended the job.",
        hint="Run the same command again: what is finished is not rendered twice.",
    )
