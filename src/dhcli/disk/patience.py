"""Calls to the cache's disk, which may never return: a network disk without its server, a FUSE whose program hangs.

The cache can be done without. So after one call that did not return in time no other one is made.

A process in which a thread waits for a hanging FUSE cannot end, not even by SIGKILL (fs/fuse/dev.c,
`request_wait_answer`). So a child process touches the disk first: most dead disks are dead from the start.
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
"""Shell code that enters a folder, opens a regular file in it, and reads."""

T = TypeVar("T")


class Ask(Protocol):
    """Makes a call to a disk and returns its result."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """Raises what the call raises, and OSError where it does not return in time."""


def at_once(call: Callable[[], T], /) -> T:
    """Make the call directly, for files in memory."""
    return call()


class Patience:
    """Makes calls, and waits for each as long as a working disk may take."""

    def __init__(self, folder: Path, limit_s: float = PATIENCE_S) -> None:
        """`folder` is on the disk; `limit_s` limits each call, s."""
        self._folder, self._limit_s = folder, limit_s
        self._on_disk = DiskCalls(limit_s)
        self._touched = self._lost = False

    def __call__(self, call: Callable[[], T], /) -> T:
        """The result of the call. Raises what the call raises; TimeoutError beyond the limit, and always after that."""
        if not self._touched:
            self._touched, self._lost = True, not _is_alive(self._folder, self._limit_s)
        try:
            if not self._lost:
                return self._on_disk(str(self._folder), call)
        except DhError as error:
            if error.code != "stalled":
                raise
        self._lost = True
        raise TimeoutError(f"the disk did not answer within {self._limit_s:g} s")


def _is_alive(folder: Path, limit_s: float) -> bool:
    """Whether a child process that touches the disk ends, whatever it finds there; it takes 2 ms."""
    argv = ["/bin/sh", "-c", TOUCH, "sh", str(folder)]
    nothing = subprocess.DEVNULL
    try:
        program = subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing, env={})
    except OSError:  # no shell, or no process to be had
        return True
    try:
        program.wait(limit_s)
    except subprocess.TimeoutExpired:
        program.kill()  # it ends when the disk is back, if ever; it is not waited for
        return False
    return True
