"""Counts what became of a run's jobs, and decides the run's exit code."""

from __future__ import annotations

import collections

from dhcli.errors import BUG, CODES, FAILED, OK, RESULTS_LOST, TRY_LATER, Code, DhError
from dhcli.events import Summary
from dhcli.results.parts import ErrorInfo
from dhcli.results.result import Status


class Tally:
    """The jobs of a run that have ended, by status and by code of their errors."""

    def __init__(self) -> None:
        self._statuses: collections.Counter[str] = collections.Counter()
        self._codes: collections.Counter[Code] = collections.Counter()
        self._has_bug = False
        self.has_lost_results = False
        """A result could not be written."""
        self.is_abandoned = False
        """The process ends although something in it does not."""
        self.stopped_by: DhError | None = None
        """The first error after which no other job can succeed."""

    @property
    def ended(self) -> int:
        """Number of jobs that have ended."""
        return self._statuses.total()

    @property
    def failed(self) -> int:
        """Number of jobs that have failed."""
        return self._statuses["failed"]

    @property
    def cancelled(self) -> int:
        """Number of jobs that a signal ended."""
        return self._statuses["cancelled"]

    def count(self, status: Status, error: ErrorInfo | None) -> None:
        """Add a job that has ended."""
        self._statuses[status] += 1
        if error is not None:
            code = error.known_code
            self._codes[code] += 1
            if CODES[code].stops == "run":
                self.stopped_by = self.stopped_by or DhError(code, error.message)

    def note_bug(self, code: Code) -> None:
        """Remember an error outside of any job's result, if it is a bug."""
        self._has_bug |= code == "internal.bug"

    def exit_code(self, signal_number: int | None) -> int:
        """The gravest that applies: signal, bug, lost results, environment, failed for good, nothing."""
        if signal_number is not None:
            return 128 + signal_number
        if self._has_bug or "internal.bug" in self._codes:
            return BUG
        if self.has_lost_results:
            return RESULTS_LOST
        if self.is_abandoned:
            return TRY_LATER
        if self.stopped_by is not None:
            return self.stopped_by.info.exit_code
        if not self._codes:
            return OK
        return TRY_LATER if all(CODES[code].transient for code in self._codes) else FAILED

    def summary(self, run_id: str, jobs: int, wall_s: float, signal_number: int | None) -> Summary:
        """The event that ends a run of `jobs` jobs."""
        return Summary(
            run_id=run_id,
            jobs=jobs,
            succeeded=self._statuses["succeeded"],
            skipped=self._statuses["skipped"],
            failed=self._statuses["failed"],
            cancelled=self._statuses["cancelled"],
            not_started=jobs - self.ended,
            wall_s=wall_s,
            exit_code=self.exit_code(signal_number),
            codes=dict(self._codes),
        )
