"""Files that have an end: under a name that anybody may have given to a FIFO, a device or a link."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Which file it is, and when it changed last: another file, or another content, has another stamp.

    `touch` sets `mtime_ns` to any time. `ctime_ns` is set by the kernel alone, but a `chmod`, a new hard link and a
    rename move it, too.
    """

    device: int
    inode: int
    bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, file: int | Path, *, folder: int | None = None) -> Self:
        """The stamp of an open file, or of what a path names; a link counts as itself.

        `folder`, an open one, is where to look the name up. Raises OSError.
        """
        if isinstance(file, int):
            found = os.fstat(file)
        else:
            found = os.stat(file if folder is None else file.name, dir_fd=folder, follow_symlinks=False)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def but_for_ctime(self, other: FileStamp) -> bool:
        """Whether the two differ in nothing but the time that `chmod`, links and renames move."""
        return replace(self, ctime_ns=other.ctime_ns) == other


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
