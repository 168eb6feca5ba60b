"""Work of one call that a signal ends: a scope of its own, which the first signal fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dhcli.errors import DhError
from dhcli.runtime.scope import Scope, Stopped
from dhcli.runtime.signals import StopSignals


class SignalledError(Exception):
    """A signal ended the work."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@contextlib.contextmanager
def interruptible(stage: str, what: str) -> Iterator[Scope]:
    """The scope of the block. `what` says what ends, as "the measurement".

    Raises SignalledError after a signal, and the scope's own error where that ended the block.
    """
    cancelled = DhError("job.cancelled", f"A signal ended {what}.")
    with Scope() as scope, StopSignals(lambda _: scope.fail(cancelled, stage), lambda _: None) as signals:
        try:
            yield scope
        except Stopped:
            if signals.number is None and scope.error is not None:
                raise scope.error from None
            raise SignalledError(128 + (signals.number or 0)) from None
