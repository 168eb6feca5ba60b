"""Which file a report may replace: an empty one or an earlier report of its kind. Every other file is kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dhcli.disk.regular import FileStamp, open_regular
from dhcli.errors import DhError
from dhcli.reports import junit, metrics_file, page_file
from dhcli.sheets import mark


@dataclass(frozen=True, slots=True)
class Kind:
    """A report that replaces the one of the earlier run."""

    name: str
    flag: str
    most_bytes: int
    """How much of a file `is_ours` needs."""
    is_ours: Callable[[bytes], bool]
    """Whether a file that begins with these bytes was written by dh."""


JUNIT = Kind("JUnit file", "--junit", junit.HEAD_BYTES, junit.is_ours)
PAGE = Kind("page", "--report", page_file.HEAD_BYTES, page_file.is_ours)
SHEET = Kind("contact sheet", "--preview", mark.HEAD_BYTES, mark.is_ours)
METRICS = Kind("metrics file", "--metrics-file", metrics_file.MAX_BYTES + 1, metrics_file.is_ours)


def replaceable(path: Path, kind: Kind) -> FileStamp | None:
    """The stamp of the file at `path`; None if there is no regular file.

    Raises DhError output.exists if dh did not write the file, so that a report must not replace it.
    """
    try:
        found = path.lstat()
    except OSError:  # no file, or no way to it; in the second case the write fails and gives the reason
        return None
    if not stat.S_ISREG(found.st_mode):  # a folder, pipe or link, which the write refuses
        return None
    if found.st_size:
        _refuse_foreign(path, kind)
    return FileStamp.of_stat(found)


def _refuse_foreign(path: Path, kind: Kind) -> None:
    try:
        with os.fdopen(open_regular(path, follow=False), "rb") as file:
            ours = kind.is_ours(file.read(kind.most_bytes))
        why = f"is no {kind.name} of dh"
    except OSError as error:
        ours, why = False, f"cannot be read ({error.strerror}), so that nothing says whether dh wrote it"
    if not ours:
        raise DhError(
            "output.exists",
            f"{kind.flag} would replace {path}, which {why}.",
            hint="Name another file, or remove this one.",
        )
