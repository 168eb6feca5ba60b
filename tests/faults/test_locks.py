"""One writer per output and, where asked for, one run at a time: the second says who is first."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dhcli.disk.lock import lock_path
from dhcli.results.result import JobResult, read_result

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]
LIMIT_S = 60
SHORT = ("--limit-frames", "2")


@pytest.fixture
def start(tmp_path: Path, words: Path, clip: Path, started: list[subprocess.Popen[str]]) -> Start:
    """Start `dh render` of a manifest with three jobs, in a process of its own."""
    jobs = [{"audio": str(words), "video": str(clip), "save_path": f"{name}.mp4"} for name in "abc"]
    (tmp_path / "night.yaml").write_text(json.dumps({"version": 1, "jobs": jobs}))

    def run(*flags: str) -> subprocess.Popen[str]:
        argv = [
            sys.executable,
            "-m",
            "dhcli",
            "render",
            "night.yaml",
            "--device",
            "cpu",
            "--retries",
            "0",
            *flags,
            *SHORT,
        ]
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        started.append(subprocess.Popen(argv, cwd=tmp_path, text=True, **how))
        return started[-1]

    return run


@pytest.fixture
def holder(
    start: Start, fake_ffmpeg: Callable[..., Path], until: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.Popen[str]]:
    """A run that hangs in its first job, and so holds its locks until it is killed."""

    def run(*flags: str) -> subprocess.Popen[str]:
        now = Path(f"{fake_ffmpeg('encode', 'stuck()')}.now")
        process = start("--job", "a", *flags)
        assert until(now.exists)
        monkeypatch.delenv("DH_FFMPEG")
        return process

    return run


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=LIMIT_S)
    return process.returncode, stderr


def result(folder: Path, name: str) -> JobResult:
    found = read_result(folder / f"{name}.mp4.json")
    assert found is not None
    return found


def by(process: subprocess.Popen[str]) -> str:
    return rf"process {process.pid} on {re.escape(socket.gethostname())}, run \d{{8}}T\d{{6}}Z-[0-9a-f]{{4}}"


def test_the_second_writer_names_the_first_and_leaves_its_files_alone(
    holder: Start, start: Start, tmp_path: Path
) -> None:
    first = holder()
    second = start("--job", "a", "--json")
    stdout, said = second.communicate(timeout=LIMIT_S)
    assert second.returncode == 75
    events = [json.loads(line) for line in stdout.splitlines()]
    assert [event["result_path"] for event in events if event["event"] == "job_finished"] == [None], "it is not its own"
    assert re.search(rf"a\.mp4 is being written by {by(first)}\. \[env\.locked\]", said), said
    assert (result(tmp_path, "a").status, result(tmp_path, "a").pid) == ("running", first.pid)


def test_the_other_jobs_are_rendered(holder: Start, start: Start, tmp_path: Path) -> None:
    holder()
    assert ended(start())[0] == 75
    assert [result(tmp_path, name).status for name in "abc"] == ["running", "succeeded", "succeeded"]


GATED = """
gate = os.environ["DH_GATE"]
with open(gate, "ab") as count:
    count.write(b"x")
