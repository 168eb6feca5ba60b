"""How well a mouth follows what it was asked: range, correlation and lag of two curves of opening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dhcli.types import F64

MOST_LAG_S = 0.5
STEP_S = 0.01
"""Lags that are tried: sound and picture of a video are hardly farther apart, and nobody sees 10 ms."""
LEAST_SAMPLES = 8
"""Fewer frames make any correlation large, and any range small."""
LEAST_CORRELATION = 0.5
"""Below this the best lag is chance: a speech played backward has up to 0.4 with itself at some lag."""
LEAST_RANGE = 0.02
"""Widths of the mouth. Landmarks of a mouth that is still tremble by half of that."""
LOW, HIGH = 5, 95
"""Percentiles whose distance is a range: one frame that was seen wrongly does not count."""


@dataclass(frozen=True, slots=True)
class Following:
    """How one curve follows another."""

    correlation: float
    """-1..1, at the lag."""
    lag_ms: float | None
    """Positive: the picture comes later than what asks for it. None where little of it follows: then it is chance."""


def spread(values: F64) -> float | None:
    """95th less 5th percentile; None where fewer than `LEAST_SAMPLES` values are numbers."""
    known = values[np.isfinite(values)]
    if len(known) < LEAST_SAMPLES:
        return None
    low, high = np.percentile(known, (LOW, HIGH))
    return float(high - low)


def follow(times_s: F64, shown: F64, asked_times_s: F64, asked: F64) -> Following | None:  # (n,) (n,) (m,) (m,)
    """Correlation and lag of what is shown at some times against what is asked, which is known closely.

    Few frames tell a lag, since what is asked is known between them. None where one of both hardly changes or less
    than `LEAST_SAMPLES` values are known.
    """
    if any((spread(values) or 0.0) < LEAST_RANGE for values in (shown, asked)):
        return None
    lags = np.arange(-round(MOST_LAG_S / STEP_S), round(MOST_LAG_S / STEP_S) + 1) * STEP_S
    beyond = 1.5 * float(np.median(np.diff(asked_times_s)))
    scores = np.array([_correlation(times_s - lag, shown, asked_times_s, asked, beyond) for lag in lags])
    if not np.isfinite(scores).any():
        return None
    best = int(np.nanargmax(scores))
    correlation = float(scores[best])
    return Following(correlation, float(lags[best]) * 1000 if correlation >= LEAST_CORRELATION else None)


def _correlation(at_s: F64, shown: F64, asked_times_s: F64, asked: F64, beyond_s: float) -> float:
    """Pearson's correlation of what is shown with what was asked at the times `at_s`; NaN where there is none.

    Times up to `beyond_s` before the first and after the last one asked count as these.
    """
    wanted = np.interp(at_s, asked_times_s, asked)  # NaN beside a frame that asks nothing
    known = np.isfinite(wanted) & np.isfinite(shown)
    known &= (at_s >= asked_times_s[0] - beyond_s) & (at_s <= asked_times_s[-1] + beyond_s)
    if np.count_nonzero(known) < LEAST_SAMPLES:
        return float("nan")
    a, b = wanted[known] - wanted[known].mean(), shown[known] - shown[known].mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 1e-6 else float("nan")
