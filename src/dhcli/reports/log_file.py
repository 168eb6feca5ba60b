"""`--log-file`: what happened in a run as JSON lines, complete enough to answer the questions of the next morning.

One write per line to a file opened for appending, so that several runs may share it, and so that a killed run leaves
one torn line at most. Stages are told apart here: the batch only reports progress.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dhcli.events import (
    BatchStarted,
    Event,
    JobDeferred,
    JobFinished,
    JobStarted,
    Progress,
    Refused,
    Summary,
    Warned,
    as_json,
)
from dhcli.printable import printable_json

PROGRESS_EVERY_S = 10.0
"""A log is read by people, too: without a line per frame a job makes about 3 kB of it."""
RENAMED = {"queued_s": "wait_s", "wall_s": "duration_s"}
PATHS = ("manifest", "audio", "video", "save_path", "result_path")


class LogFile:
    """An open log. Raises OSError where it cannot be opened; later troubles are kept in `broken`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        # Non-blocking: the open of a named pipe without a reader, or a full one, must not stop the night.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(path, flags, 0o666)
        self._clock = clock
        self._torn = _ends_in_a_torn_line(path, self._fd)
        self._context: dict[str, Any] = {"run_id": None, "job_id": None, "attempt": None, "stage": None}
        self._stage_began_s = self._progress_s = 0.0
        self.broken: OSError | None = None
        """Why lines are missing. Each line is tried: a disk may get room again."""

    def __call__(self, event: Event) -> None:
        match event:
            case Progress():
                self._progress(event)
                return
            case BatchStarted():
                self._context["run_id"] = event.run_id
            case JobStarted():
                self._end_stage()
                self._context |= {"job_id": as_json(event)["job_id"], "attempt": event.attempt}
            case JobFinished() | JobDeferred():
                self._end_stage()
                self._context |= {"job_id": None, "attempt": None}
        self._write(event.name, _level(event), {"stage": None} | _fields(event))

    def close(self) -> None:
        """Close the file; nothing is buffered."""
        os.close(self._fd)

    def _progress(self, event: Progress) -> None:
        now = self._clock()
        if event.stage != self._context["stage"]:
            self._end_stage()
            self._context["stage"], self._stage_began_s, self._progress_s = event.stage, now, now
            self._write("stage_started", "info", {"job_id": as_json(event)["job_id"]})
        elif now - self._progress_s >= PROGRESS_EVERY_S:
            self._progress_s = now
            self._write(event.name, "debug", _fields(event))

    def _end_stage(self) -> None:
        if self._context["stage"] is not None:
            self._write("stage_finished", "info", {"duration_s": self._clock() - self._stage_began_s})
            self._context["stage"] = None

    def _write(self, name: str, level: str, fields: dict[str, Any]) -> None:
        stamp = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {key: _short(value) for key, value in (self._context | fields).items() if value is not None}
        text = printable_json({"ts": stamp, "level": level, "event": name} | known)
        line = ("\n" * self._torn + text + "\n").encode()
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self.broken = error
            return
        self._torn = written < len(line)
        if self._torn:  # the disk is full; the system says so at the next write only
            self.broken = OSError(f"only {written} of {len(line)} bytes were written")


def _ends_in_a_torn_line(path: Path, fd: int) -> bool:
    """Whether the last line of an earlier run has no end: the first line of this one must not be glued to it."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except PermissionError:  # to be written, not to be read
        return False


def _level(event: Event) -> str:
    match event:
        case Warned():
            return "warning"
        case JobFinished():
            return {"failed": "error", "cancelled": "warning"}.get(event.status, "info")
        case Summary() | Refused():
            return "error" if event.exit_code else "info"
    return "info"


def _fields(event: Event) -> dict[str, Any]:
    """The event's own fields, with one name for a thing in all events."""
    fields = as_json(event)
    del fields["event"]
    paths = {name: fields.pop(name) for name in PATHS if name in fields}
    renamed = {RENAMED.get(name, name): value for name, value in fields.items()}
    paths = {name: value for name, value in paths.items() if value is not None}
    return renamed | ({"paths": paths} if paths else {})


def _short(value: Any) -> Any:
    """Seconds to the millisecond: the digits after it are noise."""
    return round(value, 3) if isinstance(value, float) else value