gate += str(os.path.getsize(gate))
open(gate + ".now", "w").close()
while not os.path.exists(gate + ".go"): time.sleep(0.01)
real()
"""


@pytest.fixture
def gated(
    start: Start, tmp_path: Path, fake_ffmpeg: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.Popen[str]]:
    """A run that in its N-th encode makes NAME<N>.now and waits for NAME<N>.go."""
    fake_ffmpeg("encode", GATED.strip(), 0)

    def run(name: str, *flags: str) -> subprocess.Popen[str]:
        monkeypatch.setenv("DH_GATE", str(tmp_path / name))
        return start(*flags)

    return run


@pytest.mark.parametrize(
    ("meanwhile", "flags", "last", "code"),
    [("ends", (), "skipped", 0), ("goes on", (), "failed", 75), ("is killed", ("--lock-wait", "600"), "succeeded", 0)],
)
def test_a_job_of_another_run_is_looked_at_again_after_all_others(
    gated: Start, until: Callable[..., bool], tmp_path: Path, meanwhile: str, flags: Sequence[str], last: str, code: int
) -> None:
    """The first run begins b while the second one is in a; when that has c left alone, b is done, or is not."""
    second = gated("second", "--json", "-v", *flags)
    assert until((tmp_path / "second1.now").exists)
    first = gated("first", "--job", "b")
    assert until((tmp_path / "first1.now").exists)
    (tmp_path / "second1.go").touch()
    assert until((tmp_path / "second2.now").exists), "it goes on with c, and waits for nobody"
    if meanwhile == "ends":
        (tmp_path / "first1.go").touch()
        assert ended(first)[0] == 0
    elif meanwhile == "is killed":
        first.kill()
        first.wait()
    (tmp_path / "second2.go").touch()
    (tmp_path / "second3.go").touch()
    stdout, said = second.communicate(timeout=LIMIT_S)
    told = {"job_deferred": "code", "job_finished": "status"}
    events = [json.loads(line) for line in stdout.splitlines()]
    jobs = [(event["job_id"], event[told[event["event"]]]) for event in events if event["event"] in told]
    assert jobs == [("a", "succeeded"), ("b", "env.locked"), ("c", "succeeded"), ("b", last)]
    assert second.returncode == code
    assert re.search(rf"\[2/3\] b: .* written by {by(first)}\. \[env\.locked\]; again after the others", said), said
    assert said.count("FAILED") == (last == "failed"), "it is told once"


def test_a_killed_writer_holds_nothing(holder: Start, start: Start, tmp_path: Path) -> None:
    first = holder()
    first.kill()
    first.wait()
    assert ended(start("--job", "a"))[0] == 0
    assert result(tmp_path, "a").status == "succeeded"
    assert [path.name for path in tmp_path.glob(".*.dh-*")] == []


def test_waiting_for_the_writer(holder: Start, start: Start, tmp_path: Path) -> None:
    first = holder()
    second = start("--job", "a", "--lock-wait", "60", "--json")
    assert second.stdout is not None
    assert [json.loads(second.stdout.readline())["event"] for _ in range(2)] == ["batch_started", "job_started"]
    first.kill()
    assert ended(second)[0] == 0
    assert result(tmp_path, "a").pid == second.pid


@pytest.mark.parametrize("lock", ["output", "run"])
def test_waiting_ends_with_a_signal(holder: Start, start: Start, tmp_path: Path, lock: str) -> None:
    flags = ["--run-lock", "dh.lock"] if lock == "run" else []
    first = holder(*flags)
    second = start("--job", "a", "--lock-wait", "600", "--json", "-v", *flags)
    assert second.stdout is not None
    if lock == "output":
        assert [json.loads(second.stdout.readline())["event"] for _ in range(2)] == ["batch_started", "job_started"]
    else:
        _wait_for_handler(second.pid)
    second.send_signal(signal.SIGTERM)
    assert ended(second)[0] == 128 + signal.SIGTERM
    assert (result(tmp_path, "a").status, result(tmp_path, "a").pid) == ("running", first.pid)


def _wait_for_handler(pid: int) -> None:
    """Until the process has taken SIGTERM; before that the signal would just end it."""
    bit = 1 << (signal.SIGTERM - 1)
    while True:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        if int(next(line.split()[1] for line in lines if line.startswith("SigCgt")), 16) & bit:
            return


def test_a_second_run_ends_at_once_and_names_the_first(holder: Start, start: Start, tmp_path: Path) -> None:
    lock = tmp_path / "dh.lock"
    first = holder("--run-lock", str(lock))
    before = sorted(path.name for path in tmp_path.iterdir())
    code, said = ended(start("--run-lock", str(lock)))
    assert code == 75
    assert re.search(rf"Another run holds {re.escape(str(lock))}: {by(first)}\.", said), said
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "no job was started"
    first.kill()
    first.wait()
    assert ended(start("--run-lock", str(lock)))[0] == 0
    assert ended(start("--run-lock", str(lock), "--job", "a"))[0] == 0, "the file stays and locks again"


def test_waiting_for_the_run(holder: Start, start: Start, tmp_path: Path) -> None:
    first = holder("--run-lock", "dh.lock")
    second = start("--run-lock", "dh.lock", "--lock-wait", "60")
    _wait_for_handler(second.pid)
    first.kill()
    assert ended(second)[0] == 0
    assert [result(tmp_path, name).pid for name in "abc"] == [second.pid] * 3


@pytest.mark.parametrize("there", ["a manifest", "a missing folder", "a folder", "a link", "a pipe", "a device"])
def test_what_is_no_run_lock_is_left_alone(start: Start, tmp_path: Path, there: str) -> None:
    lock = tmp_path / "dh.lock"
    other = tmp_path / "other.yaml"
    other.write_bytes((tmp_path / "night.yaml").read_bytes())
    match there:
        case "a manifest":
            lock = other
        case "a missing folder":
            lock = tmp_path / "no" / "dh.lock"
        case "a folder":
            lock.mkdir()
        case "a link":
            lock.symlink_to(other)
        case "a pipe":
            os.mkfifo(lock)
        case "a device":
            lock = Path("/dev/null")
    before = other.read_bytes()
    code, said = ended(start("--run-lock", str(lock)))
    assert (code, "[env.lock_unusable]" in said, "Traceback" in said) == (69, True, False), said
    assert other.read_bytes() == before
    assert list(tmp_path.glob("*.mp4")) == []


def test_a_pipe_in_the_place_of_an_outputs_lock_fails_its_job_alone(start: Start, tmp_path: Path) -> None:
    """It is left as it is: dh did not make it."""
    pipe = lock_path(tmp_path / "a.mp4")
    os.mkfifo(pipe)
    code, said = ended(start())
    assert (code, "[output.not_writable]" in said, str(pipe) in said) == (1, True, True), said
    assert "it is a pipe, not a regular file" in said
    assert [(tmp_path / f"{name}.mp4").exists() for name in "abc"] == [False, True, True]
    assert pipe.is_fifo()
    code, said = ended(start("--dry-run", "--job", "a"))
    assert (code, "[output.not_writable]" in said) == (1, True), said


def test_flock_of_the_shell_is_the_same_lock(start: Start, tmp_path: Path) -> None:
    lock = tmp_path / "dh.lock"
    with subprocess.Popen(["flock", str(lock), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(b"held\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"held\n"
        code, said = ended(start("--run-lock", str(lock)))
        assert (code, "another process" in said) == (75, True)
        other.stdin.close()


def test_two_manifests_do_not_share_a_result(holder: Start, start: Start, tmp_path: Path) -> None:
    """Another output, but the same id in the same folder for results."""
    first = holder("--results-dir", "results")
    jobs = json.loads((tmp_path / "night.yaml").read_text())["jobs"]
    other = [jobs[0] | {"id": "a", "save_path": "other.mp4"}]
    (tmp_path / "night.yaml").write_text(json.dumps({"version": 1, "jobs": other}))
    code, said = ended(start("--results-dir", "results"))
    assert (code, "[env.locked]" in said) == (75, True), said
    found = read_result(tmp_path / "results" / "a.json")
    assert found is not None
    assert (found.status, found.pid) == ("running", first.pid)
    assert not (tmp_path / "other.mp4").exists()


def test_a_look_at_a_job_that_is_rendered_right_now(holder: Start, start: Start, tmp_path: Path) -> None:
    first = holder()
    before = (tmp_path / "a.mp4.json").read_bytes()
    code, said = ended(start("--job", "a", "--dry-run"))
    assert (code, str(first.pid) in said, "[env.locked]" in said) == (75, True, True), said
    assert (tmp_path / "a.mp4.json").read_bytes() == before


def test_overlapping_runs_never_damage_each_other(start: Start, tmp_path: Path, sha256: Callable[[Path], str]) -> None:
    runs = [start() for _ in range(3)]
    assert {ended(run)[0] for run in runs} <= {0, 75}
    for name in "abc":
        found = result(tmp_path, name)
        assert found.status == "succeeded"
        assert found.output is not None
        assert sha256(tmp_path / f"{name}.mp4") == found.output.sha256
    assert [path.name for path in tmp_path.glob(".*.dh-*")] == []
    assert ended(start())[0] == 0
