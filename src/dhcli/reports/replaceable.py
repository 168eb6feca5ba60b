"""Which file a report may replace: an empty one or an earlier report of its kind. Any other file is somebody's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dhcli.disk.regular import FileStamp, open_regular
from dhcli.errors import DhError
from dhcli.reports import junit, metrics_file


@dataclass(frozen=True, slots=True)
class Kind:
    """A report that is written whole, over the one of the run before."""

    name: str
    flag: str
    most_bytes: int
    """What is looked at."""
    is_ours: Callable[[bytes], bool]
    """Whether a file that begins with these bytes was written by dh."""


JUNIT = Kind("JUnit file", "--junit", junit.HEAD_BYTES, junit.is_ours)
METRICS = Kind("metrics file", "--metrics-file", metrics_file.MAX_BYTES + 1, metrics_file.is_ours)


def replaceable(path: Path, kind: Kind) -> FileStamp | None:
    """The stamp of the file at `path`, which a report may replace; None where there is no regular file.

    Raises DhError output.exists where the file has to stay.
    """
    try:
        found = path.lstat()
    except OSError:  # nothing there, or no way to it: writing says which
        return None
    if not stat.S_ISREG(found.st_mode):  # writing refuses these
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
