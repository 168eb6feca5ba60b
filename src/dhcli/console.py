"""Events made visible: a bar on a terminal, plain lines in a log, JSON lines for programs.

People read stderr; stdout belongs to programs and stays empty without `--json`. The only importer of rich and tqdm.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Never, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from dhcli.events import BatchStarted, Event, JobFinished, JobStarted, Progress, Summary, Warned, as_json

PLAIN_EVERY_S = 10.0
"""A log gets a line this often while a job runs."""
JSON_EVERY_S = 1.0

STAGES = {"listen": "listening", "analyse": "finding the face", "render": "rendering", "verify": "checking"}
MARKS = {"succeeded": "ok", "skipped": "up to date", "failed": "FAILED", "cancelled": "cancelled"}
COLOURS = {"succeeded": "green", "skipped": "cyan", "failed": "red", "cancelled": "yellow"}


def printable(text: str) -> str:
    """The text without anything that a terminal would obey: file names and messages come from strangers."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2s, 41m12s, 3h05m."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def tolerant(stream: TextIO) -> TextIO:
    """The stream, set so that no file name and no locale can raise UnicodeEncodeError."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


class JsonLines:
    """One JSON object a line on stdout, flushed: whoever reads a pipe sees events when they happen."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last_s = 0.0
        self._stage = ""
        self.broken: OSError | None = None
        """Why stdout could not be written; the run goes on, its exit code tells."""

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
    """What a person sees: one bar per job on a terminal, lines elsewhere, and a summary at the end."""

    def __init__(self, stream: TextIO, *, bar: bool, progress: bool, verbosity: int) -> None:
        """`verbosity` -1 speaks only of trouble, 0 of jobs, 1 of their parts too."""
        self._stream = stream
        self._bar_wanted, self._progress_wanted = bar, progress
        self._verbosity = verbosity
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._bar: tqdm[Never] | None = None
        self._stage, self._position, self._began_s, self._last_s = "", "", 0.0, 0.0
        self._failures: list[JobFinished] = []

    def __call__(self, event: Event) -> None:
        match event:
            case BatchStarted():
                pass
            case JobStarted():
                self._job_started(event)
            case Progress():
                self._progress(event)
            case Warned():
                if self._verbosity >= 0:
                    self._say(f"{event.job_id or 'dh'}: warning: {event.message} [{event.code}]", "yellow")
            case JobFinished():
                self._job_finished(event)
            case Summary():
                self._summary(event)
            case _:
                raise TypeError(f"unknown event {event!r}")

    def _say(self, text: str, style: str = "") -> None:
        if self._bar is not None:
            self._bar.clear()
        self._console.print(Text(printable(text), style=style))

    def _job_started(self, event: JobStarted) -> None:
        self._position = f"[{event.index + 1}/{event.jobs}] {event.job_id}"
        self._stage, self._last_s = "", time.monotonic()
        if self._verbosity >= 1:
            self._say(f"{self._position}: {event.video} + {event.audio} -> {event.save_path}, attempt {event.attempt}")

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        if event.stage != self._stage:
            self._stage, self._began_s = event.stage, now
            self._close_bar()
            if self._bar_wanted and event.total is not None:
                self._bar = tqdm(
                    total=event.total,
                    desc=printable(f"{self._position}: {STAGES.get(event.stage, event.stage)}"),
                    unit=" frames",
                    file=self._stream,
                    dynamic_ncols=True,
                    leave=False,
                    mininterval=0.1,
                )
        if self._bar is not None:
            self._bar.update(event.done - self._bar.n)
        elif self._progress_wanted and not self._bar_wanted and now - self._last_s >= PLAIN_EVERY_S:
            self._last_s = now
            self._say(self._plain_progress(event, now - self._began_s))

    def _plain_progress(self, event: Progress, spent_s: float) -> str:
        text = f"{self._position}: {STAGES.get(event.stage, event.stage)}"
        if event.total is None or not event.done or spent_s <= 0:
            return text
        rate = event.done / spent_s
        left = duration((event.total - event.done) / rate)
        return f"{text} {event.done}/{event.total} frames, {rate:.1f} fps, {left} left"

    def _job_finished(self, event: JobFinished) -> None:
        self._close_bar()
        if event.code is not None:
            self._failures.append(event)
            self._say(failure_text(event, self._position), "red" if event.status == "failed" else "yellow")
        elif self._verbosity >= 0 and event.status == "skipped":
            self._say(f"{self._position}: up to date: {event.save_path}", "cyan")
        elif self._verbosity >= 0:
            speed = f", {event.fps:.1f} fps" if event.fps else ""
            self._say(
                f"{self._position}: ok, {event.frames} frames in {duration(event.wall_s)}{speed}: {event.save_path}",
                "green",
            )

    def _summary(self, event: Summary) -> None:
        self._close_bar()
        if self._verbosity < 0 and not event.exit_code:
            return
        if event.jobs > 1 and self._failures and self._console.is_terminal:
            self._console.print(failures_table(self._failures))
        elif event.jobs > 1 and self._failures:
            self._say("\n".join(f"{f.job_id}: {f.code}: {f.message} ({f.result_path})" for f in self._failures))
        self._say(summary_text(event), "bold" if event.exit_code == 0 else "bold red")

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def failure_text(event: JobFinished, position: str) -> str:
    """What failed, why, what to do, and where all of it stands."""
    lines = [f"{position}: {MARKS[event.status]}: {event.message} [{event.code}]"]
    if event.hint:
        lines.append(f"    {event.hint}")
    if event.result_path:
        lines.append(f"    All that is known: {event.result_path}")
    return "\n".join(lines)


def summary_text(event: Summary) -> str:
    """`12 jobs: 10 succeeded, 1 up to date, 1 failed (face.lost) in 41m12s`."""
    codes = ", ".join(f"{n} x {code}" if n > 1 else code for code, n in event.codes.items())
    parts = [
        f"{event.succeeded} succeeded" if event.succeeded else "",
        f"{event.skipped} up to date" if event.skipped else "",
        f"{event.failed} failed" if event.failed else "",
        f"{event.cancelled} cancelled" if event.cancelled else "",
    ]
    if codes:
        parts[-1 if event.cancelled else 2] += f" ({codes})"
    parts.append(f"{event.not_started} not started" if event.not_started else "")
    jobs = "1 job" if event.jobs == 1 else f"{event.jobs} jobs"
    return f"{jobs}: {', '.join(part for part in parts if part) or 'nothing to do'} in {duration(event.wall_s)}"


def failures_table(failures: Iterable[JobFinished]) -> Table:
    """What went wrong in a batch, one row a job."""
    table = Table("job", "code", "what", "result file", box=box.SIMPLE_HEAD, title="Failed jobs", title_justify="left")
    for failure in failures:
        cells = (failure.job_id, failure.code or "", failure.message or "", failure.result_path or "")
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    return table


def plan_table(rows: Sequence[Sequence[str]]) -> Table:
    """What a run would do: job, action, frames, output."""
    table = Table("job", "action", "frames", "output", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    return table


def print_table(table: Table, stream: TextIO | None = None) -> None:
    """A table for people, on stderr unless said otherwise; 80 columns where there is no terminal to ask."""
    Console(file=stream or tolerant(sys.stderr), highlight=False).print(table)


def print_lines(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Lines for people, on stderr unless said otherwise."""
    out = stream or tolerant(sys.stderr)
    for line in lines:
        out.write(printable(line) + "\n")
    out.flush()
