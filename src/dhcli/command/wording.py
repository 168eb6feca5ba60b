"""The texts for events: log lines, the summary, the refusal.

The texts contain names and messages from outside. Whoever prints them passes them through `printable`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dhcli.errors import Code, DhError
from dhcli.events import JobDeferred, JobFinished, JobPlanned, PlanSummary, Progress, Refused, Summary

STAGES = {
    "probe": "looking at the inputs",
    "listen": "listening",
    "analyse": "finding the face",
    "render": "rendering",
    "verify": "checking",
}
MARKS = {"succeeded": "ok", "skipped": "up to date", "failed": "FAILED", "cancelled": "cancelled"}


def duration(seconds: float) -> str:
    """Seconds as text: 4.2s, 41m12s, 3h05m."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def error_lines(error: DhError) -> list[str]:
    """The message with its code, and the hint."""
    return [f"{error.message} [{error.code}]", *([f"    {error.hint}"] if error.hint else [])]


def refusal(event: Refused) -> list[str]:
    """Why no job was started: every problem, the hint, and a last line with the code."""
    hint = [f"    {event.hint}"] if event.hint else []
    return [*event.problems, *hint, f"dh: nothing was done: {count(len(event.problems), 'problem')} [{event.code}]"]


def failure_lines(event: JobFinished, position: str) -> list[str]:
    """The failed job with its message, the hint, and the path of its result."""
    lines = [f"{position}: {MARKS[event.status]}: {event.message} [{event.code}]"]
    if event.hint:
        lines.append(f"    {event.hint}")
    if event.result_path:
        lines.append(f"    All that is known: {event.result_path}")
    return lines


def deferral(event: JobDeferred) -> str:
    """Why a job was put off until the others are done."""
    return f"{event.message} [{event.code}]; again after the others"


def repeated_failure(event: JobFinished) -> str:
    """A failure in one line, for the list at the end of a log."""
    return f"{event.job_id}: {event.code}: {event.message} ({event.result_path or 'no result file'})"


def summary_text(event: Summary) -> str:
    """`12 jobs: 10 succeeded, 1 up to date, 1 failed (face.lost) in 41m12s`."""
    causes = _codes({code: number for code, number in event.codes.items() if code != "job.cancelled"})
    parts = [
        f"{event.succeeded} succeeded" if event.succeeded else "",
        f"{event.skipped} up to date" if event.skipped else "",
        f"{event.failed} failed ({causes})" if event.failed else "",
        f"{event.cancelled} cancelled" if event.cancelled else "",
        f"{event.not_started} not started" if event.not_started else "",
    ]
    said = ", ".join(part for part in parts if part) or "nothing to do"
    return f"{count(event.jobs, 'job')}: {said} in {duration(event.wall_s)}"


def plan_text(event: PlanSummary) -> str:
    """`3 jobs: 1 to render (50 frames), 1 up to date, 1 bad (input.missing)`."""
    parts = [
        f"{event.to_render} to render ({count(event.frames, 'frame')})" if event.to_render else "",
        f"{event.up_to_date} up to date" if event.up_to_date else "",
        f"{event.bad} bad ({_codes(event.codes)})" if event.bad else "",
    ]
    said = ", ".join(part for part in parts if part) or "nothing to do"
    return f"{count(event.jobs, 'job')}: {said}"


def planned_lines(event: JobPlanned) -> list[str]:
    """A line about what a run would do with a job, and a second one with the hint if it would fail."""
    where = "" if event.code is not None else f" -> {event.save_path}"
    hint = [f"    {event.hint}"] if event.hint else []
    return [f"{event.job_id}: {planned_text(event)}{where}", *hint]


def progress_text(event: Progress, spent_s: float) -> str:
    """The progress of a stage after `spent_s` seconds; with rate and time left if the stage counts frames."""
    text = STAGES.get(event.stage, event.stage)
    if event.total is None or not event.done or spent_s <= 0:
        return text
    rate = event.done / spent_s
    left = duration((event.total - event.done) / rate)
    return f"{text} {event.done}/{event.total} frames, {rate:.1f} fps, {left} left"


def planned_text(event: JobPlanned) -> str:
    """What a run would do with a job, and why."""
    if event.code is not None:
        return f"BAD: {event.message} [{event.code}]"
    if event.action == "skip":
        return event.reason
    numerator, _, denominator = (event.fps or "0/1").partition("/")
    fps = int(numerator) / int(denominator)
    return f"render, {event.frames} frames, {event.width}x{event.height}, {fps:.6g} fps ({event.reason})"


def _codes(codes: Mapping[Code, int]) -> str:
    return ", ".join(f"{n} x {code}" if n > 1 else code for code, n in codes.items())


def count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
