"""Renames that never overwrite a file unseen: only to a free name, or in exchange for the file there.

Python's `os.rename` replaces any file at the new name. Linux can refuse that, or swap the two files in one step
(https://man7.org/linux/man-pages/man2/rename.2.html); file systems without these calls get replacements.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
"""From linux/fs.h."""
NOT_OFFERED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""Errors of a kernel, a file system (NFS: EINVAL) or a sandbox (EPERM) without these flags."""
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Errors of a file system without hard links; on FAT it is EPERM."""


def rename_new(old: str, new: str, folder: int) -> None:
    """Rename `old` to `new`, both in the open `folder`. Raises FileExistsError where `new` exists, and OSError.

    On a file system with neither the flag nor hard links, the check and the rename are two steps, microseconds apart.
    """
    if _renameat2(old, new, folder, RENAME_NOREPLACE):
        return
    try:
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    else:
        os.unlink(old, dir_fd=folder)
        return
    try:
        os.stat(new, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)


def exchange(one: str, other: str, folder: int) -> bool:
    """Swap two files of the open `folder` in one step; False where the file system cannot. Raises OSError."""
    return _renameat2(one, other, folder, RENAME_EXCHANGE)


def _renameat2(old: str, new: str, folder: int, flags: int) -> bool:
    """Call Linux' renameat2; False where it or this flag is not available. Raises OSError."""
    call = _call()
    if call is None:
        return False
    if call(folder, os.fsencode(old), folder, os.fsencode(new), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in NOT_OFFERED:
        return False
    raise OSError(number, os.strerror(number), new)


@functools.cache
def _call() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """The C library's function, which musl and glibc before 2.28 lack."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    return function
