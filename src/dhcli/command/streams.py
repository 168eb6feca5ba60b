"""The three standard streams, which may be closed, full, ASCII only, or a pipe whose reader pauses.

None of this may end in a traceback. The module imports nothing heavy, so that `dh` prints a refusal within 0.1 s.
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
"""Characters per write: 4000 bytes at most, each as \\U0001f642. A pipe that is ready takes 4096 without blocking."""
POLL_MS = 50
HURRY_S = 0.5
"""Time for a pausing reader after a signal. The run has to end within 2 s of the signal."""


class StdoutLostError(Exception):
    """Stdout could not be written; `reason` is the error."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def open_standard_streams() -> None:
    """Open the null device for each of the descriptors 0 to 2 that is closed.

    Otherwise the next file that dh opens would get that number, and a library's message to stderr would go into a
    video. In the place of stdout it is opened for reading only: writes must fail, so that lost events are noticed.
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
    """Flush stdout. Returns the error of a failure, after which stdout is the null device.

    Otherwise Python would flush the rest of the buffer at its end, fail again and exit with code 120.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_stdout()
        return error
    return None


def discard_stdout() -> None:
    """Make stdout the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


class PatientStream:
    """A stream whose reader may pause. `ready`: a write would not block now; after `hurry`, no write blocks for long.

    A write to a terminal after Ctrl-S, or to a pipe that nobody reads, blocks in the kernel without end, and no other
    thread can interrupt it. Therefore text is written only after `poll` has found the stream writable. A stream that is
    a file gets `stall_timeout_s`, as every file on a disk.
    """

    def __init__(self, stream: TextIO, stall_timeout_s: float | None = None) -> None:
        self._stream = stream
        self._on_disk = DiskCalls(stall_timeout_s) if _is_file(stream) else None
        self._known = self._stalled = False
        self._until_s: float | None = None
        self._poll = select.poll()
        self._lock = threading.Lock()  # held for a whole line: lines of two threads must not mix
        with contextlib.suppress(OSError, ValueError):  # not a file of the system, as in tests: never blocks
            self._poll.register(stream.fileno(), select.POLLOUT)
            self._known = True

    def ready(self) -> bool:
        """Whether a short write would not block now."""
        if not self._lock.acquire(blocking=False):
            return False  # another thread waits for the reader
        try:
            return self._writable(0)
        finally:
            self._lock.release()

    def hurry(self) -> None:
        """From now on wait for the reader for `HURRY_S` at most, over all writes."""
        if self._until_s is None:
            self._until_s = time.monotonic() + HURRY_S
        if self._on_disk is not None:
            self._on_disk.hurry()

    def write(self, text: str) -> int:
        """Write the whole text, waiting for the reader. Raises OSError; TimeoutError if he does not read in time."""
        with self._lock:
            if self._on_disk is not None:
                self._write_file(self._on_disk, text)
                return len(text)
            for start in range(0, len(text), CHUNK):
                while not self._writable(POLL_MS):
                    if self._until_s is not None and time.monotonic() > self._until_s:
                        raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
                self._stream.write(text[start : start + CHUNK])
                self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Do nothing, since `write` leaves nothing in a buffer."""

    def _write_file(self, on_disk: DiskCalls, text: str) -> None:
        """Write to the descriptor. A hanging call of the stream object would keep a lock that Python needs to exit."""
        data, fd = text.encode(self._stream.encoding, self._stream.errors or "strict"), self._stream.fileno()
        if self._stalled:
            raise TimeoutError(errno.ETIMEDOUT, "its disk does not answer")
        try:
            on_disk("what dh prints", lambda: _write_all(fd, data))
        except DhError as error:
            self._stalled = True
            raise TimeoutError(errno.ETIMEDOUT, "its disk does not answer") from error

    def _writable(self, wait_ms: int) -> bool:
        return not self._known or bool(self._poll.poll(wait_ms))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # no file of the system
        return False


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def tolerant(stream: TextIO) -> TextIO:
    """The stream, set to escape characters that its encoding lacks instead of raising UnicodeEncodeError."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def say(lines: Iterable[str]) -> None:
    """Print lines for people to stderr. A failure is ignored, since the exit code says the same."""
    out = tolerant(sys.stderr)
    try:
        for line in lines:
            out.write(printable(line) + "\n")
        out.flush()
    except OSError:
        return


def answer(lines: Iterable[str]) -> None:
    """Print lines that the user asked for to stdout. Raises StdoutLostError if that fails."""
    out = tolerant(sys.stdout)
    try:
        for line in lines:
            out.write(printable(line) + "\n")
        out.flush()
    except OSError as error:
        raise StdoutLostError(error) from error
