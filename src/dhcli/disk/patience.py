"""Calls to a disk that may never answer: a network disk without its server, a FUSE whose program hangs.

Nothing ends a thread that waits for such a disk. So each call is made in a thread that nobody has to wait for, and
what can be done without the disk goes on without it.

A process in which a thread waits for a hanging FUSE cannot end, not even by SIGKILL (fs/fuse/dev.c,
`request_wait_answer`). So it is another process that touches the disk first: most dead disks are dead from the start.
"""

from __future__ import annotations

import _thread
import queue
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

PATIENCE_S = 10.0
"""A disk that sleeps needs 5 to 10 s to start."""

TOUCH = 'cd -- "$1" && read -r line < CACHEDIR.TAG'
"""For a shell: it looks for a folder, opens a file in it, and reads."""

T = TypeVar("T")
_Answers: TypeAlias = "queue.SimpleQueue[tuple[Any, BaseException | None]]"


class Ask(Protocol):
    """Makes a call, and gives what it gives."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """Raises what the call raises, and OSError where it does not come back."""


def at_once(call: Callable[[], T], /) -> T:
    """Make the call here: what is in memory always answers."""
    return call()


class Patience:
    """Makes calls, and waits for each as long as a living disk may take; 0.1 ms is what that costs.

    A thread that is still blocked does not keep the process from ending: Python waits for none that `threading` does
    not know.
    """

    def __init__(self, folder: Path, limit_s: float = PATIENCE_S) -> None:
        """`folder` is on the disk; `limit_s` is for one call."""
        self._folder, self._limit_s = folder, limit_s
        self._touched = self._lost = False

    def __call__(self, call: Callable[[], T], /) -> T:
        """What the call gives. Raises what it raises, and OSError where no thread can be started.

        Raises TimeoutError where it takes longer than the limit, and from then on at once.
        """
        if not self._touched:
            self._touched, self._lost = True, not _comes_back(self._folder, self._limit_s)
        answers: _Answers = queue.SimpleQueue()
        try:
            if not self._lost:
                _thread.start_new_thread(_make, (call, answers))
            found, error = answers.get(timeout=0 if self._lost else self._limit_s)
        except queue.Empty:
            self._lost = True
            raise TimeoutError(f"the disk did not answer within {self._limit_s:g} s") from None
        except RuntimeError as refused:
            raise OSError(f"no thread can be started for it ({refused})") from refused
        if error is not None:
            raise error
        return found  # type: ignore[no-any-return]


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


def _make(call: Callable[[], Any], answers: _Answers) -> None:
    try:
        answers.put((call(), None))
    except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for the answer
        answers.put((None, error))
