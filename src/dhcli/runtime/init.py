"""The first process of a container: forwards signals, and reaps the orphans that the kernel gives to process 1.

The kernel drops a signal to process 1 that has no handler, and nobody but process 1 can reap an orphan. A process that
reaps with `waitpid(-1)` would take the exit codes of ffmpeg from the threads that wait for them. So dh goes on in a
child, and process 1 does nothing else.
"""

from __future__ import annotations

import os
import signal

FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP})
"""Signals that a process raises by its own fault; they are not forwarded."""


def leave_init_behind() -> None:
    """In process 1, return in a child; process 1 ends with the child's exit code, or 128+N. Elsewhere do nothing.

    Before any thread is started. Where no process can be started, process 1 goes on alone.
    """
    if os.getpid() != 1:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it were ignored, the exit code would be lost
    handed = signal.valid_signals() - FAULTS
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handed)  # a signal that comes now waits until it is taken below
    try:
        child = os.fork()
    except OSError:
        child = 0
    if child:
        os._exit(_serve(child, handed))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(child: int, handed: set[signal.Signals]) -> int:
    """Forward every signal to `child` until it ends; returns its exit code."""
    while True:
        number = signal.sigwait(handed)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # it still exists, at least as a zombie: only this process reaps it
        elif (code := _reap(child)) is not None:
            return code


def _reap(child: int) -> int | None:
    """Reap all processes that have ended; returns the exit code of `child` where it is one of them, else None."""
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            return None
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
