"""Child processes that never block the job and never outlive it: bounded stderr, an own group that is killed whole.

Each child has a guard: a shell that leads the child's process group and waits for the end of a pipe that only we hold.
Where dh is killed, by the out-of-memory killer for instance, the kernel closes the pipe, and the guard kills the group.
PR_SET_PDEATHSIG would do less and risk more: it fires when the starting thread ends, spares grandchildren, and needs
code between fork and exec, which may deadlock in a process with threads. Until the guard is reaped, its process id, and
so the group's, is given to no other process.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from dhcli.errors import Code, DhError
from dhcli.runtime.environment import child_environment
from dhcli.runtime.threads import start_thread

STDERR_LINES = 200
"""Lines of stderr that are kept by default; the last of them go into the error."""
STDERR_BYTES = 4 << 20
STDERR_RATE = 1 << 20
"""A child that writes more than this a second to stderr, and STDERR_BYTES besides, is broken: ffmpeg wrote 20 MB/s for
ever about one damaged H.264 file. The total has no limit: one harmless warning a frame exceeds any within an hour."""
LINE_BYTES = 4096
"""A longer stderr line is cut: a flood without line ends must not grow in memory either."""


GUARD = ("/bin/sh", "-c", "trap '' HUP INT TERM; read -r _; kill -KILL 0")
"""It ignores the signals that a service manager sends to all processes at once, because it has to end last."""
PIPE_BYTES = 1 << 20
"""The largest pipe that Linux grants without privileges."""
REAP_S = 2.0
"""A killed process that still exists after this waits for a dead disk inside the kernel; nothing can end it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, and what its child process shares with us."""

    argv: Sequence[str]
    pass_fds: Sequence[int] = ()
    """Open descriptors that the child inherits under the same numbers."""
    takes_input: bool = False
    """Its stdin is a pipe that we write to; else its stdout is a pipe that we read."""
    keep_lines: int = STDERR_LINES
    """How many of its last stderr lines are kept."""
    flood: Code | None = None
    """The error where the program writes messages without end; None: it could not decode, or encode."""
    on_line: Callable[[str], None] | None = None
    """Called with each line of stderr, from another thread. Nothing then limits how much the program writes."""


class RateLimit:
    """Limits what a child writes to stderr: STDERR_BYTES at first, and STDERR_RATE more every second up to that."""

    def __init__(self, now: float) -> None:
        """`now` is any clock's time, s."""
        self._left, self._at = float(STDERR_BYTES), now

    def allows(self, count: int, now: float) -> bool:
        """Count `count` more bytes. False where they exceed the limit."""
        self._left = min(self._left + (now - self._at) * STDERR_RATE, STDERR_BYTES) - count
        self._at = now
        return self._left >= 0


class Child:
    """A running process. Reads and writes of its pipes block without a time limit, until `kill` ends the process."""

    def __init__(self, name: str, command: Command, *, on_flood: Callable[[DhError], None]) -> None:
        """Start `command`. `on_flood` is called from another thread where the child writes too much to stderr.

        Raises OSError where the program cannot be started, and DhError env.limits where no thread can be started.
        """
        self.name = name
        self.argv = tuple(command.argv)
        self._on_flood = on_flood
        self._on_line = command.on_line
        self._flood_code: Code = command.flood or ("encode.failed" if command.takes_input else "decode.failed")
        environment = child_environment()
        self._guard = subprocess.Popen(
            GUARD, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0, env=environment
        )
        self._group_lock = threading.Lock()
        try:
            # Own group: Ctrl-C in the terminal must not reach ffmpeg, which would finish a short but valid file.
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE if command.takes_input else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if command.takes_input else subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=tuple(command.pass_fds),
                process_group=self._guard.pid,
                env=environment,
                bufsize=0,
            )
        except BaseException:
            self.kill()
            self._reap_guard()
            raise
        _widen(self._process.stdin or self._process.stdout)
        self._lines: collections.deque[str] = collections.deque(maxlen=command.keep_lines)
        self._pump = threading.Thread(target=self._pump_stderr, name=f"{name}-stderr", daemon=True)
        try:
            start_thread(self._pump)
        except DhError:
            self.close()  # no other code can reach the process yet
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _pump_stderr(self) -> None:
        # A full stderr pipe (64 KiB) that is not read stops the child for good.
        assert self._process.stderr is not None
        rest, flooded = b"", False
        limit = RateLimit(time.monotonic())
        while block := self._process.stderr.read(65536):
            if self._on_line is None and not limit.allows(len(block), time.monotonic()):
                if not flooded:
                    flooded = True
                    self._on_flood(self._flood())
                continue
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self._keep(line[:LINE_BYTES])
            rest = rest[-LINE_BYTES:]
        if rest:
            self._keep(rest)

    def _keep(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        self._lines.append(text)
        if self._on_line is not None:
            self._on_line(text)

    def _flood(self) -> DhError:
        return DhError(
            self._flood_code,
            f"{self.name} wrote more than {STDERR_RATE >> 20} MiB of messages a second; it was stopped.",
            hint="Render again; if it comes back, convert the input with another program.",
            stderr_tail=self.tail(),
        )

    def tail(self, lines: int = 20) -> list[str]:
        """The last lines of stderr so far."""
        return list(self._lines)[-lines:]

    def kill(self) -> None:
        """SIGKILL to the whole group. ffmpeg ignores SIGTERM while it is blocked on a pipe or spins in a decoder."""
        with self._group_lock:
            if self._guard.returncode is None:
                # Only zombies are left in the group (macOS), or no process at all.
                with contextlib.suppress(PermissionError, ProcessLookupError):
                    os.killpg(self._guard.pid, signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Reap the process: its exit code (negative: the signal), or None where it still runs after `timeout_s`."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._pump.join(1.0)  # a grandchild may hold stderr open; the error message must not wait for it
        return code

    def close(self) -> bool:
        """Kill what still runs, reap it, free the pipes. False where it cannot be killed."""
        self.kill()
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            return False
        if self._pump.ident is not None:
            self._pump.join(REAP_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # the dead child left data in the pipe unread
                    pipe.close()
        if not self._pump.is_alive() and self._process.stderr is not None:
            self._process.stderr.close()
        self._reap_guard()
        return True

    def _reap_guard(self) -> None:
        with self._group_lock:  # from here on the kernel may give the group's number to another one
            self._guard.wait()
        assert self._guard.stdin is not None
        self._guard.stdin.close()


def _widen(pipe: IO[bytes] | None) -> None:
    """Enlarge a pipe, so that a frame wakes the other side once or a few times instead of once for every 64 KiB."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the user's other pipes take all that the system grants
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def exit_text(code: int | None) -> str:
    """How a child ended, in words: "exit code 1", "killed by SIGKILL", "still running"."""
    if code is None:
        return "still running"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
