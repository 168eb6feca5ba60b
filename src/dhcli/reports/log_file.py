"""`--log-file`: the events of a run as JSON lines, appended to a file.

Each line is one write to a file opened for appending: several runs can share the file, and a killed run leaves one
incomplete line at most. The lines for the start and the end of a stage are made here, from the progress events.
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
"""At most one progress line in this time. A job makes about 3 kB of log."""
RENAMED = {"queued_s": "wait_s", "wall_s": "duration_s"}
PATHS = ("manifest", "audio", "video", "save_path", "result_path")


class LogFile:
    """An open log. Opening it raises OSError; later failures are kept in `broken`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        # Non-blocking: a named pipe that is full or has no reader must not block the run.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(path, flags, 0o666)
        self._clock = clock
        self._torn = _ends_in_a_torn_line(path, self._fd)
        self._context: dict[str, Any] = {"run_id": None, "job_id": None, "attempt": None, "stage": None}
        self._stage_began_s = self._progress_s = 0.0
        self.broken: OSError | None = None
        """The last failure. Later lines are still tried, since the disk may get free space again."""

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
        """Close the file. Nothing is buffered."""
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
        if self._torn:  # the disk is full; the error would come with the next write only
            self.broken = OSError(f"only {written} of {len(line)} bytes were written")


def _ends_in_a_torn_line(path: Path, fd: int) -> bool:
    """Whether the file ends inside of a line of an earlier run; this run's first line must not continue that."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except PermissionError:  # the user may write the file but not read it
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
    """The fields of the event, renamed where other lines of the log have another name for the same."""
    fields = as_json(event)
    del fields["event"]
    paths = {name: fields.pop(name) for name in PATHS if name in fields}
    renamed = {RENAMED.get(name, name): value for name, value in fields.items()}
    paths = {name: value for name, value in paths.items() if value is not None}
    return renamed | ({"paths": paths} if paths else {})


def _short(value: Any) -> Any:
    """Floats, which are seconds, rounded to milliseconds."""
    return round(value, 3) if isinstance(value, float) else value
