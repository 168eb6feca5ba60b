"""Which errors are tried again, how long to wait before that, and how many failures end a run."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from dhcli.errors import CODES, Code

FIRST_WAIT_S, MAX_WAIT_S = 5.0, 60.0
RETRIED = frozenset(
    code for code, info in CODES.items() if info.transient and info.stops == "job" and not code.startswith("env.")
)
"""Codes after which another attempt can succeed. Not env.*: --lock-wait is there for locked outputs."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often jobs are tried again."""

    limit: int = 0
    """Attempts after the first one."""
    dice: Callable[[], float] = random.random
    """A random number, 0..1."""
    pause: Callable[[float], object] | None = None
    """Waits so many seconds; None: the run's own wait, which a signal ends."""

    def allows(self, code: Code, attempt: int) -> bool:
        """Whether to try again after attempt number `attempt`, from 1, ended with `code`."""
        return attempt <= self.limit and code in RETRIED

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after attempt `attempt`: a random time up to a limit, which doubles each time.

        Because of the full jitter, processes that failed together on a shared disk or device do not retry together.
        """
        return self.dice() * min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 10))


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many failed jobs end a run."""

    number: float
    percent: bool = False
    """The number is in percent of the jobs of the run."""

    def reached(self, failed: int, jobs: int) -> bool:
        return failed > 0 and (failed * 100 >= self.number * jobs if self.percent else failed >= self.number)

    def __str__(self) -> str:
        return f"{self.number:g}{' %' if self.percent else ''}"


def parse_failure_limit(text: str) -> FailureLimit:
    """Parse "3" or "10%". Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,3})?)%", text.strip())
    limit = FailureLimit(float(match[1] or match[2]), percent=match[1] is None) if match else None
    if limit is None or limit.number == 0 or (limit.percent and limit.number > 100):
        raise ValueError("a number of jobs from 1, or a share of them like 10%")
    return limit
