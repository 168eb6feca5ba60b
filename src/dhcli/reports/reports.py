"""All reports of one run: which are wanted, the order in which they are made, and the warning if one fails."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from dhcli.disk.lock import output_lock
from dhcli.disk.part import PartFile
from dhcli.errors import BUG, FAILED, OK, RESULTS_LOST, TRY_LATER, DhError, WarningCode, describe
from dhcli.events import BatchStarted, Event, JobFinished, Listener, Refused, Summary, Warned
from dhcli.reports import metrics_file
from dhcli.reports.junit import Case, case_of, case_of_refusal, junit_xml
from dhcli.reports.log_file import LogFile
from dhcli.reports.on_finish import OnFinish
from dhcli.reports.page_file import PageMaker, SheetMaker
from dhcli.reports.replaceable import JUNIT, METRICS, PAGE, Kind, replaceable
from dhcli.runtime.disk_calls import DiskCalls, OnStep

LESS_THAN_LOST = frozenset({OK, FAILED, TRY_LATER})
"""Exit codes that 74, for a lost report, replaces. The codes of a signal, a bug or an unfit machine matter more."""

LESS_THAN_BUG = LESS_THAN_LOST | {RESULTS_LOST}

LOCK_WAIT_S = 10.0
"""Time to wait for another run that is writing the same report; that takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The reports that the user asked for; None for each other one."""

    log_file: Path | None = None
    metrics_file: Path | None = None
    junit: Path | None = None
    on_finish: str | None = None
    page: Path | None = None


class Reports:
    """The listener of a run: it makes the reports, and passes every event on to `show`.

    The summary is passed on with the exit code that takes lost reports into account.
    """

    def __init__(
        self,
        wanted: Wanted,
        show: Listener,
        stdout_lost: Callable[[], bool] = lambda: False,
        stall_timeout_s: float | None = None,
        dead: Mapping[Path, DhError] = MappingProxyType({}),
        page: PageMaker | None = None,
        sheets: SheetMaker | None = None,
    ) -> None:
        """A report whose disk does not respond for `stall_timeout_s` is lost, and the run goes on without it.

        `dead`: reports for which this has happened before, each with its error. `page` makes the page, `sheets`
        the contact sheets.
        """
        self._wanted, self._show, self._stdout_lost = wanted, show, stdout_lost
        self._on_disk = DiskCalls(stall_timeout_s)
        self._began_s = time.monotonic()
        self._log: LogFile | None = None
        self._dead = dict(dead)
        """Reports whose disk did not respond. A call may still be pending for each: the file is not touched again."""
        self._said_lost: set[Path] = set()
        """Reports that could not be written, which has been said: the metrics are written twice."""
        self._broken: set[str] = set()
        """Reports that failed by a bug."""
        self._said_log_lost = self._lost = self._opened = self._ended = False
        self._on_finish = OnFinish(wanted.on_finish) if wanted.on_finish is not None else None
        self._page, self._sheets = page, sheets
        self._finished: list[JobFinished] = []
        self._signal: int | None = None
        self._manifest: str | None = None
        self._cases: list[Case] = []
        self._frames = 0
        self._peak_rss: int | None = None

    def __enter__(self) -> Self:
        self._on_disk.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(DhError):  # every line has been written: nothing is lost if closing fails
                self._on_disk(f"the log {self._wanted.log_file}", log.close)
        self._on_disk.__exit__()

    def __call__(self, event: Event) -> None:
        """Report the event. A bug in one report stops neither the others nor the run; the exit code is 70 then."""
        match event:
            case BatchStarted():
                self._display(event)
                self._manifest = event.manifest
                self._open()
                self._write_log(event)
                return
            case JobFinished():
                self._note(event)
                self._write_log(event)
                self._display(event)
                self._write_sheet(event)
                return
            case Refused():
                self._refused(event)
            case Summary():
                self._display(self._end(event))
                return
            case _:
                self._write_log(event)
        self._display(event)

    def exit_code(self, code: int) -> int:
        """The exit code of a run that ends with `code`: 128+N after a signal, 70 or 74 if a report failed."""
        if self._signal is not None:
            return 128 + self._signal
        if self._broken and code in LESS_THAN_BUG:
            return BUG
        lost = self._lost or self._stdout_lost()
        return RESULTS_LOST if lost and code in LESS_THAN_LOST else code

    def signalled(self, number: int) -> None:
        """Note a signal: from now on no report may delay the end of the run. Called from another thread."""
        self._signal = self._signal or number
        self._on_disk.hurry()
        if self._on_finish is not None:
            self._on_finish.end()
        if self._page is not None:
            self._page.cancel()
        if self._sheets is not None:
            self._sheets.cancel()

    def hurry(self) -> None:
        """Stop waiting for disks, since the process is about to end. Called from another thread."""
        self._on_disk.hurry()

    @property
    def began(self) -> bool:
        """Whether the run has started, so that something may have been rendered."""
        return self._opened

    def _open(self) -> None:
        self._opened = True
        wanted = self._wanted
        for path, error in self._dead.items():
            self._lose(f"The report {path} is not written: {error.message}")
        if wanted.log_file is not None and wanted.log_file not in self._dead:
            with self._guarded(f"log {wanted.log_file}"):
                self._open_log(wanted.log_file)
        if wanted.metrics_file is not None:
            self._write_metrics(wanted.metrics_file, lambda earlier: metrics_file.started(earlier, time.time()))

    def _open_log(self, path: Path) -> None:
        try:
            self._log = self._on_disk(f"the log {path}", lambda: LogFile(path))
        except OSError as error:
            self._lose(f"The log {path} cannot be opened: {_reason(error)}.")
        except DhError as error:
            self._lose(f"The log is not written: {error.message}")

    def _note(self, event: JobFinished) -> None:
        self._frames += event.frames
        if event.peak_rss_bytes is not None:
            self._peak_rss = max(self._peak_rss or 0, event.peak_rss_bytes)
        if self._wanted.junit is not None:
            self._cases.append(case_of(event))
        if self._wanted.page is not None:
            self._finished.append(event)

    def _end(self, summary: Summary, notes: Sequence[str] = ()) -> Summary:
        """Make the reports of the end. Returns the summary with the exit code that takes lost reports into account."""
        self._ended = True
        wanted = self._wanted
        if wanted.junit is not None:
            with self._guarded(f"JUnit file {wanted.junit}"):
                self._write(wanted.junit, JUNIT, lambda: junit_xml(self._cases, summary))
        if wanted.page is not None and self._page is not None:
            with self._guarded(f"page {wanted.page}"):
                self._write_page(wanted.page, self._page, [*notes, *_not_started(summary)])
        if wanted.metrics_file is not None:
            self._write_metrics(wanted.metrics_file, lambda earlier: self._last_samples(earlier, summary))
        summary = dataclasses.replace(summary, exit_code=self.exit_code(summary.exit_code))
        if self._on_finish is not None:
            with self._guarded("--on-finish"):
                trouble = self._on_finish.run(summary, self._manifest)
                if trouble is not None:
                    self._warn("on_finish.failed", f"--on-finish {wanted.on_finish}: {trouble}.")
        self._write_log(summary)
        return dataclasses.replace(summary, exit_code=self.exit_code(summary.exit_code))

    def _refused(self, event: Refused) -> None:
        """Make the reports of a run that could not start: whoever monitors runs must see it."""
        if not self._opened:
            self._open()
        self._write_log(event)
        if self._ended:  # a bug after the summary; the reports are made
            return
        self._cases.append(case_of_refusal(event))
        spent_s = time.monotonic() - self._began_s
        self._end(
            Summary(
                run_id="",
                jobs=0,
                succeeded=0,
                skipped=0,
                failed=0,
                cancelled=0,
                not_started=0,
                wall_s=spent_s,
                exit_code=event.exit_code,
                codes={event.code: 1},
            ),
            event.problems,
        )

    def _last_samples(self, earlier: metrics_file.Samples, summary: Summary) -> metrics_file.Samples:
        code = self.exit_code(summary.exit_code)
        return metrics_file.ended(
            earlier, time.time(), summary, exit_code=code, frames=self._frames, peak_rss=self._peak_rss
        )

    def _write_sheet(self, event: JobFinished) -> None:
        sheets = self._sheets
        if sheets is None or event.status not in {"succeeded", "skipped"}:
            return
        with self._guarded("contact sheets"):
            try:
                self._on_disk.in_steps(f"the video {event.save_path}", lambda on_step: sheets(event, on_step))
            except DhError as error:
                self._lose(f"The contact sheet of {event.save_path} is not written: {error.message}")

    def _write_page(self, path: Path, page: PageMaker, notes: Sequence[str]) -> None:
        try:
            text = self._on_disk.in_steps("the results", lambda on_step: page(self._finished, notes, on_step))
        except DhError as error:
            self._lose(f"The page {path} is not written: {error.message}")
            return
        self._write(path, PAGE, lambda: text)

    def _write_metrics(self, path: Path, change: Callable[[metrics_file.Samples], metrics_file.Samples]) -> None:
        def text() -> str:
            return metrics_file.metrics_text(change(metrics_file.read_metrics(path)))

        with self._guarded(f"metrics file {path}"):
            try:
                self._write(path, METRICS, text)
            except OSError as error:
                self._lose_file(path, f"The metrics file {path} cannot be read: {_reason(error)}.")

    def _write(self, path: Path, kind: Kind, text: Callable[[], str]) -> None:
        """Write the file whole or not at all, under its lock: others may read or write it at any time.

        A file that dh did not write is kept, even one that appeared during the run.
        """
        what = f"the {kind.name} {path}"

        def write(on_step: OnStep) -> None:
            wait_s = LOCK_WAIT_S if self._signal is None else 0.0
            # Each try to get the lock counts as a step: to wait for another run is no stall of the disk.
            with output_lock(path, wait_s=wait_s, check=lambda: on_step(what)), PartFile(path) as part:
                before = replaceable(path, kind)
                part.write(text().encode())
                part.commit(over=before)

        if path in self._dead:
            return
        try:
            self._on_disk.in_steps(what, write)
        except DhError as error:
            if error.code == "stalled":
                self._dead[path] = error
            self._lose_file(path, f"The {kind.name} is not written: {error.message}")

    def _write_log(self, event: Event) -> None:
        log = self._log
        if log is None:
            return
        with self._guarded(f"log {self._wanted.log_file}"):
            try:
                self._on_disk(f"the log {self._wanted.log_file}", lambda: log(event))
            except DhError as error:
                self._log = None
                self._lose(f"Lines of the log are missing: {error.message}")
                return
            if log.broken is not None and not self._said_log_lost:
                self._said_log_lost = True
                self._lose(f"Lines of the log {self._wanted.log_file} are missing: {_reason(log.broken)}.")

    def _lose_file(self, path: Path, message: str) -> None:
        self._lost = True
        if path not in self._said_lost:
            self._said_lost.add(path)
            self._warn("report.lost", message)

    def _lose(self, message: str) -> None:
        self._lost = True
        self._warn("report.lost", message)

    def _warn(self, code: WarningCode, message: str) -> None:
        warning = Warned(None, code, message)
        self._display(warning)
        self._write_log(warning)

    def _display(self, event: Event) -> None:
        """Show the event on the terminal and on stdout."""
        with self._guarded("terminal or stdout"):
            self._show(event)

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Go on after a bug in a report, with one warning for each report: the next event may hit the same bug."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the last place that can keep a bug in a report from the run
            if what not in self._broken:
                self._broken.add(what)
                lines = "".join(traceback.format_exception(error))
                self._lose(f"By a bug in dh, something is missing in the {what}; please report it. {lines}")


def _not_started(summary: Summary) -> list[str]:
    return [f"{summary.not_started} jobs were not started."] if summary.not_started else []


def _reason(error: OSError) -> str:
    return error.strerror or describe(error)
