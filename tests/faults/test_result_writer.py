"""How a run ends that cannot end as usual: which exit code wins, and what a job says that was given up."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.disk.lock import lock_path
from dhcli.errors import DhError, checked_code
from dhcli.events import Event, JobFinished
from dhcli.jobs.options import Job
from dhcli.manifest import single_job
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.results.parts import WarningInfo
from dhcli.results.result import read_result
from dhcli.runs.attempt import Attempt
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.batch import Batch
from dhcli.runs.result_writer import Outcome, ResultWriter
from dhcli.runs.settings import Settings

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]
Until = Callable[..., bool]

LIMIT_S = 30.0
SIGNAL, BUG, LOST, DEVICE, BROKEN, SLOW, GOOD = (
    "a signal",
    "internal.bug",
    "result.lost",
    "device.lost",
    "input.missing",
    "stalled",
    "success",
)
"""What may come of a job; `SLOW` is transient, `BROKEN` is for good, and `DEVICE` ends the run."""


@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        ([GOOD, GOOD], 0),
        ([GOOD, SLOW], 75),
        ([GOOD, SLOW, BROKEN], 1),
        ([BROKEN, GOOD], 1),
        ([BROKEN, DEVICE], 75),
        ([BROKEN, LOST], 74),
        ([LOST, DEVICE], 74),
        ([BUG, LOST], 70),
        ([BUG, DEVICE], 70),
        ([BUG, LOST, BROKEN, SLOW, GOOD], 70),
        ([BUG, LOST, SIGNAL], 143),
        ([LOST, SIGNAL], 143),
        ([SLOW, SIGNAL], 143),
        ([GOOD, SIGNAL], 143),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) else str(value),
)
def test_the_gravest_decides(jobs: list[str], code: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signal, bug, lost results, environment, failed for good, nothing."""
    fates = iter(jobs)

    def run(self: Attempt, *_: Any) -> Outcome:
        fate, record = next(fates), self._record
        if fate in {GOOD, SIGNAL}:
            # What a success has besides is of no account here, and `running` needs none of it.
            return Outcome(record.result("running").model_copy(update={"status": "succeeded"}))
        error = DhError(checked_code(BROKEN if fate == LOST else fate), "It went wrong.")
        lost = DhError("output.not_writable", "Nowhere to write.") if fate == LOST else None
        return Outcome(record.result("failed", error=error), lost=lost)

    def emit(event: Event) -> None:
        if isinstance(event, JobFinished) and event.job_id == f"job{jobs.index(SIGNAL)}":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Attempt, "run", run)
    batch = Batch(Settings(Models((), Device("cpu"))), emit if SIGNAL in jobs else lambda _: None)
    assert batch.run([a_job(out, number) for number in range(len(jobs))]).exit_code == code


def a_job(out: Path, number: int = 0) -> Job:
    job = single_job(out / "a.wav", out / "v.mp4", out / f"job{number}.mp4", {}).jobs[0]
    assert job.id == f"job{number}"
    return job


GIVEN_UP = """
import time
from dhcli.runs.attempt import Attempt
from dhcli.runs.result_writer import Outcome
from dhcli.errors import DhError
def run(attempt, publish, abandon, check):
    def end():
        {before}
        error = DhError({code!r}, "It does not come back.")
        lost = DhError("output.not_writable", "Nowhere to write.") if {lost!r} else None
        return Outcome(attempt._record.result("failed", error=error), lost=lost)
    abandon(end)
Attempt.run = run
"""


@pytest.mark.parametrize(
    ("before", "code", "lost", "expected"),
    [
        ("", "stalled", False, 75),
        ("", "job.timeout", False, 75),
        ("", "stalled", True, 74),
        ("", "internal.bug", True, 70),
        ("import os; os.kill(os.getpid(), 15); check.__self__._signals.wait(60)", "internal.bug", True, 143),
        ("time.sleep(600)", "stalled", False, 75),
        ("raise ValueError", "stalled", False, 75),
    ],
    ids=["stall", "timeout", "result lost", "bug", "signal", "the disk hangs, too", "its end goes wrong"],
)
def test_a_run_that_gives_a_job_up(dh: Start, before: str, code: str, lost: bool, expected: int) -> None:
    """75 is the least: whatever is left of the jobs was not tried."""
    process = dh(program=GIVEN_UP.format(before=before, code=code, lost=lost))
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == expected


@pytest.fixture
def record(out: Path) -> AttemptRecord:
    return AttemptRecord(a_job(out), "run", None, 1, 0.0)


@pytest.fixture
def writer(record: AttemptRecord) -> ResultWriter:
    return ResultWriter(record.job, Settings(Models((), Device("cpu"))), record)


