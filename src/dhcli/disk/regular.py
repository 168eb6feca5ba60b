"""Files that have an end: under a name that anybody may have given to a FIFO, a device or a link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_regular(path: Path, *, follow: bool = True) -> int:
    """A descriptor to read the file with; whoever asks closes it.

    `follow`: a link leads to it. Raises OSError, also for what is no file: a FIFO would wait for its writer for ever,
    and /dev/zero has no end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "not a regular file")


def read_regular(path: Path, most: int, what: str, *, follow: bool = True) -> bytes:
    """What is in the file. Raises OSError as `open_regular` does, and above `most` bytes, which no `what` has."""
    with os.fdopen(open_regular(path, follow=follow), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"{size} bytes, no {what} is so large")
        return file.read()
