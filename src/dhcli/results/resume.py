"""What earlier runs left of a batch: which jobs are chosen because of it, and in which order they run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from dhcli.jobs.options import Job
from dhcli.results.result import result_bytes

UNFINISHED = frozenset({"failed", "cancelled", "running"})
"""Tried, and without an output; `running` was killed, or is another run's work right now."""
LAST = frozenset({"failed", "running"})
"""What failed or killed its process may do so again: the others come first. What was cancelled did nothing wrong."""


def in_order(jobs: Sequence[Job], result_path: Callable[[Job], Path], *, only_failed: bool = False) -> tuple[Job, ...]:
    """The jobs to run, those that failed before last, otherwise as they stand in the manifest.

    With `only_failed` jobs that were tried and not finished, no others.
    """
    statuses = {job.id: _last_status(result_path(job)) for job in jobs}
    chosen = [job for job in jobs if not only_failed or statuses[job.id] in UNFINISHED]
    return tuple(sorted(chosen, key=lambda job: statuses[job.id] in LAST))


def _last_status(path: Path) -> str | None:
    """What the result says, without a look at the rest of it: whether it is sound is seen when the job runs."""
    try:
        result = json.loads(result_bytes(path))
    except (OSError, ValueError, RecursionError):
        return None
    status = result.get("status") if isinstance(result, dict) else None
    return status if isinstance(status, str) else None
