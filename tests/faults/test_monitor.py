"""Whole runs on a machine that runs out of room, and what reports say of runs that end well, badly or not at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from called import may_run
from dhcli.events import Event, JobFinished
from dhcli.reports import Reports, Wanted
from dhcli.reports.metrics_file import read_metrics
from dhcli.runtime.cgroup import MemoryLimit

pytestmark = pytest.mark.slow

Render = Callable[..., Any]
Dh = Callable[..., "subprocess.Popen[str]"]
LIMIT_S = 60.0
ROOM = MemoryLimit(Path("/group"), 1000 << 20, 500 << 20)


@pytest.fixture(scope="module")
def own_mounts() -> tuple[str, ...]:
    """A command prefix under which a test may mount."""
    prefix = ("unshare", "-Ur", "-m")
    if not may_run(*prefix, "true"):
        pytest.skip("this machine gives no user namespaces")
    return prefix


@pytest.fixture
def small_disk(own_mounts: tuple[str, ...], out: Path) -> tuple[str, ...]:
    """The output folder on a disk of 48 MiB of its own; the result file goes elsewhere, the disk ends with the run."""
    mount = f'mount -t tmpfs -o size=48m dh "{out}" && exec "$@"'
    return (*own_mounts, "sh", "-c", mount, "sh")


def finished(events: list[Event]) -> list[JobFinished]:
    return [event for event in events if isinstance(event, JobFinished)]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_result_tells_what_the_job_used(render: Render, out: Path) -> None:
    used = render().result.resources
    assert 100 << 20 < used.peak_rss_bytes < 8 << 30
    assert 10 < used.peak_open_files < 200
    assert 0 < used.min_disk_free_bytes <= shutil.disk_usage(out).total
    assert used.peak_vram_bytes is None or used.peak_vram_bytes > 0


def test_the_disk_floor_stops_the_run_and_keeps_the_old_output(
    render: Render, out: Path, content: Callable[[], list[str]]
) -> None:
    (out / "out.mp4").write_bytes(b"the old one")
    run = render(copies=3, min_disk_bytes=1 << 60)
    assert run.result.error.code == "env.disk_full"
    assert "--min-disk" in run.result.error.hint
    assert (run.summary.failed, run.summary.not_started, run.summary.exit_code) == (1, 2, 75)
    assert (out / "out.mp4").read_bytes() == b"the old one"
    assert content() == ["out.mp4", "out.mp4.json"]


def test_what_is_up_to_date_needs_no_room(render: Render) -> None:
    assert render().result.status == "succeeded"
    run = render(if_exists="skip", min_disk_bytes=1 << 60)
    assert (run.summary.skipped, run.summary.exit_code) == (1, 0)


def test_a_small_disk_is_refused(dh: Dh, small_disk: tuple[str, ...], tmp_path: Path) -> None:
    code, _, err = ended(dh("--results-dir", str(tmp_path / "results"), under=small_disk))
    assert code == 75, err
    assert "env.disk_full" in err
    error = json.loads((tmp_path / "results/out.json").read_bytes())["error"]
    assert (error["code"], error["stage"]) == ("env.disk_full", "monitor")
    assert "48 MiB are free" in error["message"] or "47 MiB are free" in error["message"]


def test_a_small_disk_is_enough_where_the_user_says_so(dh: Dh, small_disk: tuple[str, ...], tmp_path: Path) -> None:
    code, _, err = ended(dh("--min-disk", "0", "--results-dir", str(tmp_path / "results"), under=small_disk))
    assert code == 0, err


def test_a_disk_that_fills_up_ends_the_job_before_it_is_full(
    dh: Dh, small_disk: tuple[str, ...], fake_ffmpeg: Callable[..., Path], out: Path, tmp_path: Path
) -> None:
    fill = f"open({str(out / 'other')!r}, 'wb').write(bytes(30 << 20))"
    at_work = "take(200_000)"  # more than one frame of 180,000 bytes: the first of them is counted by then
    fake_ffmpeg("encode", f"{at_work}\n{fill}\nstuck()")
    code, _, err = ended(dh("--min-disk", "32", "--results-dir", str(tmp_path / "results"), under=small_disk))
    assert code == 75, err
    result = json.loads((tmp_path / "results/out.json").read_bytes())
    assert result["error"]["code"] == "env.disk_full"
    assert result["frames"]["decoded"] > 0, "the job was at work"
    assert result["resources"]["min_disk_free_bytes"] < 32 << 20


def test_the_memory_floor_ends_the_job_and_not_the_run(
    render: Render, monkeypatch: pytest.MonkeyPatch, fake_ffmpeg: Callable[..., Path], content: Callable[[], list[str]]
) -> None:
    mark = fake_ffmpeg(
        "encode", "open(MARK + '.now', 'w').close()\nstuck()"
    )  # the first job renders until the floor acts
    first: list[Event] = []

    def memory() -> MemoryLimit:
        at_work = Path(f"{mark}.now").exists() and not first
        return dataclasses.replace(ROOM, used_bytes=960 << 20) if at_work else ROOM

    monkeypatch.setattr("dhcli.runtime.monitor.memory_limit", memory)

    def ends(event: Event) -> None:
        if isinstance(event, JobFinished):
            first.append(event)

    run = render(copies=2, emit=ends)
    assert run.result.error.code == "job.out_of_memory"
    assert run.result.error.retryable
    assert [event.status for event in finished(run.events)] == ["failed", "succeeded"]
    assert content() == ["out.mp4.json", "out2.mp4", "out2.mp4.json"]


def test_a_monitor_in_trouble_fails_no_job(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("a kernel of the future")

    monkeypatch.setattr("dhcli.runtime.monitor.memory_limit", broken)
    result = render().result
    assert result.status == "succeeded"
    assert [warning.code for warning in result.warnings] == ["monitor.failed"]


def test_all_reports_of_a_run(dh: Dh, tmp_path: Path) -> None:
    flags = ["--log-file", "log", "--metrics-file", "dh.prom", "--junit", "dh.xml"]
    code, _, err = ended(dh(*flags, "--on-finish", "sh -c 'echo $DH_EXIT_CODE $DH_SUCCEEDED >finished'"))
    assert code == 0, err
    assert err.splitlines()[-1].startswith("1 job: 1 succeeded")
    assert (tmp_path / "finished").read_text() == "0 1\n"
    check_log(lines(tmp_path / "log"), tmp_path)
    first = read_metrics(tmp_path / "dh.prom")
    assert (first["dh_run_exit_code"], first["dh_frames_total"]) == (0, 10)
    assert first["dh_run_peak_rss_bytes"] > 100 << 20
    assert 'tests="1" failures="0"' in (tmp_path / "dh.xml").read_text()

    assert ended(dh(*flags))[0] == 0
    assert read_metrics(tmp_path / "dh.prom")['dh_jobs{status="skipped"}'] == 1
    assert "<skipped" in (tmp_path / "dh.xml").read_text()
    assert len({line["run_id"] for line in lines(tmp_path / "log")}) == 2, "the log is continued"


def check_log(log: list[dict[str, Any]], folder: Path) -> None:
    """It answers which run, which job, which files, which attempt, how long it waited, how long each part took."""
    assert {line["run_id"] for line in log} == {log[0]["run_id"]}
    by_event = {line["event"]: line for line in log}
    job = [line for line in log if line["event"] not in {"batch_started", "summary"}]
    assert {line["job_id"] for line in job} == {"out"}
    assert {line["attempt"] for line in job} == {1}
    stages = [line for line in log if line["event"] == "stage_finished"]
    assert [line["stage"] for line in stages] == ["probe", "listen", "analyse", "render", "verify"]
    started, finished = by_event["job_started"], by_event["job_finished"]
    assert set(started["paths"]) == {"audio", "video", "save_path"}
    output = str(folder / "out/out.mp4")
    assert finished["paths"] == {"save_path": output, "result_path": f"{output}.json"}
    assert 0 <= started["wait_s"] < LIMIT_S
    assert 0 < sum(line["duration_s"] for line in stages) <= finished["duration_s"] <= by_event["summary"]["duration_s"]


def test_a_quiet_success_says_nothing_and_a_quiet_failure_does(dh: Dh, tmp_path: Path) -> None:
    """Cron sends a mail for every byte."""
    assert ended(dh("-q")) == (0, "", "")
    assert ended(dh("-q")) == (0, "", "")
    code, out, err = ended(dh("-q", "--video", str(tmp_path / "missing.mp4")))
    assert (code, out, "[input.missing]" in err) == (1, "", True)


KILLED_BEFORE_THE_RENAME = """
import os, signal
from dhcli.disk.part import PartFile
real = PartFile._rename
def killer(part, over):
    if part.save_path.name == "dh.xml":
        os.kill(os.getpid(), signal.SIGKILL)
    real(part, over)
