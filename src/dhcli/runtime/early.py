"""Signals before anything heavy is imported. Loading dh takes 0.1 to 0.5 s, and a signal in that time must end it, too.

Imports nothing that is not loaded at Python's start or takes longer than a millisecond.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def take_signals() -> None:
    """Let INT, TERM and HUP end the process with 128+N until a run takes them. What is ignored (nohup) stays ignored.

    Python's own way is a traceback for INT and no exit code for the others. Signals that a careless parent has blocked
    are heard again.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_now)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def end_now(number: int, _: FrameType | None) -> None:
    """The handler: no exception, which an import or a library could catch."""
    os._exit(128 + number)
