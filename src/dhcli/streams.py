"""The three standard streams: open, tolerant of every text, and never the reason for a traceback.

It owns how text reaches a terminal, a log or a pipe that may be closed, full or ASCII only. It knows nothing of what is
said, and imports nothing heavy: a refusal is printed in the 0.1 s that reading the command line takes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO


class StdoutLostError(Exception):
    """Stdout did not take what was asked for."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def open_standard_streams() -> None:
    """Give every closed descriptor of 0 to 2 to the null device.

    Otherwise the next file that is opened becomes "stdout", and a library's message ends up in somebody's video. A
    closed stdout is opened for reading: writing to it must fail, so that lost events are noticed.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)  # the lowest free number, which is this one
            assert opened == number
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def flush_stdout() -> OSError | None:
    """Why stdout could not take what was written to it, or None; after a failure it is the null device.

    What failed stays in the buffer and would fail again, as exit code 120, when the interpreter ends.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_stdout()
        return error
    return None


def discard_stdout() -> None:
    """From now on stdout is the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def printable(text: str) -> str:
    """The text in one line, without anything that a terminal would obey: names and messages come from strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tolerant(stream: TextIO) -> TextIO:
    """The stream, set so that no file name and no locale can raise UnicodeEncodeError."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def say(lines: Iterable[str]) -> None:
    """Lines for people, on stderr. Where nobody can be told, nobody is: the exit code says it, too."""
    out = tolerant(sys.stderr)
    try:
        for line in lines:
            out.write(printable(line) + "\n")
        out.flush()
    except OSError:
        return


def answer(lines: Iterable[str]) -> None:
    """Lines that were asked for, on stdout. Raises StdoutLostError where it cannot take them."""
    out = tolerant(sys.stdout)
    try:
        for line in lines:
            out.write(printable(line) + "\n")
        out.flush()
    except OSError as error:
        raise StdoutLostError(error) from error
