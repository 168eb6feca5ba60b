"""Locks for one writer per output, and one run at a time on request. The kernel frees them when a process is killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dhcli.disk.part import FULL, part_path
from dhcli.disk.regular import open_regular
from dhcli.errors import TOO_MANY_FILES, Code, DhError, as_dh_error

POLL_S = 0.1
"""How often a waiting process tries again; flock itself cannot wait for a limited time."""
HOLDER_BYTES = 1024
"""The holder's process id, host and run take about 100."""
HEAD = b'{"pid": '
"""The first bytes of every lock file of dh."""
SPECIAL = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class NoLockFileError(OSError):
    """Something at a lock's path is no lock file of dh. Opening a pipe, for instance, would wait for its other end."""


def lock_path(save_path: Path) -> Path:
    """Where the lock file of `save_path` lies while the lock is held."""
    return part_path(save_path).with_suffix(".dh-lock")


@contextlib.contextmanager
def output_lock(
    save_path: Path, *, run_id: str = "", wait_s: float = 0.0, check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock of `save_path`, for its only writer; the lock file beside it is removed afterwards.

    `check` is called while waiting, and ends the wait by raising. Raises DhError env.locked where another process has
    the lock for longer than `wait_s`, and output.not_writable or output.disk_full where its folder does not take it, or
    where a file with the name of the lock file has another content.
    """
    path = lock_path(save_path)
    try:
        descriptor = _wait(path, run_id, wait_s, check, temporary=True)
    except NoLockFileError as error:
        raise _in_the_way(path, save_path, error) from error
    except OSError as error:
        raise _not_writable(save_path, error) from error
    if descriptor is None:
        raise _locked(save_path)
    try:
        yield
    finally:
        # Removed while still held: a process that opened it before sees another file or none at the path, and retries.
        with contextlib.suppress(OSError):  # a file that stays is not locked
            path.unlink()
        os.close(descriptor)


def make_folder(save_path: Path) -> None:
    """Make the folder of an output, and those above it, where they are missing. Raises as `output_lock`."""
    try:
        save_path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # something else has the name of a folder
        raise _not_writable(save_path, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))) from error
    except OSError as error:
        raise _not_writable(save_path, error) from error


def refuse_unwritable(save_path: Path, *, makes_folder: bool = False) -> None:
    """Raise what `output_lock` would raise for a folder that is missing or not writable; changes nothing.

    With `makes_folder`, a missing folder is judged by the one in which it will be made.
    """
    folder = save_path.parent
    while makes_folder and folder != folder.parent and not os.path.lexists(folder):
        folder = folder.parent
    try:
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except PermissionError:  # a folder need not be readable to be written
        pass
    except OSError as error:
        raise _not_writable(save_path, error) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise _not_writable(save_path, OSError(number, os.strerror(number)))


def refuse_locked(save_path: Path) -> None:
    """Raise DhError env.locked where another process has the lock at this moment; changes nothing."""
    path = lock_path(save_path)
    try:
        _refuse_special(path.lstat())
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except NoLockFileError as error:
        raise _in_the_way(path, save_path, error) from error
    except OSError:  # mostly, no process has ever locked it
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _locked(save_path) from None
    except OSError:  # a file system without locks: the run will say so
        return
    finally:
        os.close(descriptor)


def _locked(save_path: Path) -> DhError:
    return DhError(
        "env.locked",
        f"{save_path} is being written by {_holder(lock_path(save_path))}.",
        hint="Wait for it, use --lock-wait, or give this job another save_path (with --results-dir, another id).",
    )


@contextlib.contextmanager
def run_lock(
    path: Path, *, run_id: str, wait_s: float = 0.0, check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock of `path`, which only one run at a time can have. The file stays, since a user may own it.

    `check` as for an output. Raises DhError env.locked, and env.lock_unusable where the file cannot be a lock.
    """
    try:
        descriptor = _wait(path, run_id, wait_s, check, temporary=False)
    except OSError as error:
        raise DhError(
            "env.lock_unusable",
            f"The run lock {path} cannot be used: {error.strerror}.",
            hint="Name a new or empty file in a folder that can be written and whose file system has locks.",
        ) from error
    if descriptor is None:
        raise DhError(
            "env.locked",
            f"Another run holds {path}: {_holder(path)}.",
            hint="Start again when it has ended, or use --lock-wait.",
        )
    try:
        yield
    finally:
        os.close(descriptor)


def _wait(path: Path, run_id: str, wait_s: float, check: Callable[[], None], *, temporary: bool) -> int | None:
    until = time.monotonic() + wait_s
    while (descriptor := _try_lock(path, run_id, temporary=temporary)) is None and time.monotonic() < until:
        check()
        time.sleep(POLL_S)
    return descriptor


def _try_lock(path: Path, run_id: str, *, temporary: bool) -> int | None:
    """A descriptor that holds the lock; None where another process holds it. Raises OSError.

    A `temporary` lock file that cannot be locked is removed. NoLockFileError: the file is a user's, and stays.
    """
    while True:
        descriptor, is_writable = _opened(path)
        try:
            _refuse_content(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                if is_writable:
                    _introduce(descriptor, run_id)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except NoLockFileError:
            os.close(descriptor)
            raise
        except OSError:
            if temporary:
                path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path) -> tuple[int, bool]:
    """The open lock file, and whether it may be written. Raises OSError; NoLockFileError before opening, if it can."""
    with contextlib.suppress(FileNotFoundError):
        _refuse_special(path.lstat())
    descriptor, is_writable = _open(path)
    try:
        _refuse_special(os.fstat(descriptor))  # what was put there between the two calls
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, is_writable


def _open(path: Path) -> tuple[int, bool]:
    """Open a lock file, for writing if allowed: another user's file can be locked without the right to write it."""
    # Close-on-exec: a child that inherits the descriptor would hold the lock when this process is dead.
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666), True
    except PermissionError:
        try:
            return os.open(path, os.O_RDONLY | flags), False
        except FileNotFoundError:
            pass
        raise


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((what for is_one, what in SPECIAL if is_one(status.st_mode)), "a device")
        raise NoLockFileError(errno.EINVAL, f"it is {kind}, not a regular file")


