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

from dhcli.errors import DhError, as_dh_error, describe
from dhcli.runtime.child import STDERR_LINES, Child
from dhcli.runtime.threads import start_thread

TICK_S = 0.1
"""How often the watchdog looks and how long a channel waits before it looks at the stop flag."""
SUSPEND_S = 10.0
"""A watchdog tick that comes this late means that the machine slept or that we were stopped: nobody is to blame."""
SUSPEND_SHARE = 2 / 3
"""The same for short stall timeouts, as a share of them: a gap alone must never be long enough for an accusation."""
STUCK_S = 1.5
"""Grace after a stall or a signal until the job counts as stuck in a native call, which nothing can interrupt. With
the result still to be written, a signal has to be obeyed within 2 s."""
IMPATIENT = frozenset({"stalled", "job.cancelled", "job.timeout"})
"""Errors after which that grace is all; after others a slow call of a network may still end by itself."""
CHILD_DIED = frozenset({"decode.failed", "encode.failed"})
"""A service manager signals all processes of a unit: that the children obeyed first is no failure of theirs."""


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
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`timeout_s` bounds the whole job; `on_stuck` is called by the watchdog where the job does not end.

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
        self._wish: DhError | None = None
        self._wished_at = 0.0
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
        """Make `error` the job's reason, unless it has one already, and stop everything.

        Once sealed, only a signal still counts: it ends a job that does not end by itself.
        """
        if isinstance(error, Stopped):
            return
        with self._lock:
            if _is_cancel(error) and self._wish is None:
                self._wish, self._wished_at = as_dh_error(error, stage), time.monotonic()
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
        """The point of no return: what fails the job from now on is what its caller raises. Raises Stopped."""
        with self._lock:
            self.check()
            self._sealed = True

    def give_up(self) -> None:
        """Grant no grace any more: a job that has failed and has not ended is handed to `on_stuck` now."""
        self._given_up = True
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
        if not child.close():
            self.notes.append(f"{child.name}: process {child.pid} cannot be killed; it waits for a disk or a network")
        with contextlib.suppress(ValueError):
            self._children.remove(child)

    def beat(self, stage: str) -> None:
        """`stage` made progress just now."""
        self._beats[stage] = time.monotonic()
        self._on_beat()

    def alive(self, stage: str) -> None:
        """One step of work that nothing else watches: raises Stopped where the job has failed, and beats."""
        self.check()
        self.beat(stage)

    def idle(self, stage: str) -> None:
        """`stage` waits for another one: whatever happens now is not its fault."""
        self._beats[stage] = None

    @contextlib.contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        """`stage` waits for somebody outside the job, a reader of events for instance, as long as that one likes."""
        idle = self._beats.get(stage, 0.0) is None
        self.idle(stage)
        try:
            yield
        finally:
            if not idle:  # else it waits for something longer, of which this is a part
                self.beat(stage)

    @contextlib.contextmanager
    def stage(self, name: str, limit_s: float = 0.0) -> Iterator[None]:
        """Work that must show progress by `beat(name)`; errors inside get the stage's name.

        It may be silent for `limit_s` where that is more than the stall timeout. Of stages within each other in one
        thread the innermost is watched.
        """
        outer = name in self._beats  # a stage within itself: the outer one goes on being watched
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
                self._forgive(now)
            last = now
            accused = self._stalled(now) or self._overdue(now - began)
            if accused is not None and self._error is None:
                self.fail(accused, accused.stage or "watchdog")
            stuck = accused if self._sealed and accused is not None else self._hopeless(now)
            if stuck is not None and self._on_stuck is not None:
                self._on_stuck(stuck)
                return

    def _forgive(self, now: float) -> None:
        self._failed_at = self._wished_at = now
        for stage, at in tuple(self._beats.items()):
            if at is not None:
                self._beats[stage] = now

    def _hopeless(self, now: float) -> DhError | None:
        """Why the job should have ended, where a native call, a thread or a disk does not come back for too long."""
        with self._lock:
            error, wish = self._error, self._wish
        if wish is not None and (self._given_up or now - self._wished_at > STUCK_S):
            return error or wish
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
    """A signal's wish, no failure."""
    return isinstance(error, DhError) and error.code == "job.cancelled"
