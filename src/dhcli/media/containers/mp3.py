"""MP3 files: the frames that hold no sound but the length of the file ("Xing", "Info")."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

FRAME_SAMPLES = 1152
"""Most samples of a frame."""
HEADER = re.compile(rb"\xff[\xe2-\xff].{2}(?:.{9}|.{17}|.{32})(?:Xing|Info)", re.DOTALL)
"""Such a frame: 4 bytes of header, then the side information, as long as version and channels say."""
HAS_FRAMES, HAS_BYTES = 1, 2
"""Flags of the numbers in it, which stand in this order."""
HEAD_BYTES = 1 << 22
"""The first one stands within these, behind a cover."""
BLOCK_BYTES = 1 << 22
OVERLAP_BYTES = 64


def has_all_bytes(fd: int, end: int) -> bool:
    """Whether an open file whose sound ends at `end` has as many bytes as its first header says; False without one.

    Raises OSError.
    """
    head = os.pread(fd, HEAD_BYTES, 0)
    found = HEADER.search(head)
    if not found:
        return False
    flags = int.from_bytes(head[found.end() : found.end() + 4], "big")
    at = found.end() + 4 + (4 if flags & HAS_FRAMES else 0)
    return bool(flags & HAS_BYTES) and end - found.start() >= int.from_bytes(head[at : at + 4], "big")


def headers(fd: int, size: int, alive: Callable[[], None]) -> int:
    """How many such frames an open file of `size` bytes has. `alive` is called every 4 MiB. Raises OSError."""
    found: set[int] = set()
    for at in range(0, size, BLOCK_BYTES):
        alive()
        block = os.pread(fd, BLOCK_BYTES + OVERLAP_BYTES, at)
        found.update(at + match.start() for match in HEADER.finditer(block))
    return len(found)
