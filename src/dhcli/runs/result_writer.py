"""How a job's result gets to the disk: by the thread that runs the job, or by the one that gives it up; never by both.

A job is given up where it cannot be ended: its thread sits in a native call or in a dead disk, and may come back at any
moment, also while its result is being written for it.
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
from dhcli.errors import DhError, as_dh_error, describe
from dhcli.jobs.options import Job
from dhcli.results.result import STAGE, JobResult, write_result
from dhcli.runs.attempt_record import Record
from dhcli.runs.settings import Settings

PEN_S = 0.3
"""Who gives a job up waits so long for a result that is just being written; after that its disk is the trouble."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    result: JobResult
    lost: DhError | None = None
    """Why the result is not on the disk, where it should be."""
    unwritten: bool = False
    """It is on no disk: another process writes it, its folder is not there, or somebody's file has its name."""


class Ending:
    """The results of one attempt, the last of which stays."""

    def __init__(self, job: Job, settings: Settings, record: Record) -> None:
        self._job, self._settings, self._record = job, settings, record
        self._result_path = settings.result_path(job)
        self.part: PartFile | None = None
        """What is rendered into, once there is one: whoever gives the job up removes it."""
        self._written_stamp: FileStamp | None = None
        self._pen = threading.Lock()
        self._outcome: Outcome | None = None

    def begin(self) -> None:
        """Write that the job runs. Raises DhError output.*."""
        with self._pen:
            self._write(self._record.result("running"))

    def finish(self, result: JobResult) -> Outcome:
        """Write how the job ended. Of a job that was given up nothing more is written: this does not return then."""
        with self._pen:
            self._outcome = self._written(result)
            return self._outcome

    def fail(self, error: DhError, notes: Sequence[str] = ()) -> Outcome:
        """Write that the job failed, or was cancelled."""
        return self.finish(self._failure(self._record, error, notes))

    def give_up(self, error: DhError) -> Outcome:
        """Write the end of a job that does not end: nobody will leave the blocks that remove its files.

        Called once, from another thread than the job's. The pen is kept: whoever comes back to the job afterwards waits
        in `finish` for the end of the process.
        """
        if self._pen.acquire(timeout=PEN_S) and self._outcome is not None:
            return self._outcome  # it came back in the last moment, and its result is on the disk
        with contextlib.suppress(OSError):  # its disk may be the reason
            if self.part is not None:
                self.part.discard()
        outcome = self._written(self._last_words(error))
        _remove(lock_path(self._job.save_path))
        if self._settings.results_dir is not None:
            _remove(lock_path(self._result_path))
        return outcome

    def make_results_dir(self) -> None:
        """Where results do not lie beside the outputs. Raises DhError output.*."""
        folder = self._settings.results_dir
        if folder is not None:
            with translated(folder, "be created"):
                folder.mkdir(parents=True, exist_ok=True)

    def _last_words(self, error: DhError) -> JobResult:
        record = self._record
        try:  # threads that cannot be ended go on writing into the record's trace
            record = dataclasses.replace(record, trace=record.trace.snapshot())
        except Exception as trouble:  # noqa: BLE001 - less of a result is better than none
            return self._bare(error, trouble, ())
        return self._failure(record, error, ())

    def _failure(self, record: Record, error: DhError, notes: Sequence[str]) -> JobResult:
        try:
            return record.result(status_of(error), error=error, notes=notes)
        except Exception as trouble:  # noqa: BLE001 - as above
            return self._bare(error, trouble, notes)

    def _bare(self, error: DhError, trouble: Exception, notes: Sequence[str]) -> JobResult:
        record = self._record
        bare = Record(self._job, record.run_id, record.manifest, record.attempt, record.queued_s)
        bare.owns_output, bare.last_success = record.owns_output, record.last_success
        bare.put_in_place = record.put_in_place
        return bare.result(status_of(error), error=error, notes=(*notes, f"then, in the result: {describe(trouble)}"))

    def _written(self, result: JobResult) -> Outcome:
        try:
            self._write(result)
        except Exception as trouble:  # noqa: BLE001 - whatever keeps a result from the disk, the next job can be done
            error = as_dh_error(trouble, "commit")
            # Of these two the job's own error tells; nothing that it did is lost with them.
            missing = self._settings.results_dir is None and not self._result_path.parent.exists()
            told = _has_no_place(error) and result.error is not None and result.error.stage == error.stage
            return Outcome(result, unwritten=True) if missing or told else Outcome(result, lost=error)
        return Outcome(result)

    def _write(self, result: JobResult) -> None:
        self.make_results_dir()
        root = self._settings.root if self._settings.results_dir is None else None
        only_of = self._settings.result_only_of(self._job)
        self._written_stamp = write_result(
            self._result_path, result, root=root, known=self._written_stamp, only_of=only_of
        )


def _has_no_place(error: DhError) -> bool:
    """A file that is to stay has the name of the result."""
    return error.code == "output.exists" and error.stage == STAGE


def _remove(lock: Path) -> None:
    """Its lock ends with the process; the file alone keeps nobody out, and must not cost the run its summary."""
    with contextlib.suppress(OSError):
        lock.unlink()


def status_of(error: DhError) -> Literal["cancelled", "failed"]:
    """What becomes of a job that ends by `error`."""
    return "cancelled" if error.code == "job.cancelled" else "failed"
