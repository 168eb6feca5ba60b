"""A disk that never answers, under anything that dh reads or writes: it is told, with the file, and dh ends.

The disk is a real one to the kernel: a FUSE file system whose server never says a word. Every call that needs it sits
in the kernel until its process is killed.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from called import may_run
from dhcli.errors import DhError
from dhcli.events import Event, Summary, Warned
from dhcli.manifest import load_manifest
from dhcli.reports import Reports, Wanted
from dhcli.reports.log_file import LogFile
from dhcli.runtime import disk_calls
from dhcli.runtime.disk_calls import DiskCalls, OnStep

pytestmark = pytest.mark.slow

Said = subprocess.CompletedProcess[str]
LIMIT_S = 100.0
STALL_S = "2"
MOUNT = """
import ctypes, os
def mount(folder):
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
    if ctypes.CDLL(None).mount(b"dead", os.fsencode(folder), b"fuse", 0, options.encode()):
        raise OSError("no FUSE")
"""
MAIN = """
from dhcli.runtime.early import take_signals
take_signals()
import dhcli.runtime.disk_calls
dhcli.runtime.disk_calls.STALL_S = 2.0
from dhcli.cli import main
main()
"""
AT_THE_END = """
import dhcli.runs.attempt
real = dhcli.runs.attempt.render_job
def hooked(*args, **more):
    found = real(*args, **more)
    die()
    return found
dhcli.runs.attempt.render_job = hooked
"""
AT_THE_START = """
import dhcli.runs.batch
real = dhcli.runs.batch.Batch.run
def hooked(*args, **more):
    die()
    return real(*args, **more)
dhcli.runs.batch.Batch.run = hooked
"""
SUMMARY = Summary("run-1", 1, 1, 0, 0, 0, 0, 12.5, 0)


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """Where the dead disk is mounted, for the one who asks."""
    folder = tmp_path / "dead"
    folder.mkdir()
    return folder


@pytest.fixture
def start_on(dead: Path, tmp_path: Path, started: list[subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Start `dh` where that folder is a dead disk; `dies` is code in which `die()` may be called later instead."""
    prefix = ("unshare", "-Ur", "-m")
    if not may_run(*prefix, sys.executable, "-c", f"{MOUNT}mount({str(dead)!r})"):
        pytest.skip("this machine gives no user namespaces, or no FUSE in them")

    def start(*arguments: str | Path, dies: str = "die()", stdin: Any = subprocess.DEVNULL) -> subprocess.Popen[str]:
        program = f"{MOUNT}\ndef die(): mount({str(dead)!r})\n{dies}\n{MAIN}"
        argv = [*prefix, sys.executable, "-c", program, *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=stdin, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path)
        started.append(process)
        return process

    return start


