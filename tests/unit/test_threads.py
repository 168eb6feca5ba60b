"""Threads that are there, and those that are not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dhcli.runtime import threads
from dhcli.runtime.threads import BLAS_THREADS

COUNT = f"""
import os
import typer
from dhcli.command.entry import run

app = typer.Typer()

@app.command()
def verb() -> None:
    import cv2, numpy
    print(len(os.listdir("/proc/self/task")), os.environ.get("{BLAS_THREADS}"))

run(app, [])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
@pytest.mark.skipif(threads.cores() < 2, reason="OpenBLAS has one thread there anyway")
@pytest.mark.parametrize("chosen", [None, "2"])
def test_a_verb_has_no_threads_of_openblas_but_those_that_the_user_chose(chosen: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != BLAS_THREADS}
    if chosen is not None:
        environment[BLAS_THREADS] = chosen
    done = subprocess.run([sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True)
    count, said = done.stdout.split()
    assert said == str(chosen), "what the command of --on-finish gets"
    assert int(count) == 1 if chosen is None else int(count) > 1


def test_where_the_system_does_not_tell_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> set[int]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", refuse, raising=False)
    assert threads.cores() == os.cpu_count()
