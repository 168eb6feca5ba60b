"""All reports of a run: made in order, from the run's own events, and never its end."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from dhcli.disk.lock import output_lock
from dhcli.events import BatchStarted, Event, JobFinished, JobStarted, Refused, Summary, Warned
from dhcli.reports import Reports, Wanted
from dhcli.reports.junit import Case, junit_xml
from dhcli.reports.metrics_file import FRAMES, Samples, read_metrics
from dhcli.reports.on_finish import OnFinish

GRACE_S = 20.0
SUMMARY = Summary("run-1", 1, 1, 0, 0, 0, 0, 12.5, 0)
EVENTS: tuple[Event, ...] = (
    BatchStarted("run-1", "/m.yaml", 1),
    JobStarted("run-1", "a", 0, 1, 1, "/a.wav", "/a.mp4", "/out.mp4"),
    JobFinished("run-1", "a", "succeeded", "/out.mp4", "/out.mp4.json", 12.0, 250, 20.8, peak_rss_bytes=5 << 20),
)
Run = Callable[..., list[Event]]


@pytest.fixture
def shown() -> list[Event]:
    return []


@pytest.fixture
def run(shown: list[Event]) -> Run:
    """A run with these reports; what people are shown of it."""

    def go(wanted: Wanted, summary: Summary = SUMMARY) -> list[Event]:
        with Reports(wanted, shown.append) as reports:
            for event in (*EVENTS, summary):
                reports(event)
        return shown

    return go


def last(shown: list[Event]) -> Summary:
    assert isinstance(shown[-1], Summary), "the summary is the last word"
    return shown[-1]


def warnings(shown: list[Event]) -> list[str]:
    return [event.message for event in shown if isinstance(event, Warned)]


def log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_without_reports_events_pass_through(run: Run) -> None:
    assert run(Wanted()) == [*EVENTS, SUMMARY]


def test_all_reports_of_a_good_run(run: Run, tmp_path: Path) -> None:
    wanted = Wanted(tmp_path / "log", tmp_path / "dh.prom", tmp_path / "dh.xml", f"touch {tmp_path / 'finished'}")
    assert last(run(wanted)).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dh.prom", "dh.xml", "finished", "log"]
    assert [line["event"] for line in log(tmp_path / "log")] == [
        "batch_started",
        "job_started",
        "job_finished",
        "summary",
    ]
    samples = read_metrics(tmp_path / "dh.prom")
    assert samples["dh_run_last_success_timestamp_seconds"] == pytest.approx(time.time(), abs=GRACE_S)
    assert (samples["dh_frames_total"], samples["dh_run_peak_rss_bytes"]) == (250, 5 << 20)
    assert ET.parse(tmp_path / "dh.xml").getroot().get("tests") == "1"  # noqa: S314 - our own text
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "dh.prom").stat().st_mode & 0o777 == 0o666 & ~umask, "the collector is another user"


def test_a_running_or_killed_run_is_seen_in_the_metrics(tmp_path: Path) -> None:
    path = tmp_path / "dh.prom"
    seen: list[Samples] = []
    with Reports(Wanted(metrics_file=path), lambda _: seen.append(read_metrics(path))) as reports:
        for event in EVENTS:
            reports(event)
    assert list(seen[-1]) == ["dh_run_start_timestamp_seconds"]


@pytest.mark.parametrize("name", ["log_file", "metrics_file", "junit"])
def test_a_report_that_cannot_be_written_is_a_warning_and_74(run: Run, tmp_path: Path, name: str) -> None:
    path = tmp_path / "missing" / "file"
    shown = run(Wanted(**{name: path}))  # type: ignore[arg-type]
    assert last(shown).exit_code == 74
    found = warnings(shown)
    assert len(found) == 1, "said once, though the metrics are written twice"
    assert all(str(path) in text for text in found)
    assert all("No such file" in text or "does not exist" in text for text in found)


@pytest.mark.parametrize(("code", "expected"), [(0, 74), (1, 74), (75, 74), (69, 69), (70, 70), (130, 130)])
def test_a_lost_report_weighs_less_than_a_signal_or_a_bug(run: Run, tmp_path: Path, code: int, expected: int) -> None:
    summary = dataclasses.replace(SUMMARY, exit_code=code)
    assert last(run(Wanted(junit=tmp_path / "missing" / "x.xml"), summary)).exit_code == expected


def test_metrics_tell_of_the_other_lost_reports(run: Run, tmp_path: Path) -> None:
    run(Wanted(metrics_file=tmp_path / "dh.prom", junit=tmp_path / "missing" / "x.xml"))
    samples = read_metrics(tmp_path / "dh.prom")
    assert samples["dh_run_exit_code"] == 74
    assert samples["dh_run_last_success_timestamp_seconds"] == 0


def test_a_full_disk_under_the_log_is_said_once(run: Run) -> None:
    shown = run(Wanted(log_file=Path("/dev/full")))
    assert len(warnings(shown)) == 1
    assert "No space left" in warnings(shown)[0]
    assert last(shown).exit_code == 74


def test_a_lost_stdout_counts_too(shown: list[Event], tmp_path: Path) -> None:
    with Reports(Wanted(metrics_file=tmp_path / "dh.prom"), shown.append, lambda: True) as reports:
        for event in (*EVENTS, SUMMARY):
            reports(event)
        assert reports.exit_code(0) == 74
    assert read_metrics(tmp_path / "dh.prom")["dh_run_exit_code"] == 74


def test_a_run_that_was_refused_is_reported(shown: list[Event], tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f"import os; open({str(seen)!r}, 'w').write(os.environ['DH_EXIT_CODE'])"
    wanted = Wanted(tmp_path / "log", tmp_path / "dh.prom", tmp_path / "dh.xml", f'{sys.executable} -c "{script}"')
    event = Refused("manifest.syntax", ("night.yaml:3: no YAML", "night.yaml:9: a tab"), "Correct it.", 65)
    with Reports(wanted, shown.append) as reports:
        reports(event)
    assert shown == [event]
    assert seen.read_text() == "65"
    assert [line["event"] for line in log(tmp_path / "log")] == ["refused", "summary"]
    assert log(tmp_path / "log")[0]["problems"] == ["night.yaml:3: no YAML", "night.yaml:9: a tab"]
    samples = read_metrics(tmp_path / "dh.prom")
    assert (samples["dh_run_exit_code"], samples['dh_errors{code="manifest.syntax"}']) == (65, 1)
    assert ET.parse(tmp_path / "dh.xml").getroot().get("failures") == "1"  # noqa: S314 - our own text


@pytest.mark.parametrize(
    ("command", "trouble"),
    [
        ("false", "exit code 1"),
        ("sh -c 'kill -9 $$'", "killed by SIGKILL"),
        ("/no/such/program", "could not be started"),
        ("echo 'no end", "could not be started"),
    ],
)
def test_a_command_that_fails_is_a_warning_and_no_more(run: Run, command: str, trouble: str) -> None:
    shown = run(Wanted(on_finish=command))
    (message,) = warnings(shown)
    assert trouble in message
    assert command in message
    assert last(shown).exit_code == 0


@pytest.mark.slow
def test_a_command_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    trouble = OnFinish(f"sh -c 'sleep 600 & echo $! > {pid}; trap \"\" TERM; wait'").run(SUMMARY, None, limit_s=3.0)
    assert trouble is not None
    assert "after 3 s" in trouble
    assert time.monotonic() - began < GRACE_S
    grandchild = int(pid.read_text())
    deadline = time.monotonic() + GRACE_S
    while _runs(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_command_knows_how_the_run_ended(capfd: pytest.CaptureFixture[str]) -> None:
    summary = dataclasses.replace(SUMMARY, failed=2, exit_code=1, codes={"face.lost": 2})
    assert OnFinish("env").run(summary, "/m.yaml") is None
    out, err = capfd.readouterr()
    assert out == "", "stdout belongs to --json"
    found = dict(line.partition("=")[::2] for line in err.splitlines() if line.startswith("DH_"))
    assert json.loads(found.pop("DH_SUMMARY_JSON"))["codes"] == {"face.lost": 2}
    expected = {"DH_EXIT_CODE": "1", "DH_RUN_ID": "run-1", "DH_MANIFEST": "/m.yaml", "DH_JOBS": "1", "DH_FAILED": "2"}
    assert expected.items() <= found.items()


def test_the_command_has_no_shell(tmp_path: Path) -> None:
    assert OnFinish(f"echo $HOME; touch {tmp_path / 'x'} | cat").run(SUMMARY, None) is None
    assert not (tmp_path / "x").exists()


def test_two_runs_with_one_metrics_file_do_not_lose_each_others_frames(tmp_path: Path) -> None:
    """The second run comes while the first is between reading and writing the file."""
    path = tmp_path / "dh.prom"
    read, may_go = threading.Event(), threading.Event()
    reports = [Reports(Wanted(metrics_file=path), lambda _: None) for _ in range(2)]

    def add(samples: Samples) -> Samples:
        first = not read.is_set()
        read.set()
        if first:
            assert not may_go.wait(0.2), "the second run cannot get past its lock meanwhile"
        else:
            may_go.set()
        return samples | {FRAMES: samples.get(FRAMES, 0.0) + 1}

    first = threading.Thread(target=lambda: reports[0]._write_metrics(path, add))
    first.start()
    assert read.wait(GRACE_S)
    reports[1]._write_metrics(path, add)
    first.join()
    assert read_metrics(path)[FRAMES] == 2
    assert [report.exit_code(0) for report in reports] == [0, 0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["dh.prom"]


def test_two_runs_with_one_junit_file_write_it_one_after_the_other(
    shown: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dh.xml"
    old = junit_xml([], SUMMARY)
    path.write_text(old)
    inside, may_go = threading.Event(), threading.Event()

    def slow(cases: Sequence[Case], summary: Summary) -> str:
        if not inside.is_set():
            inside.set()
            assert may_go.wait(GRACE_S)
        return junit_xml(cases, summary)

    def end(failed: int) -> None:
        with Reports(Wanted(junit=path), shown.append) as reports:
            reports(dataclasses.replace(SUMMARY, not_started=failed))

    monkeypatch.setattr("dhcli.reports.reports.junit_xml", slow)
    threads = [threading.Thread(target=end, args=(number,)) for number in (1, 2)]
    threads[0].start()
    assert inside.wait(GRACE_S)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive(), "it waits until the first has written"
    assert path.read_text() == old, "a reader sees the whole file before, or the whole file after"
    may_go.set()
    for thread in threads:
        thread.join(GRACE_S)
    assert ET.parse(path).getroot()[0][0].get("name") == "2 jobs were not started"  # noqa: S314 - our own text
    assert warnings(shown) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["dh.xml"]


@pytest.mark.parametrize("name", ["metrics_file", "junit"])
def test_a_report_that_somebody_else_holds_is_lost_after_a_while(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("dhcli.reports.reports.LOCK_WAIT_S", 0.1)
    path = tmp_path / "report"
    path.write_text("old")
    with output_lock(path, run_id="other"):
        shown = run(Wanted(**{name: path}))  # type: ignore[arg-type]
    assert last(shown).exit_code == 74
    assert all(f"process {os.getpid()} on" in text and "run other" in text for text in warnings(shown))
    assert path.read_text() == "old"


def test_a_signal_ends_the_command_and_is_the_exit_code(shown: list[Event], tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with Reports(
        Wanted(on_finish=f"sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 600'"), shown.append
    ) as reports:

        def interrupt() -> None:
            deadline = time.monotonic() + GRACE_S
            while not pid.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            reports.signalled(15)

        thread = threading.Thread(target=interrupt)
        thread.start()
        reports(SUMMARY)
        thread.join()
    assert last(shown).exit_code == 143
    assert any("a signal ended it" in text for text in warnings(shown))
    assert not _runs(int(pid.read_text()))
