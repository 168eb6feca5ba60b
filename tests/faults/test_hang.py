"""Nothing hangs: whatever a child does not do, the job ends with its reason and nothing is left."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.families.dh_base.family import DhBase

pytestmark = pytest.mark.slow

Render = Callable[..., Any]
Fake = Callable[..., Path]

STALL_S = 2.5
"""Long enough that on a busy machine no other stage stands still for it, as the start of an ffmpeg may for a second."""
LIMIT_S = 30.0
"""Generous: the stall timeout and 2 s are the promise, the machine may be busy."""
HANGS = Path(__file__).parent / "media" / "hang_sample.mp4"
FRAMES = 400 * 300 * 3 // 2


@pytest.mark.usefixtures("sound_read_twice")
@pytest.mark.parametrize(
    ("role", "nth", "stage"),
    [
        ("list", 1, "probe"),
        ("scan", 1, "probe"),
        ("sound", 1, "probe"),
        ("listen", 1, "listen"),
        ("decode", 1, "analyse"),
        ("decode", 2, "decode"),
        ("encode", 1, "encode"),
        ("verify", 1, "verify"),
    ],
)
def test_a_child_that_never_answers_is_a_stall_of_its_stage(
    fake_ffmpeg: Fake, render: Render, content: Callable[[], list[str]], role: str, nth: int, stage: str
) -> None:
    fake_ffmpeg(role, "stuck()", nth)
    began = time.monotonic()
    run = render(stall_timeout_s=STALL_S)
    assert time.monotonic() - began < LIMIT_S
    assert (run.result.error.code, run.result.error.stage) == ("stalled", stage)
    assert f"limit {STALL_S:g} s" in run.result.error.message
    assert content() == ["out.mp4.json"]
    assert run.summary.exit_code == 75, "a stall may be over when the scheduler tries again"


@pytest.mark.parametrize(
    ("role", "nth", "behaviour", "stage"),
    [
        pytest.param("decode", 1, f"pass_on({4 * FRAMES})\nspin()", "analyse", id="decoder spins midway, ignores TERM"),
        pytest.param("decode", 2, f"pass_on({4 * FRAMES})\nspin()", "decode", id="the same while rendering"),
        pytest.param("decode", 2, f"pass_on({4 * FRAMES})\nos.fork() or spin()\nstuck()", "decode", id="with a fork"),
        pytest.param(
            "decode", 2, f"pass_on({4 * FRAMES})\nos.fork() or stuck()", "decode", id="wrapper ends, grandchild stays"
        ),
        pytest.param("decode", 1, "pass_on(-1)\nos.close(1)\nstuck()", "analyse", id="stdout closed, process alive"),
        pytest.param("verify", 1, "pass_on(-1)\nos.close(1)\nstuck()", "verify", id="the same while verifying"),
        pytest.param("encode", 1, f"take({2 * FRAMES})\nstuck()", "encode", id="encoder stops reading"),
        pytest.param("encode", 1, "take()\nstuck()", "encode", id="encoder never ends after the end"),
        pytest.param("encode", 1, f"take({2 * FRAMES})\nos.close(0)\nstuck()", "encode", id="encoder closes its stdin"),
    ],
)
def test_a_child_that_stops_midway(
    fake_ffmpeg: Fake,
    render: Render,
    content: Callable[[], list[str]],
    role: str,
    nth: int,
    behaviour: str,
    stage: str,
) -> None:
    fake_ffmpeg(role, behaviour, nth)
    began = time.monotonic()
    run = render(stall_timeout_s=STALL_S)
    assert time.monotonic() - began < LIMIT_S
    assert (run.result.error.code, run.result.error.stage) == ("stalled", stage)
    assert content() == ["out.mp4.json"]


@pytest.mark.parametrize(
    ("role", "nth", "code"),
    [("decode", 1, "decode.failed"), ("decode", 2, "decode.failed"), ("encode", 1, "encode.failed")],
)
def test_a_flood_of_messages_ends_the_job_without_filling_the_memory(
    fake_ffmpeg: Fake, render: Render, content: Callable[[], list[str]], role: str, nth: int, code: str
) -> None:
    fake_ffmpeg(role, "while True: os.write(2, b'[error] no frame!\\n' * 4000)", nth)
    run = render()
    assert run.result.error.code == code
    assert "MiB of messages a second" in run.result.error.message
    assert set(run.result.error.stderr_tail) == {"[error] no frame!"}
    assert content() == ["out.mp4.json"]


def test_much_on_stderr_is_no_fault(fake_ffmpeg: Fake, render: Render) -> None:
    """Three times what an unread pipe holds: without a pump the child would stand."""
    fake_ffmpeg("decode", "os.write(2, b'[warning] odd\\n' * 14_000)\nsys.exit(pass_on(-1))", 0)
    assert render(stall_timeout_s=10).result.status == "succeeded"


def test_a_job_has_its_own_time_limit(fake_ffmpeg: Fake, render: Render, content: Callable[[], list[str]]) -> None:
    fake_ffmpeg("decode", "stuck()", 2)
    run = render(timeout_s=1.5)
    assert run.result.error.code == "job.timeout"
    assert run.summary.exit_code == 1
    assert content() == ["out.mp4.json"]


def test_a_decoder_that_really_hangs(fake_ffmpeg: Fake, render: Render, content: Callable[[], list[str]]) -> None:
    """With `-err_detect explode` ffmpeg spins on this file for ever, ignores SIGTERM and writes 20 MB/s."""
    explode = 'os.execv(REAL, [REAL, "-err_detect", "explode", "-i", argv[argv.index("-i") + 1], "-f", "null", "-"])'
    fake_ffmpeg("scan", explode)
    run = render(video=HANGS, stall_timeout_s=STALL_S)
    assert run.result.error.code in {"decode.failed", "stalled"}
    assert content() == ["out.mp4.json"]


def test_the_same_file_ends_without_a_hang(render: Render, content: Callable[[], list[str]]) -> None:
    run = render(video=HANGS, stall_timeout_s=5)
    assert run.result.status == "failed"
    assert run.result.error.code in {"input.corrupt", "input.truncated", "face.not_found"}
    assert content() == ["out.mp4.json"]


HASTY = """
import time
import dhcli.runtime.scope
scopes, init = [], dhcli.runtime.scope.Scope.__init__
def remembered(scope, **options):
    init(scope, **options)
    scopes.append(scope)
