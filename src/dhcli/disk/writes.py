"""Notices writes into open files by Linux' inotify, since `touch` can set a file's times back."""

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
    """Notices writes into watched files by any process of this machine.

    It misses writes through mmap and those of another machine to a shared disk, and all of them where the system has no
    inotify or grants no more of them. So a noticed write is certain; no noticed write proves nothing.
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
        """Watch an open file; returns a number for `wrote`, negative where the file cannot be watched."""
        if self._fd < 0:
            return -1
        return int(self._libc.inotify_add_watch(self._fd, f"/proc/self/fd/{descriptor}".encode(), MODIFIED))

    def wrote(self, watched: int) -> bool:
        """Whether the file was written to since it is watched."""
        if self._fd < 0 or watched < 0:
            return False
        try:
            while events := os.read(self._fd, QUEUE_BYTES):
                at = 0
                while at < len(events):
                    which, _, _, name_bytes = EVENT.unpack_from(events, at)
                    self._seen.add(which)
                    at += EVENT.size + name_bytes
        except BlockingIOError:  # no more events
            pass
        return watched in self._seen
