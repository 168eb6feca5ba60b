"""Whether an MP4 is all there, by the lengths that its outermost boxes tell; nothing is decoded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

SHORT, LONG = 8, 16
"""Bytes of a box's head: 32 bits of length and a name, and 64 bits of length where the first are 1."""
FIRST = b"ftyp"
MOST_BOXES = 1000
"""dh writes four."""


def is_cut(path: Path) -> bool:
    """Whether a file that was an MP4 ends too early, or is empty. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return False
        if not info.st_size:
            return True
        if os.pread(fd, SHORT, 0)[4:] != FIRST:  # any other file read as boxes would seem to be cut, too
            return False
        at = 0
        for _ in range(MOST_BOXES):
            if at >= info.st_size:
                return at > info.st_size
            at += _length(os.pread(fd, LONG, at))
        return False
    finally:
        os.close(fd)


def _length(head: bytes) -> int:
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        return max(LONG, int.from_bytes(head[SHORT:LONG], "big"))
    return max(SHORT, length)  # 0 stands for "to the end", which dh never writes; no other box may be shorter
