"""Whether an MP4 is all there, by the lengths that its outermost boxes tell; nothing is decoded. No word of ffmpeg."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from dhcli.media.framing import Found, pieces

SHORT, LONG = 8, 16
"""Bytes of a box's head: 32 bits of length and a name, and 64 bits of length where the first are 1."""
FRAGMENT = b"moof"
NAME = re.compile(rb"[ -~\xa9][ -~]{3}")


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
