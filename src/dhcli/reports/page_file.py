"""`--report` and `--preview`: pictures of the run for people. What makes them is in a room above and is handed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dhcli.events import JobFinished
from dhcli.runtime.disk_calls import OnStep

HEAD = '<!doctype html>\n<html lang="en" data-made-by="dh report">'
"""The beginning of every page: it identifies one."""
HEAD_BYTES = 256


class PageMaker(Protocol):
    """What makes the page of a run."""

    def __call__(self, finished: Sequence[JobFinished], notes: Sequence[str], on_step: OnStep) -> str:
        """The HTML of the jobs that have ended, with lines about the rest. `on_step` is called while files are read."""

    def cancel(self) -> None:
        """End with what is there, since the run must end. From any thread."""


class SheetMaker(Protocol):
    """What writes the contact sheet of an output."""

    def __call__(self, event: JobFinished, on_step: OnStep) -> None:
        """Write the sheet of a job that ended with an output. Raises DhError."""

    def cancel(self) -> None:
        """Write no more. From any thread."""


def is_ours(content: bytes) -> bool:
    """Whether a file that begins with these bytes is a page of dh."""
    return content.startswith(HEAD.encode())
