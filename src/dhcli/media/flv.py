"""The tags of a Flash video: whether each begins where the one before ends, and whether the file is as long as it says.

Reads bytes; no word of ffmpeg, which searches for the next tag wherever one is lost, and says nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from dhcli.media.framing import Found, pieces

MARK = b"FLV"
TAG_HEAD, TAG_END = 11, 4
KINDS = frozenset({8, 9, 18})
"""Sound, picture, script."""
KIND_BITS, UNUSED_BITS = 0x1F, 0xC0
HEAD_BYTES = 1 << 16
"""The script in front of everything has some hundred bytes, and an index of key frames."""
FILE_SIZE = b"\x00\x08filesize\x00"
"""A property's name with its length, and the kind of its value: a double follows. Writers without a way back say 0."""


def examine(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> Found:
    """What is wrong with the first tags, some million, of a file of `size` bytes. `alive` is called for each."""
    head = os.pread(fd, HEAD_BYTES, 0)
    if head[:3] != MARK or len(head) < 9:
        return Found()
    promised = _promised(head)
    if promised > size:
        return Found(truncated=f"has {size} of {promised} bytes")
    at = int.from_bytes(head[5:9], "big") + TAG_END
    for _ in pieces(alive):
        if at >= size:
            break
        tag = os.pread(fd, TAG_HEAD, at)
        if tag[0] & UNUSED_BITS or tag[0] & KIND_BITS not in KINDS:
            return Found(corrupt=f"no tag where one should begin at byte {at}")
        end = at + TAG_HEAD + int.from_bytes(tag[1:4], "big")
        if end > size:
            return Found(truncated=f"ends {size - at} bytes into a tag of {end - at}")
        at = end + TAG_END
    return Found()


def _promised(head: bytes) -> int:
    """The length that the file says it has, bytes; 0 where it says none."""
    at = head.find(FILE_SIZE)
    if at < 0 or len(head) < at + len(FILE_SIZE) + 8:
        return 0
    (value,) = struct.unpack_from(">d", head, at + len(FILE_SIZE))
    return int(value) if 0 < value < 1 << 60 else 0
