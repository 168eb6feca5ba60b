"""Threads: how many can run at once, those that nobody needs, and starting one where the system has none to give.

What a thread does is not known here.
"""

from __future__ import annotations

import os
import threading

from dhcli.errors import MORE_THREADS, DhError

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
THREADS, THREADS_A_CORE = 16, 4
"""What dh and its two ffmpegs have at once: 30 on 2 cores, most of them the encoder's, one and a half a core."""


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux, or a sandbox that does not tell
        return os.cpu_count() or 1


def spare_blas_threads() -> None:
    """Keep the OpenBLAS in numpy and the one in OpenCV from starting threads. Before either is loaded.

    Each would start one a core, and a thread of OpenBLAS that has nothing to do spins for 0.1 s before it sleeps: on 2
    cores a fifth of the processor time of a run of one frame. The matrices here are too small to be shared out. Who has
    set the variable keeps it; OMP_NUM_THREADS, which clusters set for every program, gives way.
    """
    if BLAS_THREADS not in os.environ:
        os.putenv(BLAS_THREADS, "1")  # not into `os.environ`, which is what the command of --on-finish gets


def start_thread(thread: threading.Thread) -> None:
    """Start it. Raises DhError env.limits where a limit of the system forbids it."""
    try:
        thread.start()
    except RuntimeError as error:
        raise DhError(
            "env.limits",
            f"The thread '{thread.name}' could not be started: {error}.",
            hint=MORE_THREADS,
        ) from error


def check_threads() -> int:
    """How many threads a render may need besides those that run; they are started, and end at once.

    Raises DhError env.limits where the system does not have so many.
    """
    wanted = THREADS + THREADS_A_CORE * cores()
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(wanted):
            thread = threading.Thread(target=end.wait, name="trial", daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        found = f"Only {len(started)} of the {wanted} threads that a render may need can be started: {error}."
        raise DhError("env.limits", found, hint=MORE_THREADS) from error
    finally:
        end.set()
        for thread in started:
            thread.join()
    return wanted
