"""The log: one whole line per event, whatever was there before and whatever the file is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dhcli.events import BatchStarted, Event, JobDeferred, JobFinished, JobStarted, Progress, Summary, Warned
from dhcli.reports.log_file import LogFile

Open = Callable[..., LogFile]

STARTED = JobStarted("run-1", "a", 0, 1, 2, "/in/a.wav", "/in/a.mp4", "/out/a.mp4", queued_s=1.5)
FINISHED = JobFinished(
    run_id="run-1",
    job_id="a",
    status="failed",
    save_path="/out/a.mp4",
    result_path="/out/a.mp4.json",
    wall_s=3.0,
    frames=0,
    fps=None,
    code="stalled",
    message="No progress.",
    attempt=2,
    stage="decode",
)


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def opened(clock: list[float]) -> Iterator[Open]:
    logs: list[LogFile] = []

    def open_log(path: Path) -> LogFile:
        logs.append(LogFile(path, lambda: clock[0]))
        return logs[-1]

    yield open_log
    for log in logs:
        log.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_with_its_stages(opened: Open, clock: list[float], tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    steps: list[tuple[float, Event]] = [
        (0, BatchStarted("run-1", "/m.yaml", 1)),
        (0, STARTED),
        (0, Progress("a", "listen", 0, None)),
        (2, Progress("a", "render", 1, 50)),
        (1, Progress("a", "render", 20, 50)),
        (9, Progress("a", "render", 40, 50)),
        (1, Warned("a", "input.vfr", "The rate varies.")),
        (0, FINISHED),
        (0, Summary("run-1", 1, 0, 0, 1, 0, 0, 14.0, 75, {"stalled": 1})),
    ]
    for wait, event in steps:
        clock[0] += wait
        log(event)
    found = lines(tmp_path / "log")
    assert [line["event"] for line in found] == [
        "batch_started",
        "job_started",
        "stage_started",
        "stage_finished",
        "stage_started",
        "progress",
        "warning",
        "stage_finished",
        "job_finished",
        "summary",
    ]
    assert {line["run_id"] for line in found} == {"run-1"}
    assert all(line["ts"].endswith("Z") for line in found)
    job = found[1:-1]
    assert {(line["job_id"], line["attempt"]) for line in job} == {("a", 2)}
    assert job[0]["wait_s"] == 1.5
    assert job[0]["paths"] == {"audio": "/in/a.wav", "video": "/in/a.mp4", "save_path": "/out/a.mp4"}
    assert [(line["stage"], line["duration_s"]) for line in job if line["event"] == "stage_finished"] == [
        ("listen", 2),
        ("render", 11),
    ]
    assert (job[4]["done"], job[4]["level"]) == (40, "debug")
    assert "stage" not in job[5], "warnings come at the end of a job and are not the last stage's"
    assert {key: job[-1][key] for key in ("level", "code", "stage", "duration_s")} == {
        "level": "error",
        "code": "stalled",
        "stage": "decode",
        "duration_s": 3.0,
    }
    assert "job_id" not in found[-1]


def test_what_comes_after_a_deferred_job_is_not_its_own(opened: Open, tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    for event in (STARTED, JobDeferred("a", "env.locked", "Another run."), Warned(None, "run.stopped", "Enough.")):
        log(event)
    _, deferred, warned = lines(tmp_path / "log")
    assert (deferred["event"], deferred["job_id"], deferred["code"]) == ("job_deferred", "a", "env.locked")
    assert not {"job_id", "attempt"} & set(warned)


def test_a_torn_line_of_a_killed_run_does_no_harm(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"event": "summary"}\n{"event": "progr')
    opened(path)(BatchStarted("run-2", None, 0))
    whole, torn, new = path.read_text().splitlines()
    assert json.loads(whole)["event"] == "summary"
    assert torn == '{"event": "progr'
    assert json.loads(new)["run_id"] == "run-2"


def test_two_runs_share_a_log(opened: Open, tmp_path: Path) -> None:
    one, two = opened(tmp_path / "log"), opened(tmp_path / "log")
    for number in range(20):
        one(BatchStarted("one", None, number))
        two(BatchStarted("two", None, number))
    assert [line["run_id"] for line in lines(tmp_path / "log")] == ["one", "two"] * 20


def test_any_name_is_a_line_of_utf8(opened: Open, tmp_path: Path) -> None:
    name = os.fsdecode(b"/out/\xff\n\x1b[31m\xf0\x9f\x98\x80.mp4")
    opened(tmp_path / "log")(JobStarted("r", name, 0, 1, 1, name, name, name))
    (line,) = lines(tmp_path / "log")
    assert line["paths"]["audio"] == "/out/\\udcff\n\x1b[31m\N{GRINNING FACE}.mp4"


def test_a_full_disk_is_told_and_the_next_line_is_tried(opened: Open) -> None:
    log = opened(Path("/dev/full"))
    log(BatchStarted("r", None, 0))
    assert log.broken is not None
    assert "space" in str(log.broken)
    log(BatchStarted("r", None, 0))


def test_a_pipe_without_a_reader_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        LogFile(tmp_path / "pipe")


def test_a_full_pipe_does_not_stop_the_run(opened: Open, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = opened(tmp_path / "pipe")
        for number in range(3000):  # a pipe takes 64 KiB
            log(BatchStarted("r" * 100, None, number))
        assert isinstance(log.broken, OSError)
    finally:
        os.close(reader)
