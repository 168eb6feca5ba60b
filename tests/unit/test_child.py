from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import pytest

from dhcli.errors import DhError
from dhcli.runtime import child as child_module
from dhcli.runtime.child import Child, Command, exit_text

pytestmark = pytest.mark.usefixtures("no_thread_left")


def _python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


Start = Callable[..., Child]


@pytest.fixture
def floods() -> queue.SimpleQueue[DhError]:
    return queue.SimpleQueue()


@pytest.fixture
def start(floods: queue.SimpleQueue[DhError]) -> Iterator[Start]:
    """Starts children that end with the test."""
    started: list[Child] = []

    def start(name: str, argv: Sequence[str], **options: Any) -> Child:
        started.append(Child(name, Command(argv, **options), on_flood=floods.put))
        return started[-1]

    yield start
    for child in started:
        child.close()


def test_output_and_exit_code_arrive(start: Start) -> None:
    child = start("decoder", ["sh", "-c", "echo frame; echo oops >&2; exit 3"])
    assert child.stdout.read() == b"frame\n"
    assert child.wait() == 3
    assert child.tail() == ["oops"]


def test_input_is_fed(start: Start) -> None:
    child = start("encoder", ["sh", "-c", 'read line; test "$line" = frame'], takes_input=True)
    child.stdin.write(b"frame\n")
    assert child.wait() == 0


def test_child_is_not_in_our_process_group(start: Start) -> None:
    child = start("decoder", ["cat"], takes_input=True)
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_wait_with_a_limit_comes_back(start: Start) -> None:
    child = start("encoder", ["cat"], takes_input=True)
    assert child.wait(0.01) is None
    child.kill()
    assert child.wait() == -signal.SIGKILL


def test_kill_ends_the_grandchild_too(start: Start) -> None:
    child = start("decoder", ["sh", "-c", "sleep 100 & echo $!; wait"])
    grandchild = int(child.stdout.readline())
    assert os.getpgid(grandchild) == os.getpgid(child.pid)
    child.kill()
    assert child.stdout.read() == b"", "the grandchild held the pipe; only its death ends it"
    assert child.wait() == -signal.SIGKILL


def test_kill_frees_a_reader_and_ends_what_ignores_sigterm(start: Start) -> None:
    program = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    child = start("decoder", _python(program))
    assert child.stdout.readline() == b"\n"
    os.kill(child.pid, signal.SIGTERM)
    child.kill()
    assert child.stdout.read() == b""
    assert child.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_close_ends_a_grandchild_whose_parent_is_gone(start: Start) -> None:
    child = start("decoder", ["sh", "-c", "sleep 100 & echo started"])
    assert child.stdout.readline() == b"started\n"
    assert child.wait() == 0
    assert child.close()
    assert not child._pump.is_alive(), "the grandchild held stderr"


def test_nothing_outlives_a_killed_parent() -> None:
    program = """
import os, sys, threading
from dhcli.runtime.child import Child, Command
started = []
def start(): started.append(Child("x", Command(["sh", "-c", "trap '' TERM; sleep 100 & wait"]), on_flood=print))
thread = threading.Thread(target=start); thread.start(); thread.join()
print(os.getpgid(started[0].pid), flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    os.killpg(group, 0)
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    until = time.monotonic() + 20
    while any(_group(process) == group for process in psutil.process_iter()) and time.monotonic() < until:
        time.sleep(0.02)
    assert [process.cmdline() for process in psutil.process_iter() if _group(process) == group] == []


def _group(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getpgid(process.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


def test_close_twice_and_kill_afterwards_are_harmless(start: Start) -> None:
    child = start("decoder", ["cat"], takes_input=True)
    child.close()
    child.close()
    child.kill()
    assert child.stdin.closed


def test_only_the_last_lines_of_stderr_are_kept(start: Start) -> None:
    child = start("decoder", _python("import sys; sys.stderr.write(''.join(f'line {i}\\n' for i in range(5000)))"))
    assert child.wait() == 0
    assert child.tail(2) == ["line 4998", "line 4999"]
    assert len(child.tail(10**6)) == child_module.STDERR_LINES


def test_number_of_lines_to_keep_can_be_chosen(start: Start) -> None:
    child = start("probe", ["sh", "-c", "printf '1\n2\n3\n' >&2"], keep_lines=2)
    assert child.wait() == 0
    assert child.tail() == ["2", "3"]


def test_stderr_without_line_ends_and_without_utf8_is_kept_short(start: Start) -> None:
    child = start("decoder", _python("import os; os.write(2, b'\\xff' + b'x' * 20_000 + b'\\ntail')"))
    assert child.wait() == 0
    assert child.tail()[-1] == "tail"
    assert all(len(line) <= child_module.LINE_BYTES + 3 for line in child.tail())


@pytest.mark.parametrize(("takes_input", "code"), [(False, "decode.failed"), (True, "encode.failed")])
def test_flood_is_reported_once_and_does_not_block(
    start: Start, floods: queue.SimpleQueue[DhError], monkeypatch: pytest.MonkeyPatch, takes_input: bool, code: str
) -> None:
    monkeypatch.setattr(child_module, "STDERR_BYTES", 1 << 20)
    monkeypatch.setattr(child_module, "STDERR_RATE", 1)
    child = start(
        "ffmpeg",
        _python("import os\nfor _ in range(40): os.write(2, b'no frame!\\n' * 10_000)"),
        takes_input=takes_input,
    )
    assert child.wait() == 0
    assert floods.get_nowait().code == code
    assert floods.empty()


def test_a_warning_a_frame_is_no_flood_however_long_it_goes_on() -> None:
    limit = child_module.RateLimit(now=0)
    assert all(limit.allows(300, now=frame / 1000) for frame in range(1_000_000)), "300 MB in 1000 s"


def test_a_flood_after_an_hour_of_silence_is_one() -> None:
    limit = child_module.RateLimit(now=0)
    fitting = [limit.allows(1 << 20, now=3600 + block / 20) for block in range(100)]
    assert fitting[:4] == [True] * 4
    assert not any(fitting[5:]), "20 MiB/s"


def test_program_that_is_not_there(start: Start) -> None:
    with pytest.raises(FileNotFoundError):
        start("decoder", ["/no/such/ffmpeg"])


@pytest.mark.parametrize(
    ("code", "text"),
    [(None, "still running"), (0, "exit code 0"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")],
)
def test_exit_in_words(code: int | None, text: str) -> None:
    assert exit_text(code) == text
