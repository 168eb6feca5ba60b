"""Batch scheduling: dh and its ffmpegs let interactive programs go first."""

from __future__ import annotations

import contextlib
import os


def run_as_batch() -> None:
    """Run as SCHED_BATCH: this thread, and so all threads and programs that it starts.

    Fewer switches between the three programs leave more of each core's caches alone. `nice` and a policy that the user
    chose with `chrt` stay. Where the system has no such policy, or forbids it, nothing changes.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox may forbid the calls
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