@pytest.fixture
def dh_on(start_on: Callable[..., subprocess.Popen[str]]) -> Callable[..., Said]:
    """The same, to its end."""

    def run(*arguments: str | Path, **how: Any) -> Said:
        process = start_on(*arguments, **how)
        out, err = process.communicate(timeout=LIMIT_S)
        return Said(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Set at the end of the test, when every thread that waits for a disk ends, too."""
    end = threading.Event()
    yield end
    end.set()
    for thread in threading.enumerate():
        if thread.name == "disk":
            thread.join(LIMIT_S)


@pytest.fixture
def job(clip: Path, words: Path, out: Path) -> list[str]:
    flags = ["--audio", words, "--video", clip, "--save-path", out / "out.mp4", "--stall-timeout", STALL_S]
    return ["render", *map(str, flags), "--device", "cpu", "--retries", "0"]


@pytest.mark.parametrize("report", ["--log-file", "--metrics-file", "--junit"])
def test_a_report_on_a_dead_disk_is_lost_and_the_run_goes_on(
    report: str, dh_on: Callable[..., Said], job: list[str], dead: Path, tmp_path: Path, out: Path
) -> None:
    others = {"--log-file": "log", "--metrics-file": "prom", "--junit": "xml"}
    del others[report]
    flags = [part for flag, name in others.items() for part in (flag, name)]
    said = dh_on(*job, report, dead / "report", *flags)
    assert said.returncode == 74, said.stderr
    assert f"No answer from the disk for {STALL_S} s: {dead / 'report'}" in said.stderr
    assert json.loads((out / "out.mp4.json").read_bytes())["status"] == "succeeded"
    assert all((tmp_path / name).stat().st_size for name in others.values())


@pytest.mark.parametrize("at", ["start", "end"])
def test_a_disk_of_reports_that_dies_during_the_run(
    at: str, dh_on: Callable[..., Said], job: list[str], dead: Path, tmp_path: Path, out: Path
) -> None:
    """Each report on it is lost; the log on another one tells so."""
    dies = AT_THE_START if at == "start" else AT_THE_END
    said = dh_on(*job, "--metrics-file", dead / "prom", "--junit", dead / "xml", "--log-file", "log", dies=dies)
    assert said.returncode == 74, said.stderr
    for what in ("metrics file", "JUnit file"):
        assert f"The {what} is not written: No answer from the disk for" in said.stderr
    assert json.loads((out / "out.mp4.json").read_bytes())["status"] == "succeeded"
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["code"] for line in log if line["event"] == "warning"] == ["report.lost"] * 2
    assert log[-1]["exit_code"] == 74


def test_output_of_dh_itself_on_a_dead_disk(dh_on: Callable[..., Said], job: list[str], out: Path) -> None:
    """Stdout is a file, and the call that writes to it never comes back."""
    dies = """
import dhcli.command.streams as streams, threading
os.dup2(os.open("events", os.O_WRONLY | os.O_CREAT), 1)
def stuck(fd, data): threading.Event().wait()
streams._write_all = stuck
"""
    said = dh_on(*job, "--json", dies=dies)
    assert said.returncode == 74, said.stderr
    assert json.loads((out / "out.mp4.json").read_bytes())["status"] == "succeeded"


@pytest.mark.parametrize("verb", ["render", "check"])
@pytest.mark.parametrize("where", ["manifest", "video", "audio", "save_path"])
def test_the_manifest_or_a_path_in_it_on_a_dead_disk(
    verb: str, where: str, dh_on: Callable[..., Said], dead: Path, tmp_path: Path, clip: Path, words: Path
) -> None:
    paths = {"audio": str(words), "video": str(clip), "save_path": str(tmp_path / "o.mp4")}
    lost = dead / f"{where}.mp4"
    if where != "manifest":
        paths[where] = str(lost)
    manifest = tmp_path / "m.yaml"
    manifest.write_text(json.dumps({"version": 1, "jobs": [paths]}))
    flags = ["--stall-timeout", STALL_S, "--junit", "xml"] if verb == "render" else []
    said = dh_on(verb, lost if where == "manifest" else manifest, *flags, "--json")
    assert said.returncode == 75, said.stderr
    assert "No answer from the disk for 2 s" in said.stderr
    assert str(lost) in said.stderr
    (event,) = [json.loads(line) for line in said.stdout.splitlines()] or [{}]
    if where != "manifest" or verb == "check":
        assert (event["event"], event["code"], event["exit_code"]) == ("refused", "stalled", 75)
    if where != "manifest" and verb == "render":
        assert ET.parse(tmp_path / "xml").getroot().get("errors") == "1"  # noqa: S314 - our own text


def test_an_input_whose_disk_dies_after_the_manifest_was_read(
    dh_on: Callable[..., Said], dead: Path, tmp_path: Path, clip: Path, words: Path
) -> None:
    """The jobs before it are told, those behind it on the same disk are not waited for."""
    manifest = tmp_path / "m.yaml"
    jobs = [{"audio": str(words), "video": str(clip), "save_path": str(tmp_path / "o.mp4")}]
    jobs += [{"audio": str(words), "video": str(dead / f"{n}.mp4"), "save_path": f"{n}.mp4"} for n in range(3)]
    manifest.write_text(json.dumps({"version": 1, "jobs": jobs}))
    dies = """
import dhcli.command.preview as preview
real = preview._looked_at
def hooked(job, *rest):
    if job.index == 1: die()
    return real(job, *rest)
preview._looked_at = hooked
preview.GRACE_S = -58.0
"""
    said = dh_on("check", manifest, "--json", dies=dies)
    assert said.returncode == 75, said.stderr
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert [event.get("code") for event in events[:-1]] == [None, "stalled"]
    assert str(dead / "0.mp4") in events[1]["message"]
    assert events[-1]["exit_code"] == 75


WAITS = """
import dhcli.runtime.disk_calls as disk_calls
real_wait = disk_calls.DiskCalls._wait
def wait(self, made, steps):
    if not made.done.wait(1.0):
        with open("waits", "w") as file: file.write(steps.now)
    real_wait(self, made, steps)
disk_calls.DiskCalls._wait = wait
"""
"""Tells of a call that has no answer after a second."""


@pytest.mark.parametrize("where", ["manifest", "input", "log", "log of a run", "junit of a run"])
def test_a_signal_while_a_disk_is_waited_for(
    where: str,
    start_on: Callable[..., subprocess.Popen[str]],
    until: Callable[..., bool],
    job: list[str],
    clip: Path,
    dead: Path,
    tmp_path: Path,
    out: Path,
) -> None:
    """The stall timeout is ten minutes: only the signal can end it."""
    lost = dead / "lost.mp4"
    flags: dict[str, tuple[list[str], str]] = {
        "manifest": (["render", str(lost)], "die()"),
        "input": ([str(lost) if part == str(clip) else part for part in job], "die()"),
        "log": ([*job, "--log-file", str(lost)], "die()"),
        "log of a run": ([*job, "--log-file", str(lost)], AT_THE_START),
        "junit of a run": ([*job, "--junit", str(lost)], AT_THE_END),
    }
    arguments, dies = flags[where]
    process = start_on(*arguments, "--stall-timeout", "600", dies=f"{WAITS}{dies}")
    assert until(lambda: (tmp_path / "waits").exists() and str(lost) in (tmp_path / "waits").read_text())
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "Traceback" not in stderr
    if where == "junit of a run":
        assert json.loads((out / "out.mp4.json").read_bytes())["status"] == "succeeded"
        assert "The JUnit file is not written: No answer from the disk for" in stderr
    else:
        assert not (out / "out.mp4").exists()


@pytest.mark.parametrize("verb", ["models list", "models verify dh-base", "models info dh-base", "doctor"])
def test_models_on_a_dead_disk(verb: str, dh_on: Callable[..., Said], dead: Path) -> None:
    said = dh_on(*verb.split(), "--models-dir", dead)
    assert said.returncode == 75, said.stderr
    assert "No answer from the disk for 2 s" in said.stderr
    assert str(dead) in said.stderr


@pytest.mark.parametrize("verb", ["info", "clear"])
def test_a_cache_on_a_dead_disk_ends_its_verbs(verb: str, dh_on: Callable[..., Said], dead: Path) -> None:
    said = dh_on("cache", verb, "--cache-dir", dead / "cache")
    assert said.returncode == 75, said.stderr
    assert str(dead / "cache") in said.stderr


class DeadFile(io.FileIO):
    """A file that was opened before its disk died."""

    end: threading.Event

    def read(self, _: int | None = -1) -> bytes:
        self.end.wait()
        return b""


def test_a_manifest_on_standard_input_whose_disk_dies(tmp_path: Path, ended: threading.Event) -> None:
    (tmp_path / "m.yaml").write_text("version: 1\n")
    with DeadFile(tmp_path / "m.yaml") as file:
        file.end = ended
        with pytest.raises(DhError, match=r"No answer from the disk for 0\.2 s: <stdin>"):
            load_manifest(None, stdin=file, stall_timeout_s=0.2)
        ended.set()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_manifest_that_somebody_sends_slowly_to_standard_input_is_waited_for(kind: str) -> None:
    ends = [end.detach() for end in socket.socketpair()] if kind == "socket" else list(os.pipe())

    def write() -> None:
        time.sleep(0.5)  # longer than any disk gets
        with open(ends[1], "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(b'{"version": 1, "jobs": [{"audio": a.wav, "video": v.mp4, "save_path": o.mp4}]}')

    writer = threading.Thread(target=write)
    writer.start()
    with open(ends[0], "rb") as stdin:  # noqa: PTH123 - a descriptor
        assert len(load_manifest(None, stdin=stdin, stall_timeout_s=0.2).jobs) == 1
    writer.join()


def test_a_manifest_that_somebody_writes_slowly_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_calls, "STALL_S", 0.2)
    pipe = tmp_path / "m.yaml"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("w") as file:
            time.sleep(0.5)  # longer than any disk gets
            file.write('{"version": 1, "jobs": [{"audio": a.wav, "video": v.mp4, "save_path": o.mp4}]}')

    writer = threading.Thread(target=write)
    writer.start()
    assert len(load_manifest(pipe).jobs) == 1
    writer.join()


@pytest.fixture
def stuck(ended: threading.Event) -> Callable[..., Any]:
    """A call that does not come back before the test ends."""
    return lambda *_: ended.wait()


def test_a_log_that_stands_still_is_lost_once(
    stuck: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown: list[Event] = []
    with Reports(
        Wanted(log_file=tmp_path / "log", junit=tmp_path / "xml"), shown.append, stall_timeout_s=0.3
    ) as reports:
        reports._open()
        monkeypatch.setattr(LogFile, "__call__", stuck)
        for _ in range(3):
            reports(Warned(None, "run.stopped", "text"))
        reports(SUMMARY)
    lost = [event.message for event in shown if isinstance(event, Warned) and event.code == "report.lost"]
    assert len(lost) == 1
    assert str(tmp_path / "log") in lost[0]
    assert (tmp_path / "xml").exists()
    assert shown[-1].exit_code == 74  # type: ignore[attr-defined]


def test_a_signal_waits_for_no_disk(stuck: Callable[..., Any]) -> None:
    on_disk = DiskCalls(600)
    on_disk.hurry()
    with pytest.raises(DhError, match="No answer from the disk"):
        on_disk("x", stuck)


def test_a_slow_disk_is_no_dead_one() -> None:
    """All together takes longer than the limit, no step of it does."""

    def work(on_step: OnStep, what: str) -> str:
        for block in range(8):
            time.sleep(0.1)
            on_step(what.format(block))
        return "done"

    for what in ("block {}", "a file"):
        assert DiskCalls(0.4).in_steps("the first", lambda told, what=what: work(told, what)) == "done"  # type: ignore[misc]


def test_of_a_long_call_its_last_step_is_named(stuck: Callable[..., Any]) -> None:
    def work(on_step: OnStep) -> None:
        on_step("the second block")
        stuck()

    with pytest.raises(DhError, match=r"No answer from the disk for 0\.1 s: the second block"):
        DiskCalls(0.1).in_steps("the first block", work)


def test_what_a_call_raises_is_raised_and_no_thread_is_left() -> None:
    def fail() -> None:
        raise FileNotFoundError("x")

    with DiskCalls() as on_disk:
        for _ in range(3):
            with pytest.raises(FileNotFoundError):
                on_disk("x", fail)
        assert [thread.name for thread in threading.enumerate()].count("disk") == 1