def _refuse_content(descriptor: int) -> None:
    """Refuse a user's file, which locking would overwrite and remove. Raises NoLockFileError.

    After a power cut, a lock file may hold a part of its content, or zeros.
    """
    head = os.pread(descriptor, len(HEAD), 0)
    if not HEAD.startswith(head) and head.strip(b"\0"):
        raise NoLockFileError(errno.EEXIST, "it is a file with a content of its own")


def _introduce(descriptor: int, run_id: str) -> None:
    """Write this process into its lock file."""
    if os.fstat(descriptor).st_size:  # not always: ext4 flushes truncated files to the disk at once, 1 ms a job
        os.truncate(descriptor, 0)
    who = {"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id}
    os.pwrite(descriptor, json.dumps(who).encode(), 0)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still at `path`; its last holder may have removed it after it was opened."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _holder(path: Path) -> str:
    try:
        with os.fdopen(open_regular(path, follow=False), "rb") as file:
            written = json.loads(file.read(HOLDER_BYTES))
        run = f", run {written['run_id']}" if written["run_id"] else ""
        return f"process {int(written['pid'])} on {written['host']}{run}"
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # it has just ended, has not written yet, or is flock(1)
        return "another process"


def _in_the_way(path: Path, save_path: Path, error: OSError) -> DhError:
    return DhError(
        "output.not_writable",
        f"{save_path} cannot be locked: at the place of its lock file {path} is something else: {error.strerror}.",
        hint="Move it away; dh makes the lock file itself.",
        stage="output",
    )


def _not_writable(save_path: Path, error: OSError) -> DhError:
    if error.errno in TOO_MANY_FILES:
        return as_dh_error(error, "output")
    if error.errno in NO_LOCKS:
        message = f"{save_path}: the file system of its folder has no locks ({error.strerror})."
        hint = "Mount it with locks (Lustre: -o flock), or write to a local folder and move the files afterwards."
    elif error.errno == errno.ENOENT:
        message = f"The folder of the output {save_path} does not exist: {save_path.parent}."
        hint = "Create the folder, or correct the path; without --no-mkdir, dh makes the folders of outputs."
    else:
        message = f"{save_path}: its folder cannot be written: {error.strerror}."
        hint = "Make room there." if error.errno in FULL else "Check the folder's permissions and the disk."
    code: Code = "output.disk_full" if error.errno in FULL else "output.not_writable"
    return DhError(code, message, hint=hint, stage="output")
