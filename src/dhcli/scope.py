"""One job's life: who failed first, who must stop, which children run, and whether anything still moves.

Everything that a job starts is registered here, so that a single `fail` ends it all: the flag stops the channels,
SIGKILL frees threads that sit in a pipe, and the first error stays the reason while later ones become notes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from dhcli.child import STDERR_LINES, Child
from dhcli.errors import DhError, as_dh_error, describe

TICK_S = 0.1
"""How often the watchdog looks and how long a channel waits before it looks at the stop flag."""
SUSPEND_S = 10.0
"""A watchdog tick that comes this late means that the machine slept: nobody is to blame for that gap."""
STUCK_S = 2.0
"""Grace after a stall or a signal until the job counts as stuck in a native call, which nothing can interrupt."""
IMPATIENT = frozenset({"stalled", "job.cancelled", "job.timeout"})
"""Errors after which that grace is all; after others a slow call of a network may still end by itself."""


class Stopped(Exception):  # noqa: N818 - no error: the way out after one
    """The job ends because of an error elsewhere: a consequence, never a cause."""


class Scope:
    """Stop flag, first error, children and heartbeats of one job."""

    def __init__(
        self,
        *,
        stall_timeout_s: float = 60.0,
        timeout_s: float | None = None,
        on_stuck: Callable[[DhError], None] | None = None,
    ) -> None:
        """`timeout_s` bounds the whole job; `on_stuck` is called by the watchdog where the job does not end."""
        self.stall_timeout_s = stall_timeout_s
        self.timeout_s = timeout_s
        self.notes: list[str] = []
        self._on_stuck = on_stuck
        self._lock = threading.RLock()  # re-entrant: a signal handler may fail the job while its thread holds the lock
        self._stop = threading.Event()
        self._done = threading.Event()
        self._error: DhError | None = None
        self._failed_at = 0.0
        self._children: list[Child] = []
        self._beats: dict[str, float | None] = {}
        self._owner = threading.current_thread()
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._watchdog.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._watchdog.join()
        self._stop.set()
        for child in self._children:
            child.close()

    @property
    def error(self) -> DhError | None:
        return self._error

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def check(self) -> None:
        """Raise Stopped where the job has failed."""
        if self._stop.is_set():
            raise Stopped

    def fail(self, error: BaseException, stage: str) -> None:
        """Make `error` the job's reason, unless it has one already, and stop everything."""
        if isinstance(error, Stopped):
            return
        with self._lock:
            if self._error is None:
                self._error = as_dh_error(error, stage)
                self._failed_at = time.monotonic()
            elif error is not self._error:
                self.notes.append(f"then, in {stage}: {describe(error)}")
            self._stop.set()
        self.kill_children()

    def kill_children(self) -> None:
        """SIGKILL to every child and all that it started."""
        for child in tuple(self._children):
            child.kill()

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        feed: bool = False,
        pass_fds: Sequence[int] = (),
        keep_lines: int = STDERR_LINES,
    ) -> Child:
        """Start a child that ends with the job. Raises OSError where the program cannot be started."""
        self.check()
        child = Child(
            name,
            argv,
            feed=feed,
            pass_fds=pass_fds,
            keep_lines=keep_lines,
            on_flood=lambda error: self.fail(error, name),
        )
        self._children.append(child)
        if self.stopped:  # failed between the check and the registration
            child.kill()
            raise Stopped
        return child

    def release(self, child: Child) -> None:
        """Kill, reap and forget a child that is no longer needed."""
        child.close()
        with contextlib.suppress(ValueError):
            self._children.remove(child)

    def beat(self, stage: str) -> None:
        """`stage` made progress just now."""
        self._beats[stage] = time.monotonic()

    def idle(self, stage: str) -> None:
        """`stage` waits for another one: whatever happens now is not its fault."""
        self._beats[stage] = None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Work that must show progress by `beat(name)`; errors inside get the stage's name."""
        self.beat(name)
        try:
            yield
        except DhError as error:
            error.at(name)
            raise
        finally:
            self._beats.pop(name, None)

    def _watch(self) -> None:
        began = last = time.monotonic()
        while not self._done.wait(TICK_S):
            now = time.monotonic()
            if now - last > SUSPEND_S:
                self._forgive(now)
            last = now
            if self._error is None:
                self._accuse_stalled(now)
                self._check_timeout(now - began)
            elif self._on_stuck is not None and now - self._failed_at > self._grace_s(self._error):
                self._on_stuck(self._error)
                return

    def _forgive(self, now: float) -> None:
        for stage, at in tuple(self._beats.items()):
            if at is not None:
                self._beats[stage] = now

    def _grace_s(self, error: DhError) -> float:
        return STUCK_S if error.code in IMPATIENT else STUCK_S + self.stall_timeout_s

    def _check_timeout(self, spent_s: float) -> None:
        if self.timeout_s is not None and spent_s > self.timeout_s:
            self.fail(
                DhError(
                    "job.timeout",
                    f"The job took longer than {self.timeout_s:g} s.",
                    hint="Raise --timeout, or render a shorter part with 'trim'.",
                ),
                "watchdog",
            )

    def _accuse_stalled(self, now: float) -> None:
        for stage, at in tuple(self._beats.items()):
            if at is not None and now - at > self.stall_timeout_s:
                self.fail(
                    DhError(
                        "stalled",
                        f"No progress in the stage '{stage}' for {now - at:.1f} s (limit {self.stall_timeout_s:g} s).",
                        hint="A frozen disk or a damaged input is the usual cause; --stall-timeout sets the limit.",
                    ),
                    stage,
                )
