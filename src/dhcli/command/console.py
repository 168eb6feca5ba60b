"""Showing events: a progress bar on a terminal, plain lines elsewhere, JSON lines for programs.

Text for people goes to stderr; stdout is for programs and stays empty without `--json`. A closed terminal or a full
pipe does not end a render: the output is dropped, and for stdout the exit code says so.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Never, TextIO, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from dhcli.command.streams import PatientStream, tolerant
from dhcli.command.wording import (
    STAGES,
    deferral,
    duration,
    failure_lines,
    plan_text,
    planned_lines,
    planned_text,
    progress_text,
    repeated_failure,
    summary_text,
)
from dhcli.errors import WarningCode
from dhcli.events import (
    Event,
    JobDecided,
    JobDeferred,
    JobFinished,
    JobPlanned,
    JobStarted,
    PlanSummary,
    Progress,
    Retrying,
    Summary,
    Warned,
    as_json,
)
from dhcli.printable import printable

PLAIN_EVERY_S = 10.0
"""Interval of progress lines where there is no bar."""
JSON_EVERY_S = 1.0
BAR_FROM_BYTES = 16 << 20
"""Smaller files are copied in an instant."""
EVENTS_LOST: WarningCode = "events.lost"
LOST: frozenset[WarningCode] = frozenset({"result.lost", "report.lost", "on_finish.failed", EVENTS_LOST})
"""Warnings that are shown even with -q: they change the exit code, and nothing else reports the cause."""


class JsonLines:
    """One JSON object per line on stdout, flushed at once, so that the reader of a pipe sees each event in time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last_s = 0.0
        self._stage = ""
        self.broken: OSError | None = None
        """The error of the first failed write. The run goes on, and ends with exit code 74."""

    def __call__(self, event: Event) -> None:
        if self.broken is not None or (isinstance(event, Progress) and not self._due(event)):
            return
        try:
            self._stream.write(json.dumps(as_json(event)) + "\n")
            self._stream.flush()
        except OSError as error:
            self.broken = error

    def _due(self, event: Progress) -> bool:
        now, key = time.monotonic(), f"{event.job_id} {event.stage}"
        if key == self._stage and now - self._last_s < JSON_EVERY_S:
            return False
        self._last_s, self._stage = now, key
        return True


