"""The part file: what is written beside an output, and renamed over it in one step when it is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Self, TypeAlias

from dhcli.disk import rename
from dhcli.disk.boundary import open_file_strays, strays
from dhcli.disk.regular import FileStamp
from dhcli.errors import TOO_MANY_FILES, DhError, as_dh_error

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a full disk, quota or limit."""

Replaceable: TypeAlias = FileStamp | Literal["anything"] | None
"""What a rename may replace: the file with this stamp, any file, or none."""


def part_path(save_path: Path) -> Path:
    """Where the part of `save_path` lies: the same folder, hidden, short enough for any file system's 255 bytes."""
    name = os.fsencode(save_path.name)
    digest = hashlib.sha256(name).hexdigest()[:8]
    readable = name[:40].decode("utf-8", "ignore")
    return save_path.parent / f".{readable}.{digest}.dh-part"


class PartFile:
    """A new, open file that `commit` renames to `save_path`; otherwise it is removed. Only for the lock's holder.

    Its folder is opened once, so that a link that replaces the folder meanwhile leads nothing elsewhere.
    """

    def __init__(self, save_path: Path, *, root: Path | None = None) -> None:
        """The folder may not lie outside of `root`. Raises DhError output.not_writable, output.disk_full."""
        self.save_path = save_path
        self.path = part_path(save_path)
        self._root = root
        with translated(save_path, "be written"):
            self.folder = os.open(save_path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._refuse_stray()
            self._refuse_special()
            self.fd = self._open()
        except BaseException:
            os.close(self.folder)
            raise
        self._committed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._committed:
            with contextlib.suppress(OSError):  # an earlier error is the one to report
                self.discard()
        os.close(self.fd)
        os.close(self.folder)

    def write(self, data: bytes) -> None:
        """Append. Raises DhError output.*."""
        with translated(self.save_path, "be written"):
            write_all(self.fd, data)

    def flush(self) -> None:
        """Bring everything written so far to the disk, as `commit` does, too. Raises DhError output.*."""
        with translated(self.save_path, "be flushed to the disk"):
            os.fsync(self.fd)

    @property
    def committed(self) -> bool:
        """Whether the file is at `save_path` now."""
        return self._committed

    def commit(self, *, over: Replaceable = "anything", whole: Callable[[], object] = lambda: None) -> None:
        """Flush to the disk, then rename. The old file, if any, stays whole until this moment.

        Replaces only what `over` says. `whole` is called between the flush and the rename, which it may prevent by
        raising. Raises DhError output.*; with output.exists another file has come to the path, and stays.
        """
        self.flush()
        whole()
        self._refuse_stray()
        with translated(self.save_path, "be put in place"):
            self._refuse_swapped()
            try:
                self._rename(over)
            except FileExistsError as error:
                raise other_file_error(self.save_path) from error
            self._committed = True
            _sync(self.folder)

    def _rename(self, over: Replaceable) -> None:
        """Raises FileExistsError where something else than `over` is in the way, and OSError."""
        part, output = self.path.name, self.save_path.name
        if over == "anything":
            os.replace(part, output, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        elif (there := self._stamp(output)) is None:
            rename.rename_new(part, output, self.folder)
        elif not there.same_content(over):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), output)
        elif not rename.exchange(part, output, self.folder):
            os.replace(part, output, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        elif there.same_content(self._stamp(part)):
            os.unlink(part, dir_fd=self.folder)
        else:  # another file came after the check: put it back
            rename.exchange(part, output, self.folder)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), output)

    def _stamp(self, name: str) -> FileStamp | None:
        """The stamp of a file in the folder; None where there is none."""
        try:
            return FileStamp.of_stat(os.stat(name, dir_fd=self.folder, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def _open(self) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        with translated(self.save_path, "be written"):
            with contextlib.suppress(FileNotFoundError):
                self._unlink()  # left by a killed run: by the lock, no process writes it now
            return os.open(self.path.name, flags, 0o666, dir_fd=self.folder)  # the umask decides, as for any other file

    def _is_ours(self) -> bool:
        """Whether the part still has its name. Raises OSError."""
        return os.path.samestat(os.fstat(self.fd), os.stat(self.path.name, dir_fd=self.folder, follow_symlinks=False))

    def discard(self) -> None:
        """Remove the part. Another file that has its name by now stays. Raises OSError."""
        if self._is_ours():
            self._unlink()

    def _unlink(self) -> None:
        os.unlink(self.path.name, dir_fd=self.folder)

    def _refuse_special(self) -> None:
        try:
            mode = os.stat(self.save_path.name, dir_fd=self.folder, follow_symlinks=False).st_mode
        except OSError:  # nothing there yet, or no way to it: opening the part says which
            return
        _refuse_kind(self.save_path, mode)

    def _refuse_stray(self) -> None:
        if self._root is not None and (real := open_file_strays(self.folder, self.save_path.parent, self._root)):
            raise _outside(self.save_path, real, self._root)

    def _refuse_swapped(self) -> None:
        """Refuse to commit where the folder at `save_path` or the part was replaced: the result would be wrong."""
        folder = self.save_path.parent
        if not os.path.samestat(os.fstat(self.folder), folder.stat()):
            raise _unfit(
                f"{self.save_path}: its folder was replaced by another one while the file was written.",
                "Nothing was put in place; render again when nobody moves folders there.",
            )
        if not self._is_ours():
            raise _unfit(
                f"{self.save_path}: {self.path.name} beside it was replaced while it was written.",
                "Let nobody but dh write these files.",
            )


def other_file_error(save_path: Path) -> DhError:
    """The error for a file of somebody else that came to `save_path`."""
    return DhError(
        "output.exists",
        f"{save_path} was made or changed by somebody else while dh worked on it.",
        hint="Move it away, or name another save_path; --force (--if-exists overwrite) replaces an output.",
        stage="output",
    )


def refuse_special(save_path: Path) -> None:
    """Raise output.not_writable where a link, a folder or another thing that is no file has the name."""
    with contextlib.suppress(OSError):  # nothing there yet, or no way to it
        _refuse_kind(save_path, save_path.lstat().st_mode)


def _refuse_kind(save_path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    # A rename would replace a link, and not the file that it leads to.
    kind = "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"
    raise _unfit(f"{save_path} is {kind}.", "Name a file, or remove what is there.")


def refuse_stray(save_path: Path, root: Path | None) -> None:
    """Raise output.not_writable where the folder of `save_path` leads out of `root` at this moment."""
    if root is not None and (real := strays(save_path.parent, root)):
        raise _outside(save_path, real, root)


def _outside(save_path: Path, real: Path, root: Path) -> DhError:
    return _unfit(f"{save_path} leads to {real}, outside of {root}.", "Name an output below that folder.")


def _unfit(message: str, hint: str) -> DhError:
    return DhError("output.not_writable", message, hint=hint, stage="output")


def _sync(folder: int) -> None:
    """Flush a folder, so that a rename in it survives a power cut. Network file systems may refuse that (EINVAL)."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def write_all(fd: int, data: bytes | bytearray | memoryview, at: int | None = None) -> None:
    """Write all of `data`, at byte `at` or at the file's position. Raises OSError.

    One call may not do: a full disk takes a part of the data without an error.
    """
    left = memoryview(data).cast("B")
    while left:
        done = os.write(fd, left) if at is None else os.pwrite(fd, left, at)
        left, at = left[done:], None if at is None else at + done


@contextlib.contextmanager
def translated(save_path: Path, what: str) -> Iterator[None]:
    """Turn the block's OSError into DhError output.not_writable or output.disk_full; `what` says what failed."""
    try:
        yield
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            raise as_dh_error(error, "output") from error
        full = error.errno in FULL
        hint = "Make room on that disk." if full else "Check the folder's permissions and the disk."
        if error.errno == errno.EFBIG:
            hint = "Raise the limit on the size of files: ulimit -f unlimited"
        raise DhError(
            "output.disk_full" if full else "output.not_writable",
            f"{save_path} cannot {what}: {error.strerror}.",
            hint=hint,
            stage="output",
        ) from error
