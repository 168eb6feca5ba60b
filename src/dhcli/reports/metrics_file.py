"""`--metrics-file`: how the last run ended, for Prometheus' textfile collector.

The file is written at the start and at the end of a run. The time of the last success and the count of all frames are
carried over from the file of the earlier run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from dhcli import __version__
from dhcli.disk.regular import read_regular
from dhcli.events import Summary

MAX_BYTES = 1 << 20
"""A metrics file has about 2 kB."""
STATUSES = ("succeeded", "skipped", "failed", "cancelled", "not_started")
START, END, SUCCESS = "dh_run_start", "dh_run_last_end", "dh_run_last_success"
STAMP = "_timestamp_seconds"
FRAMES = "dh_frames_total"
KINDS: dict[str, tuple[str, str]] = {
    f"{START}{STAMP}": ("gauge", "When the newest run started; later than the last end: it runs, or was killed."),
    f"{END}{STAMP}": ("gauge", "When a run last came to its end, however it ended."),
    f"{SUCCESS}{STAMP}": ("gauge", "When a run last ended with exit code 0; 0: never."),
    "dh_run_exit_code": ("gauge", "Exit code of the last run that came to its end."),
    "dh_run_duration_seconds": ("gauge", "How long that run took."),
    "dh_jobs": ("gauge", "Jobs of that run by what became of them."),
    "dh_errors": ("gauge", "Errors that ended jobs, or the run itself, by their code."),
    "dh_run_peak_rss_bytes": ("gauge", "Highest resident memory of dh and its children in that run."),
    FRAMES: ("counter", "Frames rendered in all runs that wrote this file."),
    "dh_build_info": ("gauge", "Version of dh."),
}
SAMPLE = re.compile(r"^(?P<series>(?P<name>dh_\w+)(?:\{[^}]*\})?) (?P<value>[-+.\deE]+)$", re.MULTILINE)

OURS = (b"# HELP dh_", b"# TYPE dh_", b"dh_")
"""How a line of dh's begins."""

Samples = dict[str, float]
"""Values by series, such as `dh_jobs{status="failed"}`."""


def read_metrics(path: Path) -> Samples:
    """The samples of an earlier run; empty if there is no file. Raises OSError."""
    try:
        text = read_regular(path, MAX_BYTES, "metrics file").decode(errors="replace")
    except FileNotFoundError:
        return {}
    return {m["series"]: float(m["value"]) for m in SAMPLE.finditer(text) if m["name"] in KINDS and _number(m["value"])}


def is_ours(content: bytes) -> bool:
    """Whether a file that begins with these bytes holds only metrics of dh; False beyond `MAX_BYTES`."""
    return len(content) <= MAX_BYTES and all(not line or line.startswith(OURS) for line in content.split(b"\n"))


def started(earlier: Mapping[str, float], now_s: float) -> Samples:
    """The samples of a run that has started."""
    return dict(earlier) | {f"{START}{STAMP}": now_s}


def ended(
    earlier: Mapping[str, float], now_s: float, summary: Summary, *, exit_code: int, frames: int, peak_rss: int | None
) -> Samples:
    """The samples of a run that has ended."""
    samples = {
        f"{START}{STAMP}": now_s - summary.wall_s,
        f"{END}{STAMP}": now_s,
        # 0 instead of no sample: an alert on the age of a missing metric never fires.
        f"{SUCCESS}{STAMP}": now_s if exit_code == 0 else earlier.get(f"{SUCCESS}{STAMP}", 0.0),
        "dh_run_exit_code": exit_code,
        "dh_run_duration_seconds": summary.wall_s,
    }
    samples |= {f'dh_jobs{{status="{status}"}}': getattr(summary, status) for status in STATUSES}
    samples |= {f'dh_errors{{code="{code}"}}': count for code, count in sorted(summary.codes.items())}
    if peak_rss is not None:
        samples["dh_run_peak_rss_bytes"] = peak_rss
    samples[FRAMES] = earlier.get(FRAMES, 0.0) + frames
    samples[f'dh_build_info{{version="{__version__}"}}'] = 1
    return samples


def metrics_text(samples: Mapping[str, float]) -> str:
    """The text of the file: each metric with its help, its type and its samples."""
    lines: list[str] = []
    for name, (kind, meaning) in KINDS.items():
        of_it = [(series, value) for series, value in samples.items() if series.partition("{")[0] == name]
        if of_it:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{series} {_shown(value)}" for series, value in of_it]
    return "\n".join(lines) + "\n"


def _shown(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
