"""INT, TERM and HUP, taken at once whatever the main thread is doing.

Python runs a signal's handler only between two steps of the main thread, so that a network that computes for a minute
would delay it by a minute. But the C part of Python writes the signal's number into a pipe right away, where a thread
reads it and calls back.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from dhcli.errors import DhError
from dhcli.runtime.early import SIGNALS, end_now
from dhcli.runtime.threads import start_thread

REPEAT_S = 0.5
"""A second signal this soon counts as the first: `timeout` sends two, and a closing terminal HUP and TERM."""
END = b"\0"
"""No signal has the number 0."""


class StopSignals:
    """Takes the signals while the block lasts. Ignored ones (nohup) stay ignored."""

    def __init__(self, on_first: Callable[[int], None], on_second: Callable[[int], None]) -> None:
        """`on_first` and `on_second` are called in another thread than the main one."""
        self._on_first, self._on_second = on_first, on_second
        self._first: int | None = None
        self._first_at = 0.0
        self._received = threading.Event()
        self._wanted: frozenset[int] = frozenset()
        self._previous: dict[int, Any] = {}
        self._thread: threading.Thread | None = None
        self._reading = self._writing = self._previous_fd = -1

    @property
    def number(self) -> int | None:
        """The first signal, or None."""
        return self._first

    def wait(self, seconds: float) -> bool:
        """Pause for `seconds`, or until a signal comes: True then."""
        return self._received.wait(seconds)

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may take signals; a program that runs dh in a thread takes them itself
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        try:
            start_thread(thread)
        except DhError:
            os.close(self._reading)
            os.close(self._writing)
            raise
        self._thread = thread
        self._wanted = frozenset(number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
        self._previous_fd = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, _read_from_pipe) for number in self._wanted}
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is None:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        os.write(self._writing, END)  # after all received ones, so that none is lost
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def _listen(self) -> None:
        while (byte := os.read(self._reading, 1)) not in {END, b""}:
            self._take(byte[0])

    def _take(self, number: int) -> None:
        if number not in self._wanted:  # another handler's signal: the pipe has all of them
            return
        if self._first is None:
            self._first, self._first_at = number, time.monotonic()
            self._received.set()
            self._on_first(number)
        elif time.monotonic() - self._first_at > REPEAT_S:
            self._on_second(number)


def end_during_native_calls() -> None:
    """Where `early` has taken the signals: let them end the process at once, even during a native call.

    To be called before any other thread is started. Does nothing where another program runs dh as a library.
    """
    if not any(signal.getsignal(number) is end_now for number in SIGNALS):
        return
    try:
        reading, writing = os.pipe()
    except OSError:  # too few open files: the run will say so; until then a signal waits for the end of a call
        return
    os.set_blocking(writing, False)
    try:
        start_thread(threading.Thread(target=_end_on_signal, args=(reading,), name="early signals", daemon=True))
    except DhError:  # too few threads: the same
        os.close(reading)
        os.close(writing)
        return
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)


def _end_on_signal(reading: int) -> None:
    while byte := os.read(reading, 1):
        number = byte[0]
        if signal.getsignal(number) is end_now:  # else a run has taken the signals meanwhile
            end_now(number, None)


def _read_from_pipe(_: int, __: FrameType | None) -> None:
    """Does nothing: Python writes to the pipe only for signals that have a handler."""
