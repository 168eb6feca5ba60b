"""Turns on the cores, as the system sees them: for this thread and for all that it starts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dhcli.runtime.turns import SCHED_SETATTR

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no such policy")

BEGIN = """
import ctypes, os, struct, sys

def ask(policy, length):
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack("=IIQiIQQQ", 48, policy, 0, nice, 0, length, 0, 0)
    return ctypes.CDLL(None).syscall({number}, 0, attributes, 0)

look = '''
for line in open("/proc/thread-self/sched"):
    if line.startswith(("policy", "se.slice")):
        print(line.split()[-1], end=" ")
print(flush=True)
'''
ask(os.SCHED_OTHER, 0)  # whoever runs the tests may have taken long turns already
"""
TAKEN = """
import subprocess, threading
from dhcli.runtime.turns import take_long_turns

take_long_turns()
print(os.getpriority(os.PRIO_PROCESS, 0))
exec(look)
thread = threading.Thread(target=exec, args=(look,))
thread.start()
thread.join()
subprocess.run([sys.executable, "-c", look], check=True)
"""


def lines_of(program: str, folder: Path | None = None) -> list[str]:
    begin = BEGIN.replace("{number}", str(SCHED_SETATTR[platform.machine()]))
    command = [sys.executable, "-c", begin + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def granted() -> str:
    """Policy and length of a turn, ns, that the system grants to a batch program that asks for 10 ms."""
    if platform.machine() not in SCHED_SETATTR or not Path("/proc/thread-self/sched").exists():
        pytest.skip("the system does not tell")
    refused, *found = lines_of("print(ask(os.SCHED_BATCH, 10_000_000))\nexec(look)")
    if refused != "0":
        pytest.skip("the system forbids it")
    return found[0]


def test_all_threads_and_programs_take_long_turns(granted: str) -> None:
    assert granted.startswith("3 ")
    assert lines_of(TAKEN) == [str(os.getpriority(os.PRIO_PROCESS, 0)), granted, granted, granted]


def test_nice_stays(granted: str) -> None:
    nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)
    assert lines_of("os.nice(7)\n" + TAKEN) == [str(nice), granted, granted, granted]


def test_a_batch_program_takes_longer_turns(granted: str) -> None:
    assert lines_of("ask(os.SCHED_BATCH, 0)\n" + TAKEN)[1:] == [granted] * 3


@pytest.mark.usefixtures("granted")
def test_another_policy_of_the_users_stays() -> None:
    _, *looks = lines_of("ask(os.SCHED_IDLE, 0)\n" + TAKEN)
    assert [look.split()[0] for look in looks] == ["5"] * 3


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of the calls")
@pytest.mark.parametrize(("calls", "policy"), [((145,), "0"), ((314,), "3"), ((144, 314), "0")])
def test_where_it_is_forbidden_all_goes_on(calls: Sequence[int], policy: str, granted: str, deny: str) -> None:
    _, *looks = lines_of(deny + "".join(f"deny({call})\n" for call in calls) + TAKEN)
    assert [look.split()[0] for look in looks] == [policy] * 3
    assert granted not in looks


@pytest.mark.usefixtures("granted")
@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "--audio", "no.wav", "--video", "no.mp4", "--save-path", "out.mp4"),
        ("bench", "--audio", "no.wav", "--video", "no.mp4"),
    ],
)
def test_verbs_that_work_long_take_them(arguments: Sequence[str], tmp_path: Path) -> None:
    program = (
        "from dhcli.cli import app; from dhcli.command.entry import run\n"
        f"run(app, {list(arguments)!r})\n"
        "print(os.sched_getscheduler(0))"
    )
    assert lines_of(program, tmp_path)[-1] == "3"