dhcli.runtime.scope.Scope.__init__ = remembered
def stuck(*args, **more):
    for scope in scopes:
        scope.stall_timeout_s = 0.5
        scope._limits = dict.fromkeys(scope._limits, 0.5)
    open("stuck.now", "w").close()
    while True: time.sleep(60)
"""
"""`stuck` does not come back, and only then is half a second a stall: on a busy machine to import and to load takes
10 s and more, all of it without progress, and would be the stall that is found."""
STUCK = HASTY + "from dhcli.networks.network import Network\nNetwork.run = stuck\n"
"""A call that does not come back to Python, as a hanging driver would."""
LOADING = HASTY + "from dhcli.families.dh_base.family import DhBase\nDhBase.__init__ = stuck\n"


@pytest.fixture
def ended(until: Callable[..., bool], tmp_path: Path) -> Callable[[subprocess.Popen[str]], str]:
    """What a process says on stderr that ends by itself soon after it got stuck; how long that took is no fault."""

    def wait(process: subprocess.Popen[str]) -> str:
        assert until(lambda: (tmp_path / "stuck.now").exists() or process.poll() is not None)
        return process.communicate(timeout=LIMIT_S)[1]

    return wait


@pytest.mark.parametrize(("program", "stage"), [(STUCK, "listen"), (LOADING, "load")], ids=["network", "loading"])
def test_a_call_that_never_returns_ends_the_process_with_its_result(
    dh: Callable[..., subprocess.Popen[str]],
    content: Callable[[], list[str]],
    stored: Callable[[], dict[str, Any]],
    ended: Callable[[subprocess.Popen[str]], str],
    program: str,
    stage: str,
) -> None:
    process = dh(program=program)
    stderr = ended(process)
    assert process.returncode == 75
    result = stored()
    assert result["status"] == "failed"
    assert (result["error"]["code"], result["error"]["stage"]) == ("stalled", stage)
    assert content() == ["out.mp4.json"], "neither part nor lock"
    assert "1 job: 1 failed (stalled)" in stderr.splitlines()[-1]


def test_a_terminal_that_hangs_does_not_keep_a_stuck_process(
    dh: Callable[..., subprocess.Popen[str]],
    stored: Callable[[], dict[str, Any]],
    until: Callable[..., bool],
    tmp_path: Path,
) -> None:
    """Nobody reads stderr: a pipe that is full blocks whoever writes the summary."""
    fill = "import os\nos.set_blocking(2, False)\ntry:\n    while os.write(2, bytes(4096)): pass\n"
    fill += "except BlockingIOError: os.set_blocking(2, True)\n"
    process = dh(program=fill + STUCK)
    assert until((tmp_path / "stuck.now").exists)
    assert process.wait(LIMIT_S) == 75
    assert stored()["error"]["code"] == "stalled"


def test_a_slow_network_is_no_stall_while_frames_come(render: Render, dh_base: DhBase, monkeypatch: Any) -> None:
    """Each batch takes less than half the limit, all together more than the limit."""
    speak = type(dh_base).speak

    def slow(*args: Any) -> Any:
        time.sleep(1)
        return speak(*args)

    monkeypatch.setattr(type(dh_base), "speak", slow)
    assert render(stall_timeout_s=2.5).result.status == "succeeded"


BLOCKED = """
import os
import dhcli.runs.attempt as attempt, dhcli.disk.hashes as hashes, dhcli.disk.lock as lock, dhcli.disk.part as part
real, count = {call}, 0
def blocked(*args, **more):
    global count
    count += 1
    if count == {at}:
        stuck()
    return real(*args, **more)
{call} = blocked
"""


def test_an_ffmpeg_that_never_says_its_version_is_told(
    dh: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is written all the same: it asks nothing of that program."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("DH_FFMPEG", str(program))
    process = dh("--json", "--stall-timeout", "1", "--junit", str(tmp_path / "j.xml"))
    said, _ = process.communicate(timeout=100)
    events = [json.loads(line) for line in said.splitlines()]
    assert process.returncode == 75
    assert [event["code"] for event in events if event["event"] == "job_finished"] == ["stalled"]
    assert events[-1]["event"] == "summary"
    assert (tmp_path / "j.xml").exists()


@pytest.mark.parametrize(
    ("call", "at"),
    [("part.os.fsync", 1), ("part.os.fsync", 3), ("part._sync", 2), ("part._sync", 3)],
    ids=["running", "video", "folder of the video", "folder of the result"],
)
def test_a_disk_that_does_not_answer_is_a_stall_of_the_commit(
    dh: Callable[..., subprocess.Popen[str]],
    stored: Callable[[], dict[str, Any]],
    ended: Callable[[subprocess.Popen[str]], str],
    out: Path,
    call: str,
    at: int,
) -> None:
    process = dh(program=HASTY + BLOCKED.format(call=call, at=at))
    ended(process)
    assert process.returncode == 75
    assert stored()["status"] == "failed"
    assert (stored()["error"]["code"], stored()["error"]["stage"]) == ("stalled", "commit")
    assert not list(out.glob(".*")), "neither part nor lock"


@pytest.mark.parametrize(
    ("call", "stage"),
    [
        ("lock._try_lock", None),
        ("lock._is_at", None),
        ("attempt.read_result", "run"),
        ("attempt.JobInputs.open", "start"),
        ("attempt.PartFile.__init__", "start"),
        ("hashes.HashCache.known", "hash"),
    ],
    ids=["lock", "lock's place", "earlier result", "input", "part", "input's times"],
)
def test_a_disk_that_does_not_answer_before_a_job_has_begun(
    dh: Callable[..., subprocess.Popen[str]],
    stored: Callable[[], dict[str, Any]],
    ended: Callable[[subprocess.Popen[str]], str],
    out: Path,
    call: str,
    stage: str | None,
) -> None:
    """With the lock the job's result is written; without it both may be another process's."""
    process = dh(program=HASTY + BLOCKED.format(call=call, at=1))
    stderr = ended(process)
    assert process.returncode == 75
    assert f"No progress in the stage '{stage or 'run'}'" in stderr
    assert "1 failed (stalled)" in stderr
    if stage is not None:
        error = stored()["error"]
        assert (stored()["status"], error["code"], error["stage"]) == ("failed", "stalled", stage)
        assert sorted(path.name for path in out.iterdir()) == ["out.mp4.json"]
    else:
        assert not (out / "out.mp4.json").exists()


@pytest.mark.parametrize("call", ["hashes.HashCache.save"])
def test_a_disk_that_does_not_answer_after_the_last_job(
    dh: Callable[..., subprocess.Popen[str]],
    stored: Callable[[], dict[str, Any]],
    ended: Callable[[subprocess.Popen[str]], str],
    call: str,
) -> None:
    process = dh(program=HASTY + BLOCKED.format(call=call, at=1))
    assert "No progress in the stage 'run'" in ended(process)
    assert process.returncode == 75
    assert stored()["status"] == "succeeded"


def test_a_signal_ends_a_run_that_waits_for_a_disk(
    dh: Callable[..., subprocess.Popen[str]], until: Callable[..., bool], tmp_path: Path, out: Path
) -> None:
    stuck = HASTY.replace("0.5", "600")
    process = dh("--stall-timeout", "600", program=stuck + BLOCKED.format(call="attempt.read_result", at=1))
    assert until((tmp_path / "stuck.now").exists)
    process.terminate()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143
    assert not list(out.glob(".*")), "neither part nor lock"


@pytest.mark.parametrize("at", [2, 3], ids=["folder of the video", "folder of the result"])
def test_a_signal_ends_a_commit_that_stands(
    dh: Callable[..., subprocess.Popen[str]], until: Callable[..., bool], tmp_path: Path, out: Path, at: int
) -> None:
    stuck = HASTY.replace("0.5", "600")
    process = dh("--stall-timeout", "600", program=stuck + BLOCKED.format(call="part._sync", at=at))
    assert until((tmp_path / "stuck.now").exists)
    process.terminate()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143
    assert not list(out.glob(".*")), "neither part nor lock"


FULL = """
import os
import dhcli.runs.attempt
real = dhcli.runs.attempt.render_job
def render(*args, **options):
    os.set_blocking({fd}, False)
    try:
        while os.write({fd}, bytes([10]) * 16): pass
    except BlockingIOError:
        os.set_blocking({fd}, True)
    return real(*args, **options)
