"""Handles signals before anything heavy is imported: loading dh takes 0.1 to 0.5 s, and signals must end it meanwhile.

It imports only what Python has loaded at its start, or what takes less than a millisecond.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def take_signals() -> None:
    """Let INT, TERM and HUP end the process with 128+N until a run takes them. What is ignored (nohup) stays ignored.

    Python itself would print a traceback for INT, and give no exit code for the others. Signals that a careless parent
    process has blocked are unblocked.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_now)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def end_now(number: int, _: FrameType | None) -> None:
    """The handler. It raises no exception, since an import or a library could catch that."""
    os._exit(128 + number)
