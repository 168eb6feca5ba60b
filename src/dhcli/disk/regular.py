"""Opening regular files only: a name may lead to a FIFO, which blocks, or to a device without an end."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NOT_REGULAR = "not a regular file"


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Identity, size and times of a file: any write changes its stamp."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    """Time of the last change of content, owner, rights, name or links; no program can set it back."""

    @classmethod
    def of(cls, file: int | Path) -> Self:
        """The stamp of an open file, or of what stands at a path, links not followed. Raises OSError."""
        return cls.of_stat(os.fstat(file) if isinstance(file, int) else os.lstat(file))

    @classmethod
    def of_stat(cls, status: os.stat_result) -> Self:
        """The stamp in the result of a stat call."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def same_content(self, other: FileStamp | None) -> bool:
        """Whether `other` is the same file without a write in between; a rename, a link or a chmod does not count."""
        mine = (self.device, self.inode, self.size, self.mtime_ns)
        return other is not None and mine == (other.device, other.inode, other.size, other.mtime_ns)


def open_regular(path: Path | str, *, follow: bool = True, within: int | None = None) -> int:
    """A descriptor for reading a regular file; the caller closes it.

    `follow`: follow a link at `path`. `within`: the descriptor of the folder that a relative path begins in. Raises
    OSError, also for anything else than a regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags, dir_fd=within)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENODEV}:  # a socket, or a device that is not there
            raise OSError(errno.EINVAL, NOT_REGULAR) from error
        raise
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, NOT_REGULAR)


def read_regular(path: Path, most: int, what: str) -> bytes:
    """The content of a regular file. Raises OSError as `open_regular` does, and for more than `most` bytes.

    `what` names the kind of file in that error.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"{size} bytes, no {what} is so large")
        return file.read()
