"""INT, TERM and HUP at any moment: the running job ends cancelled, results are written, children are gone, 128+N."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dhcli.events import Event, JobFinished, Progress

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]
Fake = Callable[..., Path]
Until = Callable[..., bool]

LIMIT_S = 30.0
"""Generous: 2 s are the promise, the machine may be busy. Only the signal can end it: the stall timeout is a minute."""


def cancelled(process: subprocess.Popen[str], number: int, stored: dict[str, Any], content: list[str]) -> None:
    """The end that a signal must have."""
    assert process.returncode == 128 + number
    assert stored["status"] == "cancelled"
    assert stored["error"]["code"] == "job.cancelled"
    assert signal.Signals(number).name in stored["error"]["message"]
    assert content == ["out.mp4.json"], "neither video nor part nor lock"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize(("role", "nth"), [("scan", 1), ("decode", 2)], ids=["probe", "render"])
def test_a_signal_ends_the_job(
    fake_ffmpeg: Fake, dh: Start, until: Until, stored: Any, content: Any, number: signal.Signals, role: str, nth: int
) -> None:
    mark = fake_ffmpeg(role, "stuck()", nth)
    process = dh()
    assert until(lambda: Path(f"{mark}.now").exists())
    process.send_signal(number)
    _, stderr = process.communicate(timeout=LIMIT_S)
    cancelled(process, number, stored(), content())
    assert stderr.splitlines()[-1].startswith("1 job: 1 cancelled")
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("role", "nth"),
    [("listen", 1), ("decode", 1), ("encode", 1), ("verify", 1)],
    ids=["listen", "analyse", "encode", "verify"],
)
def test_a_signal_in_any_other_stage(
    fake_ffmpeg: Fake, dh: Start, until: Until, stored: Any, content: Any, role: str, nth: int
) -> None:
    mark = fake_ffmpeg(role, "stuck()", nth)
    process = dh()
    assert until(lambda: Path(f"{mark}.now").exists())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    cancelled(process, signal.SIGTERM, stored(), content())


STUCK = """
import time
from dhcli.{module} import {name}
def stuck(*args, **options):
    open("stuck.now", "w").close()
    while True: time.sleep(60)
{name}.{method} = stuck
"""
"""Python hears no signal while a native call lasts; a sleep that is begun again each time is the same."""


@pytest.mark.parametrize(
    ("module", "name", "method"),
    [
        ("networks.network", "Network", "run"),
        ("families.dh_base.family", "DhBase", "__init__"),
        ("disk.part", "PartFile", "flush"),
    ],
    ids=["network", "loading the model", "flush to a slow disk"],
)
def test_a_signal_in_a_call_that_does_not_return(
    dh: Start, until: Until, stored: Any, content: Any, tmp_path: Path, module: str, name: str, method: str
) -> None:
    program = STUCK.format(module=module, name=name, method=method)
    if method == "flush":  # not that of the first result, which is written before anything is rendered
        program = program.replace("def stuck(*args", "real = PartFile.flush\ndef stuck(part").replace(
            "    open(", "    if part.path.name.startswith('.out.mp4.json'): return real(part)\n    open("
        )
    process = dh(program=program)
    assert until((tmp_path / "stuck.now").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    cancelled(process, signal.SIGINT, stored(), content())


def test_a_signal_to_all_processes_at_once_is_no_failure_of_the_children(
    dh: Start, until: Until, stored: Any, content: Any, fake_ffmpeg: Fake
) -> None:
    """As service managers do it: ffmpeg obeys, too, and may be gone before we have heard of it."""
    mark = fake_ffmpeg("decode", "open(MARK + '.now', 'w').close()\nsignal.pause()", 2)
    process = dh()
    assert until(lambda: Path(f"{mark}.now").exists())
    for child in psutil.Process(process.pid).children(recursive=True):
        child.terminate()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    cancelled(process, signal.SIGTERM, stored(), content())


def test_two_signals_in_a_row_are_one_wish(
    fake_ffmpeg: Fake, dh: Start, until: Until, stored: Any, content: Any
) -> None:
    """`timeout` signals the process and then its group; a terminal that closes sends HUP, and its shell TERM."""
    mark = fake_ffmpeg("decode", "stuck()", 2)
    process = dh()
    assert until(lambda: Path(f"{mark}.now").exists())
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode in {129, 143}, "which of two pending signals is delivered first is the kernel's choice"
    assert stored()["status"] == "cancelled"
    assert content() == ["out.mp4.json"]


def pressed_until_the_end(process: subprocess.Popen[str], until: Until) -> None:
    """Somebody presses Ctrl-C until it ends."""

    def ended() -> bool:
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    assert until(ended, LIMIT_S)
    assert process.returncode == 130


def test_a_second_signal_ends_it_at_once(dh: Start, until: Until, stored: Any, content: Any, tmp_path: Path) -> None:
    """A process that would otherwise wait an hour for its stuck network: impatience is no crash, and no poison."""
    program = STUCK.format(module="networks.network", name="Network", method="run")
    process = dh(program=f"import dhcli.runtime.scope\ndhcli.runtime.scope.STUCK_S = 3600\n{program}")
    assert until((tmp_path / "stuck.now").exists)
    pressed_until_the_end(process, until)
    cancelled(process, signal.SIGINT, stored(), content())


def test_a_second_signal_does_not_wait_for_a_dead_disk(dh: Start, until: Until, stored: Any, tmp_path: Path) -> None:
    """Nothing can be written any more, not even that it was cancelled: the next run sees a killed one."""
    program = "import dhcli.runtime.scope as scope, os\nscope.STUCK_S = 3600\nfsync = os.fsync\nhere = os.getcwd()\n"
    program += "def dead(fd):\n    if os.path.exists(here + '/stuck.now'):\n        while True: time.sleep(60)\n"
    program += "    fsync(fd)\nos.fsync = dead\n"
    process = dh(program=program + STUCK.format(module="networks.network", name="Network", method="run"))
    assert until((tmp_path / "stuck.now").exists)
    pressed_until_the_end(process, until)
    assert stored()["status"] == "running"


def test_nohup_stays_deaf_to_hup(fake_ffmpeg: Fake, dh: Start, until: Until, stored: Any) -> None:
    mark = fake_ffmpeg(
        "decode",
        "open(MARK + '.now', 'w').close()\nwhile not os.path.exists(MARK + '.go'): time.sleep(0.01)\nreal()",
        2,
    )
    process = dh(under=("nohup",))
    assert until(lambda: Path(f"{mark}.now").exists())
    process.send_signal(signal.SIGHUP)
    Path(f"{mark}.go").touch()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert stored()["status"] == "succeeded"


def test_a_signal_before_the_run_leaves_nothing(dh: Start, until: Until, content: Any, tmp_path: Path) -> None:
    """Nothing runs yet: the process ends by the signal, as any program does."""
    program = "import dhcli.manifest\nimport time\ndef slow(*args, **options):\n    open('slow.now', 'w').close()\n"
    program += "    while True: time.sleep(60)\ndhcli.manifest.single_job = slow"
    process = dh(program=program)
    assert until((tmp_path / "slow.now").exists)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode in {-signal.SIGINT, 130}
    assert "Traceback" not in stderr
    assert content() == []


def send_when(condition: Callable[[Event], bool]) -> Callable[[Event], None]:
    """A listener that signals its own process at the first event that fits."""
    sent: list[int] = []

    def emit(event: Event) -> None:
        if condition(event) and not sent:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    return emit


def test_a_signal_between_two_jobs(render: Callable[..., Any], content: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run = render(copies=3, emit=send_when(lambda event: isinstance(event, JobFinished)))
    summary = run.summary
    assert (summary.exit_code, summary.succeeded) == (143, 1)
    assert summary.cancelled + summary.not_started == 2, "whether the second had begun is a race of microseconds"
    assert "out3.mp4.json" not in content()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_at_the_very_beginning(render: Callable[..., Any]) -> None:
    run = render(if_exists="overwrite", emit=send_when(lambda event: isinstance(event, Progress)))
    assert run.summary.exit_code == 143
    assert run.result.status == "cancelled"


def test_a_signal_after_the_last_job(render: Callable[..., Any]) -> None:
    run = render(copies=1, emit=send_when(lambda event: isinstance(event, JobFinished)))
    assert (run.summary.exit_code, run.summary.succeeded, run.summary.cancelled) == (143, 1, 0)
    assert run.result.status == "succeeded"


def test_a_signal_during_the_command_at_the_end(dh: Start, until: Until, stored: Any, tmp_path: Path) -> None:
    """The job is done: the command is ended, nobody claims that nothing was done, and the signal is the exit code."""
    now = tmp_path / "now"
    process = dh("--on-finish", f"sh -c 'touch {now}; sleep 600 & wait'")
    assert until(now.exists)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "nothing was done" not in stderr
    assert "a signal ended it" in stderr
    assert "1 job: 1 succeeded" in stderr.splitlines()[-1]
    assert stored()["status"] == "succeeded"


@pytest.mark.parametrize("step", ["flush", "replace"])
def test_a_signal_during_the_commit_is_a_whole_success_or_a_whole_cancel(
    render: Callable[..., Any],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: Any,
    sha256: Any,
    until: Until,
    step: str,
) -> None:
    from dhcli.disk import part
    from dhcli.runtime.scope import Scope

    (out / "out.mp4").write_bytes(b"the old video")
    scopes: list[Scope] = []  # that of the run, then that of the job
    real_init, real_flush, real_replace = Scope.__init__, part.PartFile.flush, os.replace

    def init(scope: Scope, **options: Any) -> None:
        real_init(scope, **options)
        scopes.append(scope)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert until(lambda: scopes[-1].stopped or scopes[-1].notes)

    def flush(file: part.PartFile) -> None:
        real_flush(file)
        if step == "flush" and file.save_path.name == "out.mp4" and not scopes[-1].stopped:
            interrupt()

    def replace(old: Any, new: Any, **folders: int) -> None:
        if step == "replace" and Path(new).name == "out.mp4":
            interrupt()
        real_replace(old, new, **folders)

    monkeypatch.setattr(Scope, "__init__", init)
    monkeypatch.setattr(part.PartFile, "flush", flush)
    monkeypatch.setattr(os, "replace", replace)
    run = render()
    assert run.summary.exit_code == 143
    assert content() == ["out.mp4", "out.mp4.json"]
    if step == "flush":
        assert run.result.status == "cancelled"
        assert (out / "out.mp4").read_bytes() == b"the old video"
    else:
        assert run.result.status == "succeeded"
        assert sha256(out / "out.mp4") == run.result.output.sha256


LOADED = """
from dhcli.networks.bundle import load_bundle
from dhcli.families.dh_base.family import DhBase
from dhcli.networks.model import Model
from dhcli.networks.network import Device
from dhcli.render.models import Models
family = DhBase(Model(load_bundle("dh-base"), Device("cpu"), 2))
Models.family = lambda *_: family
"""
"""To load takes 10 s on a busy machine, without progress; this way it is no part of the job."""


def test_a_stopped_process_is_no_stall(fake_ffmpeg: Fake, dh: Start, until: Until, stored: Any) -> None:
    """Ctrl-Z, or a laptop that sleeps, for longer than the stall timeout."""
    mark = fake_ffmpeg(
        "decode",
        "open(MARK + '.now', 'w').close()\nwhile not os.path.exists(MARK + '.go'): time.sleep(0.01)\nreal()",
        2,
    )
    process = dh("--stall-timeout", "3", program=LOADED)
    assert until(lambda: Path(f"{mark}.now").exists())
    process.send_signal(signal.SIGSTOP)
    assert until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    time.sleep(4)  # the time that has to pass, nothing is waited for
    process.send_signal(signal.SIGCONT)
    Path(f"{mark}.go").touch()
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, stderr
    assert stored()["status"] == "succeeded"


def test_a_stopped_child_is_a_stall(fake_ffmpeg: Fake, render: Callable[..., Any], content: Any) -> None:
    fake_ffmpeg("encode", "take(1000)\nos.kill(os.getpid(), signal.SIGSTOP)\nreal()")
    run = render(stall_timeout_s=2.5)
    assert run.summary.exit_code == 75
    assert (run.result.error.code, run.result.error.stage) == ("stalled", "encode")
    assert content() == ["out.mp4.json"]


def test_a_killed_process_takes_its_children_along(fake_ffmpeg: Fake, dh: Start, until: Until, content: Any) -> None:
    """Even a decoder that reads and writes nothing, behind a wrapper; that none is left is checked after each test."""
    mark = fake_ffmpeg("decode", "os.fork() or stuck()\nos.wait()", 2)
    process = dh()
    assert until(lambda: Path(f"{mark}.now").exists())
    assert len(psutil.Process(process.pid).children(recursive=True)) >= 3, "guard, wrapper, decoder"
    process.kill()
    process.wait(LIMIT_S)
    assert "out.mp4" not in content()
