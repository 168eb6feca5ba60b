"""Writes a job's result: from the thread that runs the job, or from the one that gives it up, never from both.

A job is given up where it cannot be ended: its thread is in a native call or waits for a dead disk. It may return at
any moment, even while another thread writes its result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dhcli.disk.lock import lock_path
from dhcli.disk.part import PartFile, translated
from dhcli.disk.regular import FileStamp
from dhcli.errors import Code, DhError, as_dh_error, describe
from dhcli.jobs.options import Job
from dhcli.results.result import STAGE, JobResult, write_result
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.settings import Settings

OF_THE_MACHINE: frozenset[Code] = frozenset(
    {"env.device_unavailable", "env.ffmpeg_missing", "env.ffmpeg_unusable", "env.no_proc"}
)
WRITING_S = 0.3
"""How long the thread that gives a job up waits for a result being written; then the disk must be the trouble."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    result: JobResult
    lost: DhError | None = None
    """Why the result is not on the disk, where it should be."""
    unwritten: bool = False
    """The result is on no disk, as it should be: another process writes it, its folder is missing, a user's file has
    its name, or the machine lacks something."""


class ResultWriter:
    """Writes the results of one attempt, one after another; the last one stays."""

    def __init__(self, job: Job, settings: Settings, record: AttemptRecord) -> None:
        self._job, self._settings, self._record = job, settings, record
        self._result_path = settings.result_path(job)
        self.part: PartFile | None = None
        """The part that is rendered into, once there is one; `give_up` removes it."""
        self._written_stamp: FileStamp | None = None
        self._writing = threading.Lock()
        self._outcome: Outcome | None = None

    def begin(self) -> None:
        """Write that the job runs. Raises DhError output.*."""
        with self._writing:
            self._write(self._record.result("running"))

    def finish(self, result: JobResult) -> Outcome:
        """Write how the job ended. Does not return where the job was given up: no more may be written then."""
        with self._writing:
            self._outcome = self._written(result)
            return self._outcome

    def fail(self, error: DhError, notes: Sequence[str] = ()) -> Outcome:
        """Write that the job failed, or was cancelled.

        What the machine lacks says nothing of a job that has not begun: its earlier result stays.
        """
        if error.code in OF_THE_MACHINE and self._written_stamp is None:
            return Outcome(self._failed(self._record, error, notes), unwritten=True)
        return self.finish(self._failed(self._record, error, notes))

    def give_up(self, error: DhError) -> Outcome:
        """Write the end of a job that does not end, and remove its files, since its own thread will not.

        Called once, from another thread than the job's. It keeps the lock: if the job's thread returns afterwards, it
        waits in `finish` for the end of the process.
        """
        if self._writing.acquire(timeout=WRITING_S) and self._outcome is not None:
            return self._outcome  # it returned in the last moment, and its result is on the disk
        with contextlib.suppress(OSError):  # the disk may be dead
            if self.part is not None:
                self.part.discard()
        outcome = self._written(self._final_result(error))
        _remove(lock_path(self._job.save_path))
        if self._settings.results_dir is not None:
            _remove(lock_path(self._result_path))
        return outcome

    def make_results_dir(self) -> None:
        """Make the folder of results, unless they lie beside the outputs. Raises DhError output.*."""
        folder = self._settings.results_dir
        if folder is not None:
            with translated(folder, "be created"):
                folder.mkdir(parents=True, exist_ok=True)

    def _final_result(self, error: DhError) -> JobResult:
        record = self._record
        try:  # threads that cannot be ended go on writing into the record's trace
            record = dataclasses.replace(record, trace=record.trace.snapshot())
        except Exception as trouble:  # noqa: BLE001 - less of a result is better than none
            return self._minimal(error, trouble, ())
        return self._failed(record, error, ())

    def _failed(self, record: AttemptRecord, error: DhError, notes: Sequence[str]) -> JobResult:
        try:
            return record.result(status_of(error), error=error, notes=notes)
        except Exception as trouble:  # noqa: BLE001 - as above
            return self._minimal(error, trouble, notes)

    def _minimal(self, error: DhError, trouble: Exception, notes: Sequence[str]) -> JobResult:
        record = self._record
        bare = AttemptRecord(self._job, record.run_id, record.manifest, record.attempt, record.queued_s)
        bare.owns_output, bare.last_success = record.owns_output, record.last_success
        bare.put_in_place = record.put_in_place
        return bare.result(status_of(error), error=error, notes=(*notes, f"then, in the result: {describe(trouble)}"))

    def _written(self, result: JobResult) -> Outcome:
        try:
            self._write(result)
        except Exception as trouble:  # noqa: BLE001 - whatever keeps a result from the disk, the next job can be done
            error = as_dh_error(trouble, "commit")
            # In these two cases the job's own error says why, and nothing of its work is lost.
            missing = self._settings.results_dir is None and not self._result_path.parent.exists()
            is_explained = _has_no_place(error) and result.error is not None and result.error.stage == error.stage
            return Outcome(result, unwritten=True) if missing or is_explained else Outcome(result, lost=error)
        return Outcome(result)

    def _write(self, result: JobResult) -> None:
        self.make_results_dir()
        root = self._settings.root if self._settings.results_dir is None else None
        only_of = self._settings.result_only_of(self._job)
        self._written_stamp = write_result(
            self._result_path, result, root=root, known=self._written_stamp, only_of=only_of
        )


def _has_no_place(error: DhError) -> bool:
    """Whether a user's file has the name of the result."""
    return error.code == "output.exists" and error.stage == STAGE


def _remove(lock: Path) -> None:
    """Remove a lock file. Errors do not matter: the lock ends with the process, and a file that stays locks nothing."""
    with contextlib.suppress(OSError):
        lock.unlink()


def status_of(error: DhError) -> Literal["cancelled", "failed"]:
    """The status of a job that ends with `error`."""
    return "cancelled" if error.code == "job.cancelled" else "failed"
