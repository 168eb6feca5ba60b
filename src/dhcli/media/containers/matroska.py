"""Matroska and WebM files: the length in their header.

Where a piece is lost, ffmpeg's demuxer searches for the next cluster, often without a message, and the gap in the time
stamps looks like a variable frame rate. Formats of EBML elements: RFC 8794.
"""

from __future__ import annotations

import os

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""The two elements that a file consists of: what it is, and everything else."""
MAX_SIZE_BYTES = 8


def missing_bytes(fd: int, size: int) -> int:
    """How many bytes of its segment an open file of `size` bytes lacks.

    0 where it has all of them, or its header has no length, since it was written to a pipe or never closed.
    Raises OSError.
    """
    at = 0
    for name in (EBML, SEGMENT):
        head = os.pread(fd, 4 + MAX_SIZE_BYTES, at)
        length = _length(head[4:]) if head[:4] == name else None
        if length is None:
            return 0
        at += 4 + length[0] + length[1]
    return max(0, at - size)


def _length(data: bytes) -> tuple[int, int] | None:
    """The bytes that an element's length takes, and the length; None where it is unknown (all bits are set)."""
    taken = MAX_SIZE_BYTES + 1 - (data[0].bit_length() if data else 0)
    if taken > min(MAX_SIZE_BYTES, len(data)):
        return None
    mask = (1 << 7 * taken) - 1
    length = int.from_bytes(data[:taken], "big") & mask
    return None if length == mask else (taken, length)
