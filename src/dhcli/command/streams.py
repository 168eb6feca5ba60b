"""The three standard streams: open, tolerant of every text, and never the reason for a traceback.

It owns how text reaches a terminal, a log or a pipe that may be closed, full or ASCII only. It knows nothing of what is
said, and imports nothing heavy: a refusal is printed in the 0.1 s that reading the command line takes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, TextIO

from dhcli.errors import DhError
from dhcli.printable import printable
from dhcli.runtime.disk_calls import DiskCalls

CHUNK = 400
"""Characters at a time: 4000 bytes at most, written as \\U0001f642. A pipe that is ready takes 4096 without waiting."""
POLL_MS = 50
HURRY_S = 0.5
"""For readers, after a signal: the run is to end within 2 s of it."""


class StdoutLostError(Exception):
    """Stdout did not take what was asked for."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def open_standard_streams() -> None:
    """Give every closed descriptor of 0 to 2 to the null device.

    Otherwise the next file that is opened becomes "stdout", and a library's message ends up in somebody's video. A
    closed stdout is opened for reading: writing to it must fail, so that lost events are noticed.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)  # the lowest free number, which is this one
            assert opened == number
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def flush_stdout() -> OSError | None:
    """Why stdout could not take what was written to it, or None; after a failure it is the null device.

    What failed stays in the buffer and would fail again, as exit code 120, when the interpreter ends.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_stdout()
        return error
    return None


def discard_stdout() -> None:
    """From now on stdout is the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


class PatientStream:
    """A stream whose reader may pause: `ready` tells it, and once `hurry` was called no write waits for long.

    A terminal after Ctrl-S and a pipe that nobody reads block the writer for ever, deep in the kernel where nothing
    reaches it. So nothing is written before there is room for it. A file has no reader: it is waited for as long as for
    any disk, `stall_timeout_s`.
    """

    def __init__(self, stream: TextIO, stall_timeout_s: float | None = None) -> None:
        self._stream = stream
        self._on_disk = DiskCalls(stall_timeout_s) if _is_file(stream) else None
        self._known = self._stalled = False
        self._until_s: float | None = None
        self._poll = select.poll()
        self._lock = threading.Lock()  # one poll at a time, and no line of one thread inside a line of another
        with contextlib.suppress(OSError, ValueError):  # no file of the system's: it takes everything at once
            self._poll.register(stream.fileno(), select.POLLOUT)
            self._known = True

    def ready(self) -> bool:
        """A short write would not wait now."""
        if not self._lock.acquire(blocking=False):
            return False  # another thread waits for the reader
        try:
            return self._room(0)
        finally:
            self._lock.release()

    def hurry(self) -> None:
        """From now on, give the reader `HURRY_S` in all."""
        if self._until_s is None:
            self._until_s = time.monotonic() + HURRY_S
        if self._on_disk is not None:
            self._on_disk.hurry()

    def write(self, text: str) -> int:
        """The whole text, when there is room for it. Raises OSError, and TimeoutError where nobody reads in time."""
        with self._lock:
            if self._on_disk is not None:
                self._write_file(self._on_disk, text)
                return len(text)
            for start in range(0, len(text), CHUNK):
                while not self._room(POLL_MS):
                    if self._until_s is not None and time.monotonic() > self._until_s:
                        raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
                self._stream.write(text[start : start + CHUNK])
                self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Nothing is ever held back."""

    def _write_file(self, on_disk: DiskCalls, text: str) -> None:
        """By its descriptor: a call that is left behind would keep the stream's own lock, and Python waits for that."""
        data, fd = text.encode(self._stream.encoding, self._stream.errors or "strict"), self._stream.fileno()
        if self._stalled:
            raise TimeoutError(errno.ETIMEDOUT, "its disk does not answer")
        try:
            on_disk("what dh prints", lambda: _write_all(fd, data))
        except DhError as error:
            self._stalled = True
            raise TimeoutError(errno.ETIMEDOUT, "its disk does not answer") from error

    def _room(self, wait_ms: int) -> bool:
        return not self._known or bool(self._poll.poll(wait_ms))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # no file of the system's
        return False


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def tolerant(stream: TextIO) -> TextIO:
    """The stream, set so that no file name and no locale can raise UnicodeEncodeError."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def say(lines: Iterable[str]) -> None:
    """Lines for people, on stderr. Where nobody can be told, nobody is: the exit code says it, too."""
    out = tolerant(sys.stderr)
    try:
        for line in lines:
            out.write(printable(line) + "\n")
        out.flush()
    except OSError:
        return


def answer(lines: Iterable[str]) -> None:
    """Lines that were asked for, on stdout. Raises StdoutLostError where it cannot take them."""
    out = tolerant(sys.stdout)
    try:
        for line in lines:
            out.write(printable(line) + "\n")
        out.flush()
    except OSError as error:
        raise StdoutLostError(error) from error
