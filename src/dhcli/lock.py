"""One writer per output: an advisory lock between processes that the kernel frees when its holder dies.

It knows nothing of what is written under it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from dhcli.errors import DhError
from dhcli.part import FULL, part_path

POLL_S = 0.1
"""How often a waiting process tries again; flock itself cannot wait for a limited time."""
HOLDER_BYTES = 1024
"""The holder's process id and host take about 40."""
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


@contextlib.contextmanager
def output_lock(save_path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the only right to write `save_path`; the lock file beside it is gone afterwards.

    Raises DhError env.locked where another process has it for longer than `wait_s`, and output.not_writable where the
    folder is missing, read-only or on a file system without locks.
    """
    path = part_path(save_path).with_suffix(".dh-lock")
    until = time.monotonic() + wait_s
    while (descriptor := _try_lock(path, save_path)) is None:
        if time.monotonic() >= until:
            raise DhError(
                "env.locked",
                f"{save_path} is being written by {_holder(path)}.",
                hint="Wait for it, use --lock-wait, or give this job another save_path.",
            )
        time.sleep(POLL_S)
    try:
        yield
    finally:
        # Removed while still held: whoever opened it before finds another inode at the path, or none, and tries again.
        with contextlib.suppress(OSError):  # one that stays locks nothing
            path.unlink()
        os.close(descriptor)


def _try_lock(path: Path, save_path: Path) -> int | None:
    """An open descriptor that holds the lock, or None where another one does."""
    try:
        while True:
            # Close-on-exec: a child that inherits the descriptor would hold the lock after our death.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, path):
                    os.truncate(descriptor, 0)
                    os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:
                path.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            os.close(descriptor)
    except OSError as error:
        raise _not_writable(save_path, error) from error


def _is_at(descriptor: int, path: Path) -> bool:
    """The file we locked is still the one that others will open; its last holder may have removed it meanwhile."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _holder(path: Path) -> str:
    try:
        written = json.loads(path.read_bytes()[:HOLDER_BYTES])
        return f"process {int(written['pid'])} on {written['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it just left, or has not written yet
        return "another process"


def _not_writable(save_path: Path, error: OSError) -> DhError:
    if error.errno in NO_LOCKS:
        found = f"{save_path}: the file system of its folder has no locks ({error.strerror})."
        hint = "Mount it with locks (Lustre: -o flock), or write to a local folder and move the files afterwards."
    elif error.errno == errno.ENOENT:
        found = f"The folder of the output {save_path} does not exist: {save_path.parent}."
        hint = "Create the folder, or correct save_path; dh does not create folders, so that a typo cannot."
    else:
        found = f"{save_path}: its folder cannot be written: {error.strerror}."
        hint = "Make room there." if error.errno in FULL else "Check the folder's permissions and the disk."
    code = "output.disk_full" if error.errno in FULL else "output.not_writable"
    return DhError(code, found, hint=hint, stage="output")
