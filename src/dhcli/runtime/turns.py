"""How long a thread may keep a core before the system's scheduler gives that to another one.

On 2 cores three programs of several threads each take turns. Every turn begins with caches full of somebody else's
pictures, and a thread of a network that loses its core in the middle of a sum keeps the others waiting for it, awake.
Nobody watches the picture grow, so fewer and longer turns are right for all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys

TURN_NS = 10_000_000
"""10 ms for the 1.4 that Linux gives on 2 cores; with 30 and 100 a video of 720p renders no faster."""
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The number of the system call, which neither Python nor the C library of most systems has a name for."""
ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr` in its first form: its size, policy, flags, nice, priority, runtime, deadline, period."""


def take_long_turns() -> None:
    """Ask for them: for the calling thread, and so for all threads and programs that are started by it.

    Interactive programs go before us then. A policy that the user chose with `chrt` stays, and so does `nice`. Where
    the system has no such thing, or forbids it, everything runs as it did: Linux has the policy for ever, the length
    since 6.12.
    """
    if not hasattr(os, "SCHED_BATCH"):
        return
    with contextlib.suppress(OSError):  # musl has none of these calls, and a sandbox may forbid them
        if os.sched_getscheduler(0) in (os.SCHED_OTHER, os.SCHED_BATCH) and not _asked():
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _asked() -> bool:
    """Ask for the policy and the length of a turn in one. False where only the policy can be asked for."""
    number = SCHED_SETATTR.get(platform.machine())
    if number is None or sys.maxsize < 1 << 32:  # a program of 32 bits has other numbers on the same machine
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = ATTRIBUTES.pack(ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, TURN_NS, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
