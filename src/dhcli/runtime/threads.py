"""Starting threads, with an error where the system has none left; how many are possible; and none for OpenBLAS."""

from __future__ import annotations

import os
import threading

from dhcli.errors import MORE_THREADS, DhError

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
THREADS, THREADS_A_CORE = 16, 4
"""At least what dh and its two ffmpegs run at once: 30 on 2 cores, most of them the encoder's."""


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux, or a sandbox that forbids it
        return os.cpu_count() or 1


def spare_blas_threads() -> None:
    """Keep the OpenBLAS in numpy and the one in OpenCV from starting threads. Before either is loaded.

    Each would start one a core, and a thread of OpenBLAS that has nothing to do spins for 0.1 s before it sleeps: on 2
    cores a fifth of the processor time of a run of one frame. The matrices here are too small for several threads. A
    value that the user has set is kept; it wins over OMP_NUM_THREADS, which clusters set for every program.
    """
    if BLAS_THREADS not in os.environ:
        os.putenv(BLAS_THREADS, "1")  # not in `os.environ`, which the command of --on-finish inherits


def start_thread(thread: threading.Thread) -> None:
    """Start `thread`. Raises DhError env.limits where a limit of the system forbids it."""
    try:
        thread.start()
    except RuntimeError as error:
        raise DhError(
            "env.limits",
            f"The thread '{thread.name}' could not be started: {error}.",
            hint=MORE_THREADS,
        ) from error


def check_threads() -> int:
    """Start as many threads as a render may need besides those that run, and end them; returns their number.

    Raises DhError env.limits where the system allows fewer.
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
        message = f"Only {len(started)} of the {wanted} threads that a render may need can be started: {error}."
        raise DhError("env.limits", message, hint=MORE_THREADS) from error
    finally:
        end.set()
        for thread in started:
            thread.join()
    return wanted
