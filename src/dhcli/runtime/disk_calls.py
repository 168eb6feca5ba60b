"""Makes calls that a disk may never answer in threads of their own, so that the caller can stop waiting.

A read of a file whose server is gone stays in the kernel, where no signal and no exception reaches it. Its thread is
left behind, and does not keep the process from ending.
"""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Self, TypeAlias, TypeVar

from dhcli.errors import DhError
from dhcli.runtime.threads import start_thread

STALL_S = 60.0
"""Time limit of a call for commands without --stall-timeout."""
AGAIN_S = 5.0
"""Time limit after one call without an answer: other files on that disk are not worth another minute."""
HURRY_S = 0.5
"""Time for all calls together, once the run has to end."""
LEAST_S = 0.1
"""Time that each call gets even then: a working disk needs less."""
TICK_S = 0.05

T = TypeVar("T")
OnStep: TypeAlias = Callable[[str], None]
"""To be called at each step of a long call, with what it does now; the text may be the same as before."""


def ignore_step(_: str) -> None:
    """An `OnStep` that does nothing."""


class DiskCalls:
    """Makes calls, and waits for each as long as it makes progress. For any number of threads.

    Within its block, threads are kept for the next calls: one line of a log then takes 30 µs instead of 100.
    """

    def __init__(self, stall_timeout_s: float | None = None) -> None:
        self._limit_s = STALL_S if stall_timeout_s is None else stall_timeout_s
        self._until_s: float | None = None
        self._free: collections.deque[_Caller] = collections.deque()
        self._keeping = False

    def __enter__(self) -> Self:
        self._keeping = True
        return self

    def __exit__(self, *exc: object) -> None:
        self._keeping = False
        while self._free:
            self._free.pop().end()

    def __call__(self, what: str, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Raises DhError stalled, with `what` in its message, where no answer comes.

        Where no thread can be started, the call is made directly, without a time limit.
        """
        return self.in_steps(what, lambda _: call())

    def in_steps(self, what: str, call: Callable[[OnStep], T]) -> T:
        """The same for a call of many steps, each of which may take the whole time.

        `call` gets a function to call at each step with what it does then; `what` describes the first step.
        """
        steps = _Steps(what)
        try:
            caller = self._free_caller()
        except DhError:
            return call(steps.note)
        made = _Call(lambda: call(steps.note))
        caller.take(made)
        try:
            self._wait(made, steps)
        except BaseException:
            caller.leave()
            raise
        if self._keeping:
            self._free.append(caller)
        else:
            caller.end()
        return made.answer()

    def _free_caller(self) -> _Caller:
        with contextlib.suppress(IndexError):  # none is free
            return self._free.pop()
        return _Caller()

    def _wait(self, made: _Call[T], steps: _Steps) -> None:
        seen, waited_s = steps.count, 0.0
        while not made.done.wait(TICK_S):
            waited_s += TICK_S  # not by the clock: time in which the machine sleeps does not count
            if seen != (seen := steps.count):
                waited_s = 0.0
            if waited_s >= (limit_s := self._patience_s()):
                self._limit_s = min(self._limit_s, AGAIN_S)
                raise _stalled(steps.now, limit_s)

    def hurry(self) -> None:
        """From now on, wait `HURRY_S` in all. From any thread."""
        if self._until_s is None:
            self._until_s = time.monotonic() + HURRY_S

    def _patience_s(self) -> float:
        if self._until_s is None:
            return self._limit_s
        return min(self._limit_s, max(LEAST_S, self._until_s - time.monotonic()))


class _Steps:
    """What a call does now, and the number of its steps. Only the call's thread writes to it."""

    def __init__(self, now: str) -> None:
        self.now, self.count = now, 0

    def note(self, what: str) -> None:
        self.now = what
        self.count += 1


class _Caller:
    """A thread that makes one call after another. Raises DhError env.limits where none can be started."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        start_thread(self._thread)

    def take(self, call: _Call[Any]) -> None:
        self._calls.put(call)

    def end(self) -> None:
        """End the thread after its last call has returned."""
        self.leave()
        self._thread.join()

    def leave(self) -> None:
        """Let the thread end by itself if its last call ever returns."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()


class _Call(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._answer: list[T] = []
        self._error: BaseException | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            self._answer.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again for the caller
            self._error = error
        finally:
            self.done.set()

    def answer(self) -> T:
        if self._error is not None:
            raise self._error
        return self._answer[0]


def _stalled(what: str, limit_s: float) -> DhError:
    return DhError(
        "stalled",
        f"No answer from the disk for {limit_s:g} s: {what}.",
        hint="Look at that disk, or at the network that it is reached by, and start the same command again.",
    )
