"""The packets of a Windows Media file: whether all that it says it has are there, and begin as the first one does.

Reads bytes; no word of ffmpeg, which passes over what is no packet, and says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from dhcli.media.framing import Found, pieces

HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
HEAD_BYTES = 1 << 20
"""Of the header, which has some kB, and the pictures of an album."""
DATA_HEAD = 50
BROADCAST = 1
"""Written while it was sent: no length was known."""


def examine(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> Found:
    """What is wrong with the packets, the first million, of a file of `size` bytes. `alive` is called for each."""
    head = os.pread(fd, HEAD_BYTES, 0)
    properties = head.find(PROPERTIES)
    begin = _number(head, 16, 8) if head[:16] == HEADER else size
    data = os.pread(fd, DATA_HEAD, begin)
    if data[:16] != DATA or len(data) < DATA_HEAD or properties < 0 or len(head) < properties + 104:
        return Found()
    if _number(head, properties + 88, 4) & BROADCAST:
        return Found()
    end = begin + _number(data, 16, 8)
    if end > size:
        return Found(truncated=f"ends {end - size} bytes before its last packet does")
    return _packets(fd, begin + DATA_HEAD, end, _number(head, properties + 92, 4), alive)


def _packets(fd: int, at: int, end: int, length: int, alive: Callable[[], None]) -> Found:
    first = os.pread(fd, 1, at)
    for _ in pieces(alive):
        if not length or at + length > end:
            break
        if os.pread(fd, 1, at) != first:
            return Found(corrupt=f"no packet where one should begin at byte {at}")
        at += length
    return Found()


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")
