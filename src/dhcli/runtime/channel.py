"""The bounded channel between two threads of a job: back-pressure, an explicit end, and nobody waits for ever."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import Generic, TypeVar

from dhcli.runtime.scope import TICK_S, Scope

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The sender is done and well. Only this ends a stream; an empty channel means nothing."""

    count: int
    """Items that were sent before; the receiver compares."""


class Channel(Generic[T]):
    """A queue of at most `capacity` items whose both ends give up as soon as the job has failed.

    After an error no end of stream travels: the scope's flag ends everybody, and `Stopped` says so.
    """

    def __init__(self, capacity: int, scope: Scope) -> None:
        self._queue: queue.Queue[T | EndOfStream] = queue.Queue(max(1, capacity))  # 0 would mean unbounded
        self._scope = scope
        self._sent = 0
        self.put_wait_s = 0.0
        """Time the sender stood before a full channel."""
        self.get_wait_s = 0.0
        """Time the receiver stood before an empty one."""

    def put(self, item: T, stage: str) -> None:
        """Send one item; waits while the channel is full. Raises Stopped."""
        self._put(item, stage)
        self._sent += 1

    def end(self, stage: str) -> None:
        """Send the end of the stream with the number of items sent. Raises Stopped."""
        self._put(EndOfStream(self._sent), stage)

    def _put(self, item: T | EndOfStream, stage: str) -> None:
        began = time.monotonic()
        self._scope.idle(stage)
        while True:
            self._scope.check()
            try:
                self._queue.put(item, timeout=TICK_S)
            except queue.Full:
                continue
            self.put_wait_s += time.monotonic() - began
            self._scope.beat(stage)
            return

    def get(self, stage: str) -> T | EndOfStream:
        """Receive the next item, or the end; waits while the channel is empty. Raises Stopped."""
        began = time.monotonic()
        self._scope.idle(stage)
        while True:
            self._scope.check()
            try:
                item = self._queue.get(timeout=TICK_S)
            except queue.Empty:
                continue
            self.get_wait_s += time.monotonic() - began
            self._scope.beat(stage)
            return item
