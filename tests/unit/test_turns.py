"""Turns on the cores, as the system sees them: for this thread and for all that it starts."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dhcli.runtime.turns import SCHED_SETATTR, TURN_NS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no such policy")

PROGRAM = '''
import os, subprocess, sys, threading
from dhcli.runtime.turns import take_long_turns

LOOK = """
for line in open('/proc/thread-self/sched'):
    if line.startswith(('policy', 'se.slice')):
        print(line.split()[-1], end=' ')
print()
"""

{first}
take_long_turns()
print(os.getpriority(os.PRIO_PROCESS, 0))
exec(LOOK)
thread = threading.Thread(target=exec, args=(LOOK,))
thread.start()
thread.join()
sys.stdout.flush()
subprocess.run([sys.executable, "-c", LOOK], check=True)
'''


def found(first: str = "") -> list[str]:
    """Nice, then policy and length of a turn, ns, of the main thread, another thread and another program."""
    program = PROGRAM.format(first=first)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def length() -> int:
    """Of a turn, ns, that the system grants to who asks."""
    looks = Path("/proc/self/sched")
    if not looks.exists() or "se.slice" not in looks.read_text():
        pytest.skip("the system does not tell the length of a turn")
    version = tuple(int(part) for part in platform.release().split(".")[:2])
    if version >= (6, 12) and platform.machine() in SCHED_SETATTR:
        return TURN_NS
    return int(looks.read_text().split("se.slice")[1].split()[1])


def test_all_threads_and_programs_take_long_turns(length: int) -> None:
    assert found() == ["0", *[f"3 {length} "] * 3]


def test_nice_stays(length: int) -> None:
    assert found("os.nice(7)") == ["7", *[f"3 {length} "] * 3]


@pytest.mark.usefixtures("length")
def test_what_the_user_chose_stays() -> None:
    nice, *policies = found("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))")
    assert [nice, *(line.split()[0] for line in policies)] == ["0", "5", "5", "5"]


def test_a_run_takes_them(tmp_path: Path) -> None:
    program = (
        "import os; from dhcli.cli import app; from dhcli.command.entry import run; "
        "code = run(app, ['render', '--audio', 'no.wav', '--video', 'no.mp4', '--save-path', 'out.mp4']); "
        "print(code, os.sched_getscheduler(0))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 3", done.stderr
