"""Whether an MP4 is all there, by the lengths that its outermost boxes tell; nothing is decoded. No word of ffmpeg."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from dhcli.media.framing import Found, pieces

SHORT, LONG = 8, 16
"""Bytes of a box's head: 32 bits of length and a name, and 64 bits of length where the first are 1."""
FIRST, FRAGMENT = b"ftyp", b"moof"
NAME = re.compile(rb"[ -~\xa9][ -~]{3}")
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


def examine(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> Found:
    """What is wrong with the fragments, some million, of a file of `size` bytes. `alive` is called for each box.

    Only their order tells that one is missing; of any other MP4 the index knows every frame.
    """
    at, fragmented = 0, False
    for _ in pieces(alive):
        if at >= size:
            break
        head = os.pread(fd, LONG, at)
        fragmented = fragmented or head[4:SHORT] == FRAGMENT
        if not NAME.fullmatch(head[4:SHORT]):
            return Found(truncated=f"ends in {size - at} bytes that are no fragment") if fragmented else Found()
        if not any(head[:4]):  # this box goes to the end
            break
        end = at + _length(head)
        if end > size and fragmented:
            return Found(truncated=f"ends {size - at} bytes into a box of {end - at}")
        at = end
    return Found()


def _length(head: bytes) -> int:
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        return max(LONG, int.from_bytes(head[SHORT:LONG], "big"))
    return max(SHORT, length)  # 0 stands for "to the end", which dh never writes; no other box may be shorter
