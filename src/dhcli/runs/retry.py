"""What is tried again, how long to wait before it, and when enough has failed. Knows nothing of jobs or of results."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from dhcli.errors import CODES

FIRST_WAIT_S, MAX_WAIT_S = 5.0, 60.0
RETRIED = frozenset(
    code.name for code in CODES.values() if code.transient and code.stops == "job" and not code.name.startswith("env.")
)
"""Codes after which another attempt can succeed. For what is locked there is --lock-wait."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often jobs are tried again; the dice and the pause can be replaced."""

    limit: int = 0
    """Attempts after the first one."""
    dice: Callable[[], float] = random.random
    pause: Callable[[float], object] | None = None
    """None: the run's own way to wait, which a signal ends."""

    def allows(self, code: str, attempt: int) -> bool:
        """Another attempt after attempt number `attempt`, from 1, ended with `code`."""
        return attempt <= self.limit and code in RETRIED

    def wait_s(self, attempt: int) -> float:
        """How long to wait after attempt `attempt`: anything up to a bound that doubles.

        Full jitter: processes that failed together, on a disk or a device that they share, do not come back together.
        """
        return self.dice() * min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 10))


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many failed jobs end a run."""

    number: float
    percent: bool = False
    """The number counts in percent of the jobs of the run."""

    def reached(self, failed: int, jobs: int) -> bool:
        return failed > 0 and (failed * 100 >= self.number * jobs if self.percent else failed >= self.number)

    def __str__(self) -> str:
        return f"{self.number:g}{' %' if self.percent else ''}"


def parse_failure_limit(text: str) -> FailureLimit:
    """The limit that "3" or "10%" means. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,3})?)%", text.strip())
    limit = FailureLimit(float(match[1] or match[2]), percent=match[1] is None) if match else None
    if limit is None or limit.number == 0 or (limit.percent and limit.number > 100):
        raise ValueError("a number of jobs from 1, or a share of them like 10%")
    return limit
