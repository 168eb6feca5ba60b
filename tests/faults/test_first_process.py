"""dh as process 1 of a container, and signals while dh is still being loaded."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from called import may_run

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]
Fake = Callable[..., Path]
Until = Callable[..., bool]

LIMIT_S = 60.0
FIRST = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
"""In a process namespace of its own, as in a container, with or without the rights of root."""


CONTAINER = pytest.mark.skipif(not may_run(*FIRST, "true"), reason="no process namespace can be made here")
SLOW = """
import pathlib, time
pathlib.Path("{now}").touch()
while not pathlib.Path("{go}").exists(): time.sleep(0.01)
"""


@pytest.fixture
def slow_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make the import of a library that dh needs wait for ever; the file that it makes when it begins."""

    def make(library: str) -> Path:
        folder = tmp_path / "slow"
        folder.mkdir()
        now = tmp_path / "importing.now"
        (folder / f"{library}.py").write_text(SLOW.format(now=now, go=tmp_path / "never"))
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return now

    return make


@pytest.fixture
def start(tmp_path: Path, started: list[subprocess.Popen[str]]) -> Start:
    """Start dh by its entry in the folder of the test, `under` another program."""

    def run(*arguments: object, under: Sequence[str] = (), script: bool = False) -> subprocess.Popen[str]:
        dh = [str(Path(sys.executable).parent / "dh")] if script else [sys.executable, "-m", "dhcli"]
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        started.append(subprocess.Popen([*under, *dh, *map(str, arguments)], text=True, cwd=tmp_path, **how))
        return started[-1]

    return run


def first_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Process 1 of the namespace that `process` has made."""
    (first,) = psutil.Process(process.pid).children()
    return first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("library", ["typer", "numpy"])
def test_a_signal_while_dh_is_loaded(
    start: Start, slow_import: Callable[[str], Path], until: Until, number: signal.Signals, library: str
) -> None:
    """Before the command line is read, and after it; no traceback, no death by the signal, nothing done."""
    now = slow_import(library)
    process = start("render", "--audio", "a.wav", "--video", "v.mp4", "--save-path", "o.mp4")
    assert until(now.exists)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + number
    assert stderr in {"", "dh: interrupted; nothing was done\n"}


def test_the_installed_command_takes_signals_as_early(
    start: Start, slow_import: Callable[[str], Path], until: Until
) -> None:
    now = slow_import("typer")
    process = start("--help", script=True)
    assert until(now.exists)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=LIMIT_S) == ("", "")
    assert process.returncode == 143


@CONTAINER
@pytest.mark.parametrize("library", ["typer", "numpy"])
def test_a_signal_to_process_1_while_it_is_loaded(
    start: Start, slow_import: Callable[[str], Path], until: Until, library: str
) -> None:
    """The kernel drops what process 1 has no handler for."""
    now = slow_import(library)
    process = start("render", "--audio", "a.wav", "--video", "v.mp4", "--save-path", "o.mp4", under=FIRST)
    assert until(now.exists)
    first_of(process).terminate()
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, stderr) == (143, "")


def test_a_blocked_signal_is_heard(start: Start, slow_import: Callable[[str], Path], until: Until) -> None:
    """What a parent has blocked is inherited, too; many do so by mistake."""
    now = slow_import("typer")
    block = f"import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{signal.SIGTERM:d}]); "
    process = start("--help", under=[sys.executable, "-c", block + "os.execv(sys.argv[1], sys.argv[1:])"])
    assert until(now.exists)
    process.terminate()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_in_a_native_call_before_a_run(
    start: Start, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Python hears no signal while a library computes; opening a device may take minutes."""
    now = tmp_path / "native.now"
    (tmp_path / "numpy.py").write_text(
        f"import pathlib, re\npathlib.Path({str(now)!r}).touch()\nre.match('(a|a)*$', 'a' * 200 + 'b')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    process = start("doctor")
    assert until(now.exists)
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + number


ORPHANS = """
for _ in range(9):
    if os.fork() == 0:
        os.fork() or os._exit(0)
        os._exit(0)
    os.wait()
stuck()
"""
"""Each grandchild is left alone and ends: process 1 inherits it."""


@pytest.fixture
def job(words: Path, clip: Path) -> list[str]:
    return ["render", "--audio", str(words), "--video", str(clip), "--save-path", "out.mp4", "--device", "cpu"]


@CONTAINER
def test_process_1_reaps_orphans_and_hands_signals_on(
    start: Start, job: list[str], fake_ffmpeg: Fake, until: Until, tmp_path: Path
) -> None:
    mark = fake_ffmpeg("decode", ORPHANS.strip(), 2)
    process = start(*job, under=FIRST)
    assert until(lambda: Path(f"{mark}.now").exists())
    first = first_of(process)

    def zombies() -> list[int]:
        found = []
        for child in first.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child.pid] if child.status() == psutil.STATUS_ZOMBIE else []
        return found

    assert until(lambda: not zombies(), 10), f"{len(zombies())} are left"
    first.terminate()
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143, stderr
    assert stderr.splitlines()[-1].startswith("1 job: 1 cancelled")
    assert sorted(path.name for path in tmp_path.glob("*out.mp4*")) == ["out.mp4.json"]


@CONTAINER
@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["render"], 2), (["--nonsense"], 2)])
def test_process_1_ends_as_dh_ends(start: Start, arguments: list[str], code: int) -> None:
    process = start(*arguments, under=FIRST)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == code


@CONTAINER
def test_process_1_renders_and_keeps_the_exit_codes_of_its_children(
    start: Start, job: list[str], tmp_path: Path
) -> None:
    process = start(*job, "--on-finish", "sh -c 'setsid true & exit 3'", under=FIRST)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, stderr
    assert "it ended with exit code 3" in stderr
    assert (tmp_path / "out.mp4").stat().st_size > 0


@CONTAINER
def test_process_1_whose_dh_is_killed_says_so(
    start: Start, job: list[str], fake_ffmpeg: Fake, until: Until, tmp_path: Path
) -> None:
    mark = fake_ffmpeg("decode", "stuck()", 2)
    process = start(*job, under=FIRST)
    assert until(lambda: Path(f"{mark}.now").exists())
    (child,) = first_of(process).children()
    child.kill()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + signal.SIGKILL
    assert not (tmp_path / "out.mp4").exists()
