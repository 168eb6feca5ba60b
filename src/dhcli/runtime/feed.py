"""Bytes on their way into a pipe: large pieces are lent to it, not copied.

A write copies every byte into pages that the kernel allocates for it. Linux takes the pages of the program as well,
by vmsplice(2): the reader at the other end copies out of them. Of a render that spares 1 to 2 %. What was lent has to
stay there, unchanged, until it was read; the pipe tells how much of it was not.
"""

from __future__ import annotations

import collections
import ctypes
import fcntl
import functools
import os
import sys
import termios
from collections.abc import Callable
from typing import IO

import numpy as np

LEAST_BYTES = 1 << 16
"""What is smaller is copied: there is little to spare."""
INT_BYTES = ctypes.sizeof(ctypes.c_int)


class _Piece(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("start", ctypes.c_void_p), ("size", ctypes.c_size_t))


@functools.cache
def _vmsplice() -> Callable[..., int] | None:
    """The system's function, where there is one; it raises OSError."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "vmsplice", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.POINTER(_Piece), ctypes.c_size_t, ctypes.c_uint)
        call.restype = ctypes.c_ssize_t
        call.errcheck = _checked
    return call


def _checked(count: int, *_: object) -> int:
    if count < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return count


class Feed:
    """The writing end of a pipe. It keeps what it lent from being freed; nobody may change it after `send`.

    For one thread. Where the system has no such call, or forbids it, all is copied.
    """

    def __init__(self, pipe: IO[bytes], *, lend: bool) -> None:
        """`pipe` stays the caller's; it has no buffer, blocks, and nobody else writes to it.

        `lend` only to somebody who reads: splice(2) would take the pages out of the pipe and pass them on, unread.
        """
        self._pipe = pipe
        self._vmsplice = _vmsplice() if lend else None
        self._sent = 0
        """Bytes, lent and copied."""
        self._lent: collections.deque[tuple[memoryview[int], int]] = collections.deque()
        """What may be in the pipe, each with `_sent` at its end."""

    def send(self, data: memoryview[int]) -> int:
        """Give some of the data, as much as finds room once there is any; how many bytes. Raises OSError as a write."""
        if self._vmsplice is not None and len(data) >= LEAST_BYTES:
            count = self._give(self._vmsplice, data)
        else:
            count = self._pipe.write(data)
        self._sent += count
        return count

    def _give(self, vmsplice: Callable[..., int], data: memoryview[int]) -> int:
        try:
            self._let_go()
            start = np.frombuffer(data, np.uint8).ctypes.data
            count = vmsplice(self._pipe.fileno(), _Piece(start, len(data)), 1, 0)
        except InterruptedError:
            return 0
        except OSError:  # not here; whatever else it may be, a write will say
            self._vmsplice = None
            return self._pipe.write(data)
        self._lent.append((data, self._sent + count))
        return count

    def _let_go(self) -> None:
        """Forget what was read. Raises OSError where the system does not tell."""
        unread = int.from_bytes(fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(INT_BYTES)), sys.byteorder)
        while self._lent and self._lent[0][1] <= self._sent - unread:
            self._lent.popleft()
