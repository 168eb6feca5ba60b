"""A command that runs alone, and what it used. It knows neither jobs nor frames."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from typing import IO

from dhcli.bench.meter import Spent, children_cpu_s
from dhcli.errors import DhError
from dhcli.runtime.child import exit_text


def run_alone(
    argv: Sequence[str],
    trouble: str,
    code: str,
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> Spent:
    """Run ffmpeg to its end, its output thrown away. Raises DhError `code`, with `trouble`, where it fails."""
    wall, cpu = time.monotonic(), children_cpu_s()
    done = subprocess.run(
        argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, pass_fds=tuple(pass_fds)
    )
    if done.returncode:
        raise DhError(
            code,
            f"{trouble}: ffmpeg ended with {exit_text(done.returncode)}.",
            hint="Measure again; `dh check` and `dh doctor` may say more.",
            stderr_tail=done.stderr.decode("utf-8", "backslashreplace").splitlines()[-20:],
        )
    return Spent(children_cpu_s() - cpu, time.monotonic() - wall)
