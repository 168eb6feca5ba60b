"""A bounded queue between two threads of a job, with an explicit end; a failed job ends all waiting."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import Generic, TypeVar

from dhcli.runtime.scope import TICK_S, Scope

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The sender has sent everything. Only this ends a stream; a channel may be empty before."""

    count: int
    """Items that were sent before, for the receiver to compare."""


class Channel(Generic[T]):
    """A queue of at most `capacity` items. Both ends raise `Stopped` as soon as the job has failed.

    After an error no end of stream is sent.
    """

    def __init__(self, capacity: int, scope: Scope) -> None:
        self._queue: queue.Queue[T | EndOfStream] = queue.Queue(max(1, capacity))  # 0 would mean unbounded
        self._scope = scope
        self._sent = 0
        self.put_wait_s = 0.0
        """Time, s, that the sender waited for space."""
        self.get_wait_s = 0.0
        """Time, s, that the receiver waited for an item."""

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