class People:
    """Output for a person: a bar per job on a terminal, lines elsewhere, and the summary as the last line."""

    def __init__(self, stream: TextIO, *, bar: bool, progress: bool, verbosity: int) -> None:
        """`verbosity` -1 shows only failures, 0 every job, 1 the parts of each job, too."""
        self._stream = stream
        self._bar_wanted, self._progress_wanted = bar, progress
        self._verbosity = verbosity
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._bar: tqdm[Never] | None = None
        self._stage, self._position, self._began_s, self._last_s = "", "", 0.0, 0.0
        self._failures: list[JobFinished] = []
        self._plan: list[JobPlanned] = []
        self._lost = False

    def __call__(self, event: Event) -> None:
        if self._lost:
            return
        try:
            self._show(event)
        except OSError:  # the terminal is closed or the log's disk is full: go on without output
            self._lost = True

    def _show(self, event: Event) -> None:
        match event:
            case JobStarted():
                self._job_started(event)
            case Progress():
                self._progress(event)
            case Warned():
                self._warned(event)
            case JobDecided():
                if self._verbosity >= 1:
                    self._say(f"{self._position}: {event.action}: {event.reason}")
            case Retrying():
                self._retrying(event)
            case JobDeferred():
                if self._verbosity >= 0:
                    self._say(f"{self._position}: {deferral(event)}", style="yellow")
            case JobFinished():
                self._job_finished(event)
            case Summary():
                self._summary(event)
            case JobPlanned():
                self._job_planned(event)
            case PlanSummary():
                self._plan_summary(event)
            case _:
                pass  # only --json and the reports show the others

    def _say(self, *lines: str, style: str = "") -> None:
        if self._bar is not None:
            self._bar.clear()
        for line in lines:
            if style:
                self._console.print(Text(printable(line), style=style))
            else:  # ten times as fast as rich: a plan may have 10,000 lines
                self._stream.write(f"{printable(line)}\n")
        self._stream.flush()

    def _job_started(self, event: JobStarted) -> None:
        self._position = f"[{event.index + 1}/{event.jobs}] {event.job_id}"
        self._stage, self._last_s = "", time.monotonic()
        if self._verbosity >= 1:
            attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
            self._say(f"{self._position}: {event.video} + {event.audio} -> {event.save_path}{attempt}")

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        if event.stage != self._stage:
            self._stage, self._began_s = event.stage, now
            self._close_bar()
            if self._verbosity >= 1 and not self._bar_wanted:
                self._say(f"{self._position}: {STAGES.get(event.stage, event.stage)}")
            if self._bar_wanted and event.total is not None:
                self._open_bar(event.stage, event.total)
        if self._bar is not None:
            self._bar.update(event.done - self._bar.n)
        elif self._progress_wanted and not self._bar_wanted and now - self._last_s >= PLAIN_EVERY_S:
            self._last_s = now
            self._say(f"{self._position}: {progress_text(event, now - self._began_s)}")

    def _open_bar(self, stage: str, total: int) -> None:
        self._bar = tqdm(
            total=total,
            desc=printable(f"{self._position}: {STAGES.get(stage, stage)}"),
            unit=" frames",
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
            mininterval=0.1,
        )

    def _warned(self, event: Warned) -> None:
        if self._verbosity >= 0 or event.code in LOST:
            self._say(f"{event.job_id or 'dh'}: warning: {event.message} [{event.code}]", style="yellow")

    def _retrying(self, event: Retrying) -> None:
        self._close_bar()
        if self._verbosity >= 0:
            again = f"attempt {event.attempt + 1} in {duration(event.wait_s)}"
            self._say(f"{self._position}: {event.message} [{event.code}]; {again}", style="yellow")

    def _job_finished(self, event: JobFinished) -> None:
        self._close_bar()
        if event.code is not None:
            if event.status == "failed":
                self._failures.append(event)
            self._say(*failure_lines(event, self._position), style="red" if event.status == "failed" else "yellow")
        elif self._verbosity >= 0 and event.status == "skipped":
            self._say(f"{self._position}: up to date: {event.save_path}", style="cyan")
        elif self._verbosity >= 0:
            speed = f", {event.fps:.1f} fps" if event.fps else ""
            done = f"ok, {event.frames} frames in {duration(event.wall_s)}{speed}"
            self._say(f"{self._position}: {done}: {event.save_path}", style="green")

    def _summary(self, event: Summary) -> None:
        self._close_bar()
        if self._verbosity < 0 and not event.exit_code:
            return
        if event.jobs > 1 and self._failures and self._console.is_terminal:
            rows = [(failure.job_id, failure.code or "", failure.message or "") for failure in self._failures]
            self._console.print(table(("job", "code", "what"), rows, title="Failed jobs"))
        elif event.jobs > 1 and self._failures:
            self._say("Failed jobs:", *(f"  {repeated_failure(failure)}" for failure in self._failures))
        self._say(summary_text(event), style="bold" if event.exit_code == 0 else "bold red")

    def _job_planned(self, event: JobPlanned) -> None:
        if self._verbosity < 0 and event.code is None:
            return
        self._plan.append(event)
        if not self._console.is_terminal:
            self._say(*planned_lines(event))

    def _plan_summary(self, event: PlanSummary) -> None:
        if self._verbosity < 0 and not event.exit_code:
            return
        if self._console.is_terminal:
            rows = [(plan.job_id, planned_text(plan), plan.save_path) for plan in self._plan]
            self._console.print(table(("job", "what", "output"), rows))
            hints = dict.fromkeys(f"    {plan.hint}" for plan in self._plan if plan.hint)
            self._say(*hints, style="yellow")
        self._say(plan_text(event), style="bold" if event.exit_code == 0 else "bold red")

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Audience:
    """The listener that shows events: to people on stderr and, with --json, to a program on stdout."""

    def __init__(self, *, as_json: bool, progress: str, verbosity: int, stall_timeout_s: float | None = None) -> None:
        """`progress` is auto, bar, plain or none; `verbosity` as for People.

        `stall_timeout_s` limits a write where stdout or stderr is a file, whose disk may not respond.
        """
        stderr = tolerant(sys.stderr)
        self._stdout, self._stderr = (PatientStream(stream, stall_timeout_s) for stream in (sys.stdout, stderr))
        self._lines = JsonLines(cast("TextIO", self._stdout)) if as_json else None
        # With --json the program that reads stdout often prints to the same terminal, which would break the bar.
        terminal = stderr.isatty() and os.environ.get("TERM") != "dumb" and not as_json
        wanted = progress != "none" and verbosity >= 0
        bar = wanted and (progress == "bar" or (progress == "auto" and terminal))
        self._people = People(cast("TextIO", self._stderr), bar=bar, progress=wanted, verbosity=verbosity)

    def __call__(self, event: Event) -> None:
        # If the reader pauses, progress is dropped, since it would be out of date later; other events wait for him.
        passing = isinstance(event, Progress)
        if self._lines is not None and self._lines.broken is None and not (passing and not self._stdout.ready()):
            self._lines(event)
            if self._lines.broken is not None:
                text = f"stdout cannot be written: {self._lines.broken.strerror}; the run goes on without events."
                self._people(Warned(None, EVENTS_LOST, text))
        if not passing or self._stderr.ready():
            self._people(event)

    def hurry(self) -> None:
        """Stop waiting for readers that pause, since the run must end. From any thread."""
        self._stdout.hurry()
        self._stderr.hurry()

    def stdout_lost(self) -> bool:
        """Whether events are missing on stdout."""
        return self._lines is not None and self._lines.broken is not None


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """A table for the terminal, with control and invisible characters escaped."""
    made = Table(*columns, box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for row in rows:
        made.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    return made


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]], width: int = 80) -> list[str]:
    """A table for stdout, without lines: a pipe or an ASCII terminal may read it."""
    made = table(columns, rows)
    made.box = None
    made.padding = (0, 2, 0, 0)
    written = io.StringIO()
    Console(file=written, width=width, highlight=False, color_system=None).print(made)
    return [line.rstrip() for line in written.getvalue().splitlines()]


class _Bar:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: tqdm[Never] | None = None

    def _move(self, done: int, total: int | None) -> None:
        """Show that so much is done; the bar goes when all is."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if done == total:
                self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class FileBar(_Bar):
    """A bar for a large file that is read or fetched."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._name = ""

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Show that so many bytes of a file are done; `total` None: not known."""
        if not self._stream.isatty() or (total is not None and total < BAR_FROM_BYTES):
            return
        if name != self._name:
            self.close()
            self._name = name
            title = printable(name)
            self._bar = tqdm(desc=title, total=total, file=self._stream, unit="B", unit_scale=True, leave=False)
        self._move(done, total)


class CountBar(_Bar):
    """A bar for things that are done one after another."""

    def __init__(self, stream: TextIO, title: str, unit: str) -> None:
        super().__init__(stream)
        self._title, self._unit = title, unit

    def __call__(self, done: int, total: int) -> None:
        """Show that so many are done; the bar goes when all are."""
        if self._bar is None and self._stream.isatty():
            self._bar = tqdm(desc=self._title, total=total, file=self._stream, unit=f" {self._unit}", leave=False)
        self._move(done, total)
