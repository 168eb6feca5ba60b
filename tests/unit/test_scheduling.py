"""The scheduling policy, as the system tells it: of this thread and of all that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no such policy")

BEGIN = """
import os, subprocess, sys, threading
from dhcli.runtime.scheduling import run_as_batch
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # whoever runs the tests may have another one
look = "import os; print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), flush=True)"
"""
TAKEN = """
run_as_batch()
exec(look)
thread = threading.Thread(target=exec, args=(look,))
thread.start()
thread.join()
subprocess.run([sys.executable, "-c", look], check=True)
"""


def lines_of(program: str, folder: Path | None = None) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_all_threads_and_programs_are_batch_and_nice_stays() -> None:
    nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)
    assert lines_of(BEGIN + "os.nice(7)\n" + TAKEN) == [f"{os.SCHED_BATCH} {nice}"] * 3


def test_another_policy_of_the_users_stays() -> None:
    ask = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
    assert {line.split()[0] for line in lines_of(BEGIN + ask + TAKEN)} == {str(os.SCHED_IDLE)}


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="the numbers of the calls")
@pytest.mark.parametrize("call", [144, 145])
def test_where_it_is_forbidden_all_goes_on(call: int, deny: str) -> None:
    assert lines_of(BEGIN + deny + f"deny({call})\nrun_as_batch()\nprint('on')") == ["on"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "--audio", "no.wav", "--video", "no.mp4", "--save-path", "out.mp4"),
        ("bench", "--audio", "no.wav", "--video", "no.mp4"),
    ],
)
def test_verbs_that_work_long_are_batch(arguments: Sequence[str], tmp_path: Path) -> None:
    program = (
        "import os; from dhcli.cli import app; from dhcli.command.entry import run\n"
        f"run(app, {list(arguments)!r})\n"
        "print(os.sched_getscheduler(0))"
    )
    assert lines_of(program, tmp_path)[-1] == str(os.SCHED_BATCH)
