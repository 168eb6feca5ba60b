"""AVI and WAV files: the lengths in their headers, and whether their chunks follow each other."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from dhcli.media.containers.scan import steps

OPEN_ENDED_BYTES = 0x7FFFF000
"""Writers that cannot seek back write 0, this or 0xFFFFFFFF in place of a length."""
MISSING = "bytes are missing"
"""Ends the description of an AVI that ends early."""
HEAD_BYTES = 1 << 16
"""The headers of an AVI with ten streams take 4 kB."""
NAME = re.compile(rb"[ -~]{4}")
MEDIA_NAME = re.compile(rb"\d\d(?:dc|db|wb|pc|tx)|ix\d\d|JUNK|LIST")
"""Names of chunks among the pictures: picture, sound, palette, text, index."""
MOST_WAV_CHUNKS = 1000
"""Broadcast recorders write a dozen."""


def find_damage(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> str:
    """Describe the first damage in the chunks of an open AVI of `size` bytes; "" where there is none.

    `alive` is called for every chunk. Raises OSError.
    """
    at, left = 0, steps(alive)
    for _ in left:
        if at + 12 > size:
            break
        head = os.pread(fd, 12, at)
        if head[:4] != b"RIFF" or not _has_length(head):
            return ""
        length = int.from_bytes(head[4:8], "little")
        end = at + 8 + length
        if end > size:
            return f"{end - size} {MISSING}"
        wrong = _broken(fd, at + 12, end, (b"movi", b"rec "), left)
        if wrong is not None:
            return f"no chunk begins at byte {wrong}"
        at = end + length % 2
    return ""


def open_ended(fd: int) -> bool:
    """Whether the header of an open file has no length, since it was written to a pipe. Raises OSError."""
    return not _has_length(os.pread(fd, 8, 0))


def open_ended_wav(head: bytes) -> bool:
    """The same for a WAV, by its first bytes: only the length of its sound may be missing."""
    at = head.find(b"data", 12)
    return head[:4] == b"RIFF" and at >= 0 and not _has_length(head[at : at + 8])


def _has_length(head: bytes) -> bool:
    """Whether a chunk's header has a length."""
    return 0 < int.from_bytes(head[4:8], "little") < OPEN_ENDED_BYTES


def stray_bytes(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> int:
    """How many bytes inside the outermost chunk of an open WAV belong to no inner chunk; 0 where all of them are zeros.

    All bytes behind chunk `MOST_WAV_CHUNKS` count, too. `alive` is called for every chunk. Raises OSError.
    """
    head = os.pread(fd, 12, 0)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE" or not _has_length(head):
        return 0
    end = min(8 + int.from_bytes(head[4:8], "little"), size)
    at = 12
    for _ in steps(alive, MOST_WAV_CHUNKS):
        if at + 8 > end:
            return 0
        begin = os.pread(fd, 9, at)
        if begin[:1] == b"\0":  # padding behind a chunk of odd length, which some programs omit
            at, begin = at + 1, begin[1:]
        if not NAME.fullmatch(begin[:4]):
            return end - at if any(os.pread(fd, HEAD_BYTES, at)) else 0
        at += 8 + int.from_bytes(begin[4:8], "little")
    return max(0, end - at)


def declared_frames(fd: int, stream: int) -> int | None:
    """The length in the header of an AVI's stream number `stream`, frames for a video; None where it has none.

    Raises OSError.
    """
    head = os.pread(fd, HEAD_BYTES, 0)
    if head[:4] != b"RIFF" or head[8:12] != b"AVI ":
        return None
    lists = [body for kind, body in _chunks(head[12:]) if kind == b"LIST" and body[:4] == b"hdrl"]
    streams = [body for kind, body in _chunks(lists[0][4:]) if kind == b"LIST" and body[:4] == b"strl"] if lists else []
    if stream >= len(streams):
        return None
    headers = [body for kind, body in _chunks(streams[stream][4:]) if kind == b"strh" and len(body) >= 36]
    return int.from_bytes(headers[0][32:36], "little") or None if headers else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _broken(
    fd: int, at: int, end: int, inner: tuple[bytes, ...], left: Iterator[None], names: re.Pattern[bytes] = NAME
) -> int | None:
    """The first byte between `at` and `end` where a chunk should begin and does not; None where there is none.

    Lists of the kind inner[0] are searched, too, with the rest of `inner`: a file could nest a million lists.
    """
    for _ in left:
        if at + 8 > end:
            break
        head = os.pread(fd, 12, at)
        length = int.from_bytes(head[4:8], "little")
        behind = at + 8 + length
        if not names.fullmatch(head[:4]) or behind > end:
            return at
        if head[:4] == b"LIST" and head[8:12] in inner[:1]:
            wrong = _broken(fd, at + 12, behind, inner[1:], left, MEDIA_NAME)
            if wrong is not None:
                return wrong
        at = behind + length % 2
    return None
