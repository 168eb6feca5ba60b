"""Many jobs, one after another: order, signals, what stops the run, and how it ends.

A job that fails never stops the others, unless its error says that no job can succeed any more.
"""

from __future__ import annotations

import collections
import datetime as dt
import hashlib
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from dhcli.attempt import Attempt, Outcome, Settings
from dhcli.errors import BUG, CODES, FAILED, OK, RESULTS_LOST, TRY_LATER, DhError
from dhcli.events import BatchStarted, JobFinished, JobStarted, Listener, Progress, Summary, Warned
from dhcli.options import Job
from dhcli.record import Record
from dhcli.scope import Scope

DEVICE_FALLBACK = "device.fallback"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Batch:
    """One run over some jobs. `run` may be called once."""

    def __init__(self, settings: Settings, emit: Listener, *, fail_fast: bool = False) -> None:
        self._settings, self._emit, self._fail_fast = settings, emit, fail_fast
        now = dt.datetime.now(dt.UTC)
        self.run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        self._began_s = time.monotonic()
        self._scope: Scope | None = None
        self._signal: int | None = None
        self._statuses: collections.Counter[str] = collections.Counter()
        self._codes: collections.Counter[str] = collections.Counter()
        self._lost = self._said_device = False
        self._stopped_by: DhError | None = None

    def run(self, jobs: Sequence[Job], manifest: Path | None = None) -> Summary:
        """Every job in order. What is wrong with a job ends in its result, never in an exception."""
        self._emit(BatchStarted(self.run_id, str(manifest) if manifest else None, len(jobs)))
        previous = self._take_signals()
        try:
            for index, job in enumerate(jobs):
                if self._must_stop():
                    break
                self._job(job, index, len(jobs))
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        summary = self._summary(len(jobs))
        self._emit(summary)
        return summary

    def _must_stop(self) -> bool:
        failed = self._statuses["failed"] > 0
        return self._signal is not None or self._stopped_by is not None or (self._fail_fast and failed)

    def _job(self, job: Job, index: int, jobs: int) -> None:
        number = 1
        record = Record(job, self.run_id, self._settings.manifest, number, time.monotonic() - self._began_s)
        paths = (str(path) for path in (job.audio, job.video, job.save_path))
        self._emit(JobStarted(self.run_id, job.id, index, jobs, number, *paths))

        def notify(stage: str, done: int, total: int | None) -> None:
            self._emit(Progress(job.id, stage, done, total))

        def abandon(outcome: Outcome) -> None:
            self._finished(job, outcome, record)
            self._emit(self._summary(jobs))
            os._exit(128 + self._signal if self._signal else TRY_LATER)

        outcome = Attempt(job, self._settings, record, notify).run(self._publish, abandon)
        self._finished(job, outcome, record)

    def _finished(self, job: Job, outcome: Outcome, record: Record) -> None:
        result, error = outcome.result, outcome.result.error
        self._statuses[result.status] += 1
        for warning in result.warnings if result.status != "skipped" else ():
            if warning.code == DEVICE_FALLBACK:  # the same for every job: said once
                if self._said_device:
                    continue
                self._said_device = True
            self._emit(Warned(job.id, warning.code, warning.message))
        if outcome.lost is not None:
            self._lost = True
            text = json.dumps(result.model_dump(mode="json"))
            self._emit(Warned(job.id, "result.lost", f"{outcome.lost.message} It says: {text}"))
        if error is not None:
            self._codes[error.code] += 1
            if CODES[error.code].stops == "run":
                self._stopped_by = self._stopped_by or DhError(error.code, error.message)
        frames = result.frames.encoded if result.status == "succeeded" else 0
        self._emit(
            JobFinished(
                run_id=self.run_id,
                job_id=job.id,
                status=result.status,
                save_path=str(job.save_path),
                result_path=None if outcome.lost else str(self._settings.result_path(job)),
                wall_s=record.wall_s,
                frames=frames,
                fps=frames / record.wall_s if frames else None,
                code=error.code if error else None,
                message=error.message if error else None,
                hint=error.hint if error else None,
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
        if self._signal is not None:
            return 128 + self._signal
        if "internal.bug" in self._codes:
            return BUG
        if self._lost:
            return RESULTS_LOST
        if self._stopped_by is not None:
            return self._stopped_by.info.exit_code
        if not self._codes:
            return OK
        return TRY_LATER if all(CODES[code].transient for code in self._codes) else FAILED

    def _publish(self, scope: Scope | None) -> None:
        self._scope = scope
        if scope is not None and self._signal is not None:  # it came before there was a scope to fail
            scope.fail(_cancelled(self._signal), "signal")

    def _take_signals(self) -> dict[int, Any]:
        """Handlers while the run lasts. What is ignored (nohup) stays ignored; other threads cannot set handlers."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        return {number: signal.signal(number, self._on_signal) for number in wanted}

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:  # the second one: now, and nothing stays behind but a part file
            if self._scope is not None:
                self._scope.kill_children()
            os._exit(128 + number)
        self._signal = number
        if self._scope is not None:
            self._scope.fail(_cancelled(number), "signal")


def _cancelled(number: int) -> DhError:
    return DhError(
        "job.cancelled",
        f"{signal.Signals(number).name} ended the job.",
        hint="Run the same command again: what is finished is not rendered twice.",
    )


def shard_of(job_id: str, shards: int) -> int:
    """The part, 0 … shards - 1, that a job belongs to; it does not depend on the other jobs of the manifest."""
    return int.from_bytes(hashlib.sha256(job_id.encode("utf-8", "surrogateescape")).digest()[:8], "big") % shards
