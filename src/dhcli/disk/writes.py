"""Who writes into an open file, as Linux' inotify tells it: times alone do not, since `touch` sets them back."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import Self

MODIFIED = 0x2
EVENT = struct.Struct("iIII")
QUEUE_BYTES = 1 << 16


class Writes:
    """Notes writes into the files that it watches, by any process of this machine.

    Not those through mmap, nor those of another machine to a disk that both share; where the system has no inotify, or
    grants no more of them, none. What it notes is true; that it noted nothing proves nothing.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._seen: set[int] = set()

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None)
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def watch(self, descriptor: int) -> int:
        """Watch an open file; the answer is what to ask `wrote` with. Negative: it cannot be watched."""
        if self._fd < 0:
            return -1
        return int(self._libc.inotify_add_watch(self._fd, f"/proc/self/fd/{descriptor}".encode(), MODIFIED))

    def wrote(self, watched: int) -> bool:
        """Whether somebody wrote into the file since it is watched."""
        if self._fd < 0 or watched < 0:
            return False
        try:
            while events := os.read(self._fd, QUEUE_BYTES):
                at = 0
                while at < len(events):
                    which, _, _, name_bytes = EVENT.unpack_from(events, at)
                    self._seen.add(which)
                    at += EVENT.size + name_bytes
        except BlockingIOError:  # there is no more
            pass
        return watched in self._seen