PartFile._rename = killer
"""


def test_a_kill_leaves_the_junit_file_of_the_run_before(dh: Dh, tmp_path: Path, stored: Callable[[], Any]) -> None:
    old = '<testsuites>\n<testsuite name="dh render"/>\n</testsuites>'
    (tmp_path / "dh.xml").write_text(old)
    assert ended(dh("--junit", "dh.xml", program=KILLED_BEFORE_THE_RENAME))[0] == -signal.SIGKILL
    assert (tmp_path / "dh.xml").read_text() == old
    assert stored()["status"] == "succeeded", "reports come after results"
    assert list(tmp_path.glob(".dh.xml.*.dh-part"))
    assert ended(dh("--junit", "dh.xml"))[0] == 0
    assert "<skipped" in (tmp_path / "dh.xml").read_text()
    assert not list(tmp_path.glob(".dh.xml.*"))


def test_a_failed_run_is_not_a_success(dh: Dh, tmp_path: Path) -> None:
    assert ended(dh("--metrics-file", "dh.prom"))[0] == 0
    before = read_metrics(tmp_path / "dh.prom")
    (tmp_path / "out/out.mp4").unlink()
    flags = ["--video", str(tmp_path / "missing.mp4"), "--metrics-file", "dh.prom", "--junit", "dh.xml"]
    assert ended(dh(*flags))[0] == 1
    after = read_metrics(tmp_path / "dh.prom")
    assert after["dh_run_exit_code"] == 1
    assert after['dh_errors{code="input.missing"}'] == 1
    success, end = "dh_run_last_success_timestamp_seconds", "dh_run_last_end_timestamp_seconds"
    assert after[success] == before[success]
    assert after[end] > before[end]
    assert '<failure type="input.missing"' in (tmp_path / "dh.xml").read_text()


def test_a_report_that_is_lost_loses_no_video(dh: Dh, stored: Callable[[], dict[str, Any]]) -> None:
    code, _, err = ended(dh("--log-file", "missing/log", "--metrics-file", "missing/dh.prom", "--junit", "missing/x"))
    assert code == 74, err
    assert stored()["status"] == "succeeded"
    assert err.count("[report.lost]") == 3, "the log, the JUnit file, and the metrics, though they are written twice"


def test_a_killed_run_is_seen_and_the_log_goes_on(
    dh: Dh, fake_ffmpeg: Callable[..., Path], until: Callable[..., bool], tmp_path: Path
) -> None:
    mark = fake_ffmpeg("encode", "stuck()")
    flags = ["--log-file", "log", "--metrics-file", "dh.prom"]
    process = dh(*flags)
    assert until(lambda: mark.with_name(f"{mark.name}.now").exists())
    process.kill()
    process.communicate()
    assert list(read_metrics(tmp_path / "dh.prom")) == ["dh_run_start_timestamp_seconds"], "a start without an end"
    with (tmp_path / "log").open("ab") as log:
        log.write(b'{"ts": "2026-')  # as if it was killed in the middle of a line
    assert ended(dh(*flags))[0] == 0
    _, _, second = (tmp_path / "log").read_text().partition('{"ts": "2026-\n')
    events = [json.loads(line)["event"] for line in second.splitlines()]
    assert (events[0], events[-1]) == ("batch_started", "summary"), "each is a line of its own"
    assert read_metrics(tmp_path / "dh.prom")["dh_run_exit_code"] == 0


def test_a_signal_reaches_the_reports(
    dh: Dh, fake_ffmpeg: Callable[..., Path], until: Callable[..., bool], tmp_path: Path
) -> None:
    mark = fake_ffmpeg("encode", "stuck()")
    flags = ["--log-file", "log", "--metrics-file", "dh.prom", "--junit", "dh.xml"]
    process = dh(*flags, "--on-finish", "sh -c 'echo $DH_EXIT_CODE >finished'")
    assert until(lambda: mark.with_name(f"{mark.name}.now").exists())
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    assert (tmp_path / "finished").read_text() == "143\n"
    assert read_metrics(tmp_path / "dh.prom")["dh_run_exit_code"] == 143
    assert '<error type="job.cancelled"' in (tmp_path / "dh.xml").read_text()
    assert [line["level"] for line in lines(tmp_path / "log") if line["event"] == "job_finished"] == ["warning"]


def test_a_manifest_that_is_missing_is_reported(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "dhcli", "render", "missing.yaml", "--metrics-file", "dh.prom", "--log-file", "log"]
    code = subprocess.run([*argv, "--on-finish", "touch finished"], cwd=tmp_path, capture_output=True, check=False)
    assert code.returncode == 66
    assert read_metrics(tmp_path / "dh.prom")["dh_run_exit_code"] == 66
    assert lines(tmp_path / "log")[0]["code"] == "manifest.unreadable"
    assert (tmp_path / "finished").exists()


def test_a_dry_run_writes_no_report(dh: Dh, tmp_path: Path, out: Path) -> None:
    flags = ["--log-file", "log", "--metrics-file", "dh.prom", "--junit", "dh.xml", "--on-finish", "touch finished"]
    before = sorted(tmp_path.iterdir())
    assert ended(dh("--dry-run", *flags))[0] == 0
    assert sorted(tmp_path.iterdir()) == before
    assert not list(out.iterdir())


def test_reports_need_no_command_line(render: Render, tmp_path: Path) -> None:
    shown: list[Event] = []
    with Reports(Wanted(log_file=tmp_path / "log"), shown.append) as reports:
        render(emit=reports, video=tmp_path / "missing.mp4")
    assert lines(tmp_path / "log")[-1]["codes"] == {"input.missing": 1}
    assert [event.name for event in shown][-1] == "summary"
