"""Where the first picture of a JPEG or PNG file ends: what lies behind it are further pictures, a video, or rubbish.

Phones put a gain map, a depth map or a few seconds of video behind a photo, stereo cameras the other eye's photo.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 256 << 20
"""Larger files are not looked through; a JPEG of the most pixels allowed has 100 MB at the best quality."""
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Behind compressed data, the next marker but for restarts."""
END_OF_IMAGE = 0xD9
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
STREAMS = frozenset({".mjpeg", ".mjpg", ".mjp"})
"""Names of videos that are JPEG files one behind the other."""


@dataclass(frozen=True, slots=True)
class FirstPicture:
    """The first picture of a file."""

    end: int | None
    """Its length, bytes; None where its own end is missing."""


def first_picture(fd: int, size: int, suffix: str) -> FirstPicture | None:
    """The first picture of an open file of `size` bytes; None where it is no JPEG or PNG, or a video of them.

    `suffix` is that of the file's name. Raises OSError.
    """
    head = os.pread(fd, 16, 0)
    if size > MAX_BYTES or suffix.lower() in STREAMS:
        return None
    if head.startswith(JPEG):
        return FirstPicture(_jpeg_end(os.pread(fd, size, 0)))
    if head.startswith(PNG):
        return FirstPicture(_png_end(fd, size))
    return None


def _jpeg_end(data: bytes) -> int | None:
    at = 2
    while found := MARKER.search(data, at):
        kind, at = data[found.start() + 1], found.end()
        if kind == END_OF_IMAGE:
            return at
        if kind in ALONE:
            continue
        # Where a length is wrong, the search goes on behind it, as decoders do.
        at += int.from_bytes(data[at : at + 2], "big")
    return None


def _png_end(fd: int, size: int) -> int | None:
    at = len(PNG)
    while at + 12 <= size:
        head = os.pread(fd, 8, at)
        at += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return at if at <= size else None
    return None
