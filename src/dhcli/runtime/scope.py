"""The life of one job: its first error, its stop flag, its child processes, and whether its stages make progress.

A job registers everything that it starts here, so that a single `fail` ends all of it: the flag stops the channels,
SIGKILL frees threads that wait for a pipe, and the first error stays the job's error while later ones become notes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from dhcli.errors import DhError, as_dh_error, describe
from dhcli.runtime.child import Child, Command
from dhcli.runtime.threads import start_thread

TICK_S = 0.1
"""How often the watchdog checks, and a waiting channel looks at the stop flag."""
SUSPEND_S = 10.0
"""A watchdog tick that comes this late means that the machine slept or this process was stopped; no stage stalled."""
SUSPEND_SHARE = 2 / 3
"""The same as a share of a short stall timeout: a gap alone must never count as a stall."""
STUCK_S = 1.5
"""Grace after a stall or a signal until the job counts as stuck in a native call, which nothing can interrupt. With
the result still to be written, a signal has to be obeyed within 2 s."""
IMPATIENT = frozenset({"stalled", "job.cancelled", "job.timeout"})
"""Errors after which there is no more grace; after others a slow call of a network may still end by itself."""
CHILD_DIED = frozenset({"decode.failed", "encode.failed"})
"""Errors of a child that may just have obeyed a signal before we did: service managers signal all processes."""


class Stopped(Exception):  # noqa: N818 - a consequence of an error, no error itself
    """Raised in all threads of a job after its error, to leave them. Never the reason why a job ends."""


class Scope:
    """Stop flag, first error, children and heartbeats of one job."""

    def __init__(
        self,
        *,
        stall_timeout_s: float = 60.0,
        timeout_s: float | None = None,
        on_stuck: Callable[[DhError], None] | None = None,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`timeout_s` limits the whole job. The watchdog calls `on_stuck` where a failed job does not end.

        `on_beat` is called at every step, from any thread.
        """
        self.stall_timeout_s = stall_timeout_s
        self.timeout_s = timeout_s
        self.notes: list[str] = []
        self._on_stuck, self._on_beat = on_stuck, on_beat
        self._lock = threading.RLock()  # re-entrant: a signal handler may fail the job while its thread holds the lock
        self._stop = threading.Event()
        self._done = threading.Event()
        self._error: DhError | None = None
        self._failed_at = 0.0
        self._cancellation: DhError | None = None
        self._cancelled_at = 0.0
        self._sealed = self._given_up = False
        self._children: list[Child] = []
        self._beats: dict[str, float | None] = {}
        self._limits: dict[str, float] = {}
        self._innermost = threading.local()
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        start_thread(self._watchdog)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for child in tuple(self._children):
            self.release(child)
        self._done.set()
        self._watchdog.join()

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
        """Make `error` the job's error, unless it has one already, and stop everything.

        After `seal` only a signal still counts: it ends a job that does not end by itself.
        """
        if isinstance(error, Stopped):
            return
        with self._lock:
            if _is_cancel(error) and self._cancellation is None:
                self._cancellation, self._cancelled_at = as_dh_error(error, stage), time.monotonic()
            first = self._error
            if first is None and not self._sealed:
                self._error = as_dh_error(error, stage)
                self._failed_at = time.monotonic()
            elif first is not None and first.code in CHILD_DIED and _is_cancel(error):
                self.notes.append(f"first, in {first.stage}: {describe(first)}")
                self._error = as_dh_error(error, stage)
            elif error is not first:
                self.notes.append(f"then, in {stage}: {describe(error)}")
            if self._error is None:
                return
            self._stop.set()
        self.kill_children()

    def seal(self) -> None:
        """From now on only what the caller itself raises can fail the job, and signals. Raises Stopped."""
        with self._lock:
            self.check()
            self._sealed = True

    def give_up(self) -> None:
        """End the grace: a job that has failed and has not ended goes to `on_stuck` now."""
        self._given_up = True
        self.kill_children()

    def kill_children(self) -> None:
        """SIGKILL to every child and all that it started."""
        for child in tuple(self._children):
            child.kill()

    def spawn(self, name: str, command: Command) -> Child:
        """Start a child that ends with the job. Raises OSError where the program cannot be started."""
        self.check()
        child = Child(name, command, on_flood=lambda error: self.fail(error, name))
        self._children.append(child)
        if self.stopped:  # failed between the check and the registration
            child.kill()
            raise Stopped
        return child

    def release(self, child: Child) -> None:
        """Kill, reap and forget a child that is no longer needed."""
        if not child.close():
            self.notes.append(f"{child.name}: process {child.pid} cannot be killed; it waits for a disk or a network")
        with contextlib.suppress(ValueError):
            self._children.remove(child)

    def beat(self, stage: str) -> None:
        """`stage` made progress just now."""
        self._beats[stage] = time.monotonic()
        self._on_beat()

    def alive(self, stage: str) -> None:
        """Check for failure and beat: one step of a long loop. Raises Stopped."""
        self.check()
        self.beat(stage)

    def idle(self, stage: str) -> None:
        """`stage` waits for another one, and cannot stall meanwhile."""
        self._beats[stage] = None

    @contextlib.contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        """In the block `stage` waits for something outside the job, such as a reader of events, and cannot stall."""
        idle = self._beats.get(stage, 0.0) is None
        self.idle(stage)
        try:
            yield
        finally:
            if not idle:  # else an outer block still waits
                self.beat(stage)

    @contextlib.contextmanager
    def stage(self, name: str, limit_s: float = 0.0) -> Iterator[None]:
        """The block is a stage: it must call `beat(name)` often enough, and its errors get the stage's name.

        The longest time without a beat is the stall timeout, or `limit_s` where that is more. Of nested stages in one
        thread only the innermost is watched.
        """
        outer = name in self._beats  # a stage within itself: the outer one stays watched
        around: str | None = getattr(self._innermost, "stage", None)
        if around is not None and around != name:
            self.idle(around)
        self._innermost.stage = name
        self._limits[name] = max(limit_s, self._limits.get(name, 0.0) if outer else 0.0, self.stall_timeout_s)
        self.beat(name)
        try:
            yield
        except DhError as error:
            error.at(name)
            raise
        finally:
            if outer:
                self.beat(name)
            else:
                self._beats.pop(name, None)
            self._innermost.stage = around
            if around is not None and around != name:
                self.beat(around)

    def _watch(self) -> None:
        began = last = time.monotonic()
        gap_s = min(SUSPEND_S, SUSPEND_SHARE * self.stall_timeout_s)
        while not self._done.wait(TICK_S):
            now = time.monotonic()
            if now - last > gap_s:
                began += now - last
                self._restart_clocks(now)
            last = now
            culprit = self._stalled(now) or self._overdue(now - began)
            if culprit is not None and self._error is None:
                self.fail(culprit, culprit.stage or "watchdog")
            stuck = culprit if self._sealed and culprit is not None else self._should_have_ended(now)
            if stuck is not None and self._on_stuck is not None:
                self._on_stuck(stuck)
                return

    def _restart_clocks(self, now: float) -> None:
        self._failed_at = self._cancelled_at = now
        for stage, at in tuple(self._beats.items()):
            if at is not None:
                self._beats[stage] = now

    def _should_have_ended(self, now: float) -> DhError | None:
        """The error of a job that should have ended: a native call, a thread or a disk did not return for too long."""
        with self._lock:
            error, cancellation = self._error, self._cancellation
        if cancellation is not None and (self._given_up or now - self._cancelled_at > STUCK_S):
            return error or cancellation
        if error is None:
            return None
        grace_s = STUCK_S if error.code in IMPATIENT else STUCK_S + self.stall_timeout_s
        return error if now - self._failed_at > grace_s else None

    def _overdue(self, spent_s: float) -> DhError | None:
        if self.timeout_s is None or spent_s <= self.timeout_s or self._sealed:
            return None
        return DhError(
            "job.timeout",
            f"The job took longer than {self.timeout_s:g} s.",
            hint="Raise --timeout, or render a shorter part with 'trim'.",
            stage="watchdog",
        )

    def _stalled(self, now: float) -> DhError | None:
        for stage, at in tuple(self._beats.items()):
            limit_s = self._limits.get(stage, self.stall_timeout_s)
            if at is not None and now - at > limit_s:
                return DhError(
                    "stalled",
                    f"No progress in the stage '{stage}' for {now - at:.1f} s (limit {limit_s:g} s).",
                    hint="A frozen disk or a damaged input is the usual cause; --stall-timeout sets the limit.",
                    stage=stage,
                )
        return None


def _is_cancel(error: BaseException) -> bool:
    """Whether the error is a signal's request to end, and no failure."""
    return isinstance(error, DhError) and error.code == "job.cancelled"
