"""Scratch files: large data that one job needs for a while, in files without a name beside its output.

They lie on the output's disk, because the folder for temporary files is memory on many machines. The kernel frees a
file without a name when it is closed, also after a kill.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dhcli.disk.part import FULL, part_path, translated, write_all

NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""Errors of O_TMPFILE from file systems (NFS) and kernels that have no files without a name."""
NOT_RESERVED = FULL | {errno.EOPNOTSUPP}
"""Errors after which a file has no reserved space; EOPNOTSUPP: the file system cannot reserve any."""


def scratch_path(save_path: Path) -> Path:
    """The name that a scratch file has for a moment, where the file system has no files without a name."""
    path = part_path(save_path)
    return path.with_name(f"{path.name}-scratch")


class ScratchFile:
    """An open file without a name. It goes with the object, too: nobody closes what a family heard of a speech."""

    fd = -1

    def __init__(self, save_path: Path, content: str) -> None:
        """`content` names the data in error messages. Raises DhError output.disk_full, output.not_writable."""
        self._save_path, self._content = save_path, content
        with translated(save_path, "have scratch data beside it"):
            self.fd = _open(save_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which frees its space on the disk. A second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def write(self, data: bytes | bytearray | memoryview, at: int) -> None:
        """Write all of `data` at byte `at`. Raises DhError output.disk_full, output.not_writable."""
        with translated(self._save_path, f"have {self._content} beside it"):
            write_all(self.fd, data, at)

    def read_into(self, buffer: memoryview, at: int) -> None:
        """Fill `buffer` from byte `at` on. Raises DhError output.not_writable, also where the file ends before that."""
        with translated(self._save_path, f"have {self._content} read back"):
            done = os.preadv(self.fd, [buffer], at)
            if done != buffer.nbytes:
                raise OSError(errno.EIO, f"{done} of {buffer.nbytes} bytes came")


@dataclass(frozen=True, slots=True)
class Scratch:
    """Opens scratch files beside one output. Only for the holder of the output's lock."""

    save_path: Path
    """The output."""
    keep_free_bytes: int = 0
    """Free space that scratch data has to leave on the disk."""

    def open(self, content: str) -> ScratchFile:
        """A new, empty file for reading and writing; `content` names its data in error messages.

        Raises DhError output.disk_full, output.not_writable.
        """
        return ScratchFile(self.save_path, content)

    def open_reserved(self, content: str, size: int) -> ScratchFile | None:
        """The same with `size` bytes reserved on the disk; None where disk, quota or file system refuse them.

        Raises DhError output.not_writable.
        """
        file = self.open(content)
        with translated(self.save_path, f"have {content} beside it"):
            try:
                os.posix_fallocate(file.fd, 0, size)
            except OSError as error:
                file.close()
                if error.errno not in NOT_RESERVED:
                    raise
                return None
        return file

    @property
    def free_bytes(self) -> int:
        """Space that scratch data may take now; 0 where the folder cannot be asked."""
        try:
            free = shutil.disk_usage(self.save_path.parent).free
        except OSError:  # the job soon fails for the same reason, with its own message
            return 0
        return max(0, free - self.keep_free_bytes)


def _open(save_path: Path) -> int:
    """A descriptor of a new file without a name. Raises OSError."""
    flags = os.O_RDWR | os.O_CLOEXEC
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(save_path.parent, flags | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in NO_TMPFILE:
                raise
    path = scratch_path(save_path)
    path.unlink(missing_ok=True)  # a run was killed between the next two calls
    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    path.unlink()
    return fd
