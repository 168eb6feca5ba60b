"""The cache's calls to a disk that may never answer: a network disk without its server, a FUSE whose program hangs.

What can be done without the cache goes on without it: after one call that was not answered there are no others.

A process in which a thread waits for a hanging FUSE cannot end, not even by SIGKILL (fs/fuse/dev.c,
`request_wait_answer`). So another process touches the disk first: most dead disks are dead from the start.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from dhcli.errors import DhError
from dhcli.runtime.disk_calls import DiskCalls

PATIENCE_S = 10.0
"""A disk that sleeps needs 5 to 10 s to start."""

TOUCH = 'cd -- "$1" && [ ! -L CACHEDIR.TAG ] && [ -f CACHEDIR.TAG ] && read -r line < CACHEDIR.TAG'
"""For a shell: it looks for a folder, opens a regular file in it, and reads."""

T = TypeVar("T")


class Ask(Protocol):
    """Makes a call, and gives what it gives."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """Raises what the call raises, and OSError where it does not come back."""


def at_once(call: Callable[[], T], /) -> T:
    """Make the call here: what is in memory always answers."""
    return call()


class Patience:
    """Makes calls, and waits for each as long as a living disk may take."""

    def __init__(self, folder: Path, limit_s: float = PATIENCE_S) -> None:
        """`folder` is on the disk; `limit_s` is for one call."""
        self._folder, self._limit_s = folder, limit_s
        self._on_disk = DiskCalls(limit_s)
        self._touched = self._lost = False

    def __call__(self, call: Callable[[], T], /) -> T:
        """What the call gives. Raises what it raises; TimeoutError beyond the limit, and from then on at once."""
        if not self._touched:
            self._touched, self._lost = True, not _comes_back(self._folder, self._limit_s)
        try:
            if not self._lost:
                return self._on_disk(str(self._folder), call)
        except DhError as error:
            if error.code != "stalled":
                raise
        self._lost = True
        raise TimeoutError(f"the disk did not answer within {self._limit_s:g} s")


def _comes_back(folder: Path, limit_s: float) -> bool:
    """Whether a program that touches the disk comes back, whatever it finds there; it takes 2 ms."""
    argv = ["/bin/sh", "-c", TOUCH, "sh", str(folder)]
    nothing = subprocess.DEVNULL
    try:
        program = subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing, env={})
    except OSError:  # no shell, or no process to be had
        return True
    try:
        program.wait(limit_s)
    except subprocess.TimeoutExpired:
        program.kill()  # it ends when the disk comes back, if ever: nobody waits for it
        return False
    return True
