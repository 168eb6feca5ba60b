"""The choice and order of the jobs of a run, by the results of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from dhcli.jobs.options import Job
from dhcli.results.result import result_bytes

UNFINISHED = frozenset({"failed", "cancelled", "running"})
"""Statuses of jobs that were tried and have no output. `running`: killed, or at work in another run right now."""
LAST = frozenset({"failed", "running"})
"""Jobs of these statuses come last: they may fail or kill the process again. A cancelled job keeps its place."""


def in_order(jobs: Sequence[Job], result_path: Callable[[Job], Path], *, only_failed: bool = False) -> tuple[Job, ...]:
    """The jobs to run, in the order of the manifest, except that jobs which failed before come last.

    With `only_failed`, only jobs that were tried and not finished.
    """
    statuses = {job.id: _last_status(result_path(job)) for job in jobs}
    chosen = [job for job in jobs if not only_failed or statuses[job.id] in UNFINISHED]
    return tuple(sorted(chosen, key=lambda job: statuses[job.id] in LAST))


def _last_status(path: Path) -> str | None:
    """The status in the result file; None without one. The rest of the file is checked when the job runs."""
    try:
        result = json.loads(result_bytes(path))
    except (OSError, ValueError, RecursionError):
        return None
    status = result.get("status") if isinstance(result, dict) else None
    return status if isinstance(status, str) else None
