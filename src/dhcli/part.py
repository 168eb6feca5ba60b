"""What is written beside the output: the part file, renamed over it in one step when it is whole, and scratch data."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from dhcli.errors import DhError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where a disk, a quota or a limit is full."""

NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What file systems (NFS) and kernels that know no files without a name say to O_TMPFILE."""


def part_path(save_path: Path) -> Path:
    """Where the part of `save_path` lies: the same folder, hidden, short enough for any file system's 255 bytes."""
    name = os.fsencode(save_path.name)
    digest = hashlib.sha256(name).hexdigest()[:8]
    readable = name[:40].decode("utf-8", "ignore")
    return save_path.parent / f".{readable}.{digest}.dh-part"


def open_scratch(save_path: Path) -> int:
    """A descriptor of a new file beside `save_path` that has no name and is gone when closed. Under the output's lock.

    Not in the folder for temporary files, which is memory on many machines. Raises DhError output.not_writable and
    output.disk_full.
    """
    flags = os.O_RDWR | os.O_CLOEXEC
    with translated(save_path, "have scratch data beside it"):
        if hasattr(os, "O_TMPFILE"):
            try:
                return os.open(save_path.parent, flags | os.O_TMPFILE, 0o600)
            except OSError as error:
                if error.errno not in NO_TMPFILE:
                    raise
        path = part_path(save_path)
        path = path.with_name(f"{path.name}-scratch")
        path.unlink(missing_ok=True)  # a run was killed between the next two calls
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        path.unlink()
        return fd


class PartFile:
    """A new, open file that becomes `save_path` by `commit` and vanishes otherwise. Only under the output's lock."""

    def __init__(self, save_path: Path) -> None:
        """Raises DhError output.not_writable, output.disk_full."""
        self.save_path = save_path
        self.path = part_path(save_path)
        _refuse_special(save_path)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        with translated(save_path, "be written"):
            self.path.unlink(missing_ok=True)  # left by a killed run: the lock says that nobody writes it now
            self.fd = os.open(self.path, flags, 0o666)  # the umask decides, as for any other file
        self._committed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)
        if not self._committed:
            with contextlib.suppress(OSError):  # the error that brought us here is the one to report
                self.path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append; a full disk may take a part of it without an error at first. Raises DhError output.*."""
        left = memoryview(data)
        with translated(self.save_path, "be written"):
            while left:
                left = left[os.write(self.fd, left) :]

    def flush(self) -> None:
        """Everything written so far is on the disk afterwards. Raises DhError output.*; `commit` does it, too."""
        with translated(self.save_path, "be flushed to the disk"):
            os.fsync(self.fd)

    @property
    def committed(self) -> bool:
        """The file is at `save_path` now, under no other name."""
        return self._committed

    def commit(self) -> None:
        """Flush to the disk, then rename. The old file, if any, stays whole until this moment."""
        self.flush()
        with translated(self.save_path, "be put in place"), _folder(self.save_path.parent) as folder:
            self.path.replace(self.save_path)
            self._committed = True
            _sync(folder)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """The folder, open before anything is renamed in it: afterwards it is too late to fail for lack of descriptors."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync(folder: int) -> None:
    """Make a rename in `folder` survive a power cut. Network file systems that cannot (EINVAL) are tolerated."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def _refuse_special(save_path: Path) -> None:
    try:
        mode = save_path.lstat().st_mode
    except OSError:  # nothing there yet, or no way to it: opening the part says which
        return
    if stat.S_ISREG(mode):
        return
    # A rename would replace the link and leave the file that it points to as it was.
    found = "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"
    raise DhError(
        "output.not_writable",
        f"{save_path} is {found}.",
        hint="Name a file, or remove what is there.",
        stage="output",
    )


@contextlib.contextmanager
def translated(save_path: Path, what: str) -> Iterator[None]:
    """Errors of the system on the way to `save_path` as DhError output.not_writable or output.disk_full."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL
        raise DhError(
            "output.disk_full" if full else "output.not_writable",
            f"{save_path} cannot {what}: {error.strerror}.",
            hint="Make room on that disk." if full else "Check the folder's permissions and the disk.",
            stage="output",
        ) from error
