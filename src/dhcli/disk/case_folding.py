"""Whether a folder ignores case, so that `A.mp4` and `a.mp4` are one file. Writes nothing to find out."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path

FS_IOC_GETFLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
"""Linux: the attributes that `lsattr` shows."""
FS_CASEFOLD_FL = 0x40000000
"""What `chattr +F` sets: on ext4 and f2fs each folder ignores case or does not."""


def folds_case(folder: Path) -> bool:
    """Whether names in `folder` that differ only in case are one file. False where that cannot be found out.

    On ext4 and f2fs a folder has a flag for it. Elsewhere the whole file system is alike, and any name with a letter
    shows it: one in the folder or, where it is empty or has only numbers, one in a folder above it.
    """
    own = _casefold_flag(folder)
    if own:
        return True
    device = _device(folder)
    for at in (folder, *folder.parents):
        if device is None or _device(at) != device:
            return False
        if _casefold_flag(at):  # new folders inherit the flag, so that a user has removed it from one without it
            return own is None
        for answer in (_by_an_entry(at), _by_its_name(at, device)):
            if answer is not None:
                return answer
    return False


def _by_an_entry(folder: Path) -> bool | None:
    """By the names in the folder; None where none has a letter, or the folder may not be listed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if (answer := _has_two_cases(folder, entry.name)) is not None:
                    return answer
    except OSError:
        pass  # a folder above may show it
    return None


def _by_its_name(folder: Path, device: int) -> bool | None:
    """By the folder's own name in the one above it, which may be searched even where it may not be listed."""
    return _has_two_cases(folder.parent, folder.name) if _device(folder.parent) == device else None


def _has_two_cases(folder: Path, name: str) -> bool | None:
    """Whether `name` in the other case is the same file. None where it has no letter, or is gone."""
    other = "".join(c.swapcase() if c.isascii() else c for c in name)  # beyond ASCII, file systems differ
    if other == name:
        return None
    try:
        original = os.lstat(folder / name)
        twin = os.lstat(folder / other)
        if not os.path.samestat(original, twin):
            return False
        return stat.S_ISDIR(original.st_mode) or folder / other not in folder.iterdir()  # else: hard links
    except FileNotFoundError:
        return False if os.path.lexists(folder / name) else None
    except OSError:
        return None


def _device(path: Path) -> int | None:
    try:
        return path.stat().st_dev
    except OSError:
        return None


def _casefold_flag(folder: Path) -> bool | None:
    """None where the folder cannot be opened, or its file system has no such attributes."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        flags = fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))
    except OSError:
        return None
    finally:
        os.close(fd)
    return bool(int.from_bytes(flags[:4], "little") & FS_CASEFOLD_FL)
