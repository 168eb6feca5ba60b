"""Being the first process of a container: hand signals on, and reap the orphans that the kernel gives to process 1.

The kernel drops a signal to process 1 that has no handler, and nobody but process 1 can reap an orphan. A process that
reaps with `waitpid(-1)` would take the exit codes of ffmpeg from the threads that wait for them. So dh goes on in a
child, and process 1 does nothing else.
"""

from __future__ import annotations

import os
import signal

FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP})
"""What a process does to itself; nothing to hand on."""


def leave_init_behind() -> None:
    """In process 1, return in a child; process 1 ends with the child's exit code, or 128+N. Elsewhere do nothing.

    Before any thread is started. Where no process can be started, process 1 goes on alone.
    """
    if os.getpid() != 1:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would cost us the exit code
    handed = signal.valid_signals() - FAULTS
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handed)  # what comes now waits until somebody takes it
    try:
        child = os.fork()
    except OSError:
        child = 0
    if child:
        os._exit(_serve(child, handed))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(child: int, handed: set[signal.Signals]) -> int:
    """Hand every signal on to `child` until it ends; its exit code."""
    while True:
        number = signal.sigwait(handed)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # it is there, or a zombie: nobody reaps it but us
        elif (code := _reap(child)) is not None:
            return code


def _reap(child: int) -> int | None:
    """Reap all that has ended; the exit code of `child` where it is among them."""
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            return None
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
