"""Threads: how many can run at once, and starting one where the system may have none left to give.

What a thread does is not known here.
"""

from __future__ import annotations

import os
import threading

from dhcli.errors import DhError


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_thread(thread: threading.Thread) -> None:
    """Start it. Raises DhError env.limits where a limit of the system forbids it."""
    try:
        thread.start()
    except RuntimeError as error:
        raise DhError(
            "env.limits",
            f"The thread '{thread.name}' could not be started: {error}.",
            hint="Raise the limits of processes or memory (ulimit -u, -v; pids.max of a container).",
        ) from error