STALL = DhError("stalled", "No progress.", stage="speak")


def told(out: Path) -> Any:
    return read_result(out / "job0.mp4.json")


def test_a_job_is_given_up_while_its_threads_still_write(
    writer: ResultWriter, record: AttemptRecord, out: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write faster than the result is made: whoever walked through their lists would never come to the end."""
    stop, trace, converted = threading.Event(), record.trace, itertools.count()

    def go_on() -> None:
        for number in itertools.count():
            trace.warn("face.missing", f"{number}")
            trace.face_missing_ranges.append((number, number))
            trace.stages_s[f"stage {number}"] = 0.1
            trace.timings_s["render"] = float(number)
            trace.decoded = trace.rendered = number
            if stop.wait(0.0005):  # the others get their turn, too
                return

    def slow(**facts: str) -> WarningInfo:
        assert next(converted) < 5000
        stop.wait(0.001)
        return WarningInfo(**facts)

    monkeypatch.setattr("dhcli.runs.attempt_record.WarningInfo", slow)
    threads = [threading.Thread(target=go_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert until(lambda: len(trace.warnings) > 300)
        outcome = writer.give_up(STALL)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert outcome.lost is None
    found = told(out)
    assert (found.status, found.error.code, found.error.stage) == ("failed", "stalled", "speak")
    assert len(found.warnings) > 300, "all that was known, and not the bare rest of it"
    assert len(trace.warnings) > len(found.warnings), "they did not wait"
    assert sorted(path.name for path in out.iterdir()) == ["job0.mp4.json"]


def test_a_result_that_cannot_be_told_is_told_in_short(writer: ResultWriter, record: AttemptRecord, out: Path) -> None:
    record.trace.decoded = "not a number"  # type: ignore[assignment]
    writer.give_up(STALL)
    found = told(out)
    assert (found.status, found.error.code, found.frames.decoded) == ("failed", "stalled", 0)
    assert "then, in the result" in json.dumps(found.error.model_dump(mode="json"))


def test_who_comes_back_to_a_job_that_was_given_up_writes_nothing(
    writer: ResultWriter, out: Path, until: Until
) -> None:
    """The other thread waits in `finish`, as a rule for the end of the process; here until it is let go."""
    writer.give_up(STALL)
    late = threading.Thread(target=lambda: writer.fail(DhError("decode.failed", "Too late.")))
    late.start()
    try:
        assert until(lambda: waits_in(late, "finish"))
        assert told(out).error.code == "stalled"
    finally:
        writer._writing.release()
        late.join()
    assert told(out).error.code == "decode.failed", "it waited for nothing but the pen"


def waits_in(thread: threading.Thread, function: str) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == function


def test_a_job_that_came_back_in_the_last_moment_keeps_its_result(writer: ResultWriter, out: Path) -> None:
    own = writer.fail(DhError("decode.failed", "It broke."))
    assert writer.give_up(STALL) is own
    assert told(out).error.code == "decode.failed"


def test_a_result_that_is_stuck_on_its_way_to_the_disk_is_overtaken(
    writer: ResultWriter, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when its disk comes back, the one that overtook it stays."""
    from dhcli.disk import part

    stuck, back = threading.Event(), threading.Event()
    flush = part.PartFile.flush

    def first_waits(file: part.PartFile) -> None:
        if threading.current_thread() is job and not stuck.is_set():
            stuck.set()
            assert back.wait(60)
        flush(file)

    outcomes: list[Outcome] = []
    job = threading.Thread(target=lambda: outcomes.append(writer.fail(DhError("decode.failed", "Too late."))))
    monkeypatch.setattr(part.PartFile, "flush", first_waits)
    job.start()
    try:
        assert stuck.wait(60)
        assert writer.give_up(STALL).lost is None
    finally:
        back.set()
        job.join()
    assert outcomes[0].lost is not None
    assert told(out).error.code == "stalled"
    assert sorted(path.name for path in out.iterdir()) == ["job0.mp4.json"]


def test_the_end_is_told_where_the_disk_takes_no_change_any_more(
    record: AttemptRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output's disk turned read-only; the results are on another one."""
    results = tmp_path / "results"
    settings = Settings(Models((), Device("cpu")), results_dir=results)
    tried: list[Path] = []

    def unlink(path: Path, **_: bool) -> None:
        tried.append(path)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    writer = ResultWriter(record.job, settings, record)
    monkeypatch.setattr(Path, "unlink", unlink)
    outcome = writer.give_up(STALL)
    assert outcome.lost is None
    found = read_result(settings.result_path(record.job))
    assert found is not None
    assert found.error == outcome.result.error
    assert {lock_path(record.job.save_path), lock_path(settings.result_path(record.job))} <= set(tried)