dhcli.runs.attempt.render_job = render
"""
"""The pipe is filled, with empty lines, when the job has begun: the frames are rendered while nobody reads."""


def test_a_reader_that_pauses_is_no_stall(
    dh: Callable[..., subprocess.Popen[str]],
    stored: Callable[[], dict[str, Any]],
    out: Path,
    until: Callable[..., bool],
) -> None:
    process = dh("--json", program=FULL.format(fd=1))
    assert until((out / "out.mp4").exists)
    assert until(lambda: stored()["status"] == "succeeded"), "the job ends although nobody reads"
    stdout, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, stderr
    events = [json.loads(line) for line in stdout.splitlines() if line.strip()]
    assert [event["event"] for event in events[-2:]] == ["job_finished", "summary"]


@pytest.mark.parametrize("flags", [("--json",), ("--progress", "plain")], ids=["stdout", "stderr"])
def test_a_signal_ends_a_run_whose_reader_pauses(
    dh: Callable[..., subprocess.Popen[str]],
    stored: Callable[[], dict[str, Any]],
    out: Path,
    until: Callable[..., bool],
    flags: tuple[str, ...],
) -> None:
    fd = 1 if flags == ("--json",) else 2
    process = dh(*flags, program=FULL.format(fd=fd))
    assert until((out / "out.mp4").exists)
    assert until(lambda: stored()["status"] == "succeeded")
    process.terminate()
    assert process.wait(LIMIT_S) == 143
