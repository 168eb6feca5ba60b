"""The pages of an Ogg file: whether each follows the one before.

Where a page is lost, ffmpeg's demuxer searches for the next one without a message. It checks the pages' checksums
itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from dhcli.media.containers.scan import ScanResult, steps

MARK = b"OggS"
HEAD_BYTES = 1 << 16
"""The first page begins within these; a tag of another format may come before it."""
BEGINS = 2
"""Flag of the first page of a sound."""
MAX_SOUNDS = 64
"""Sounds that are remembered; a night of web radio has hundreds, one after the other."""
HEADER = 27
"""Bytes before the segment table."""
BLOCK_BYTES = 1 << 20
NO_PACKET_ENDS = (0, (1 << 64) - 1)
"""Positions of pages in which no packet of sound ends: descriptions, and the middle of a packet longer than a page."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page's header."""

    begins: bool
    """A sound begins with it; right before it another one may end."""
    position: int
    """Samples from the beginning of the sound to the end of the last packet that ends in it."""
    serial: int
    number: int
    bytes: int


def scan(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> ScanResult:
    """Look for damage in the first `MAX_STEPS` pages of an open file of `size` bytes. `alive` is called for every page.

    Raises OSError.
    """
    at = max(os.pread(fd, HEAD_BYTES, 0).find(MARK), 0)
    before: dict[int, Page] = {}
    for _ in steps(alive):
        if at >= size:
            break
        head = os.pread(fd, HEADER + 255, at)
        if head[:4] != MARK[: len(head)]:  # tags and rubbish between pages, or the rest of a damaged one
            at = _next_page(fd, at, size, alive)
            continue
        page = _page(head)
        if page is None or at + page.bytes > size:
            return ScanResult(truncated=f"ends {size - at} bytes into a page")
        last = before.get(page.serial)
        # A recording of a broadcast has the descriptions of its beginning, and then pages from the middle.
        follows = last is None or page.begins or page.number == (last.number + 1) % (1 << 32)
        if last is not None and not follows and last.position not in NO_PACKET_ENDS:
            return ScanResult(corrupt=f"page {page.number} follows page {last.number} at byte {at}")
        if page.begins and len(before) >= MAX_SOUNDS:
            before.clear()
        if page.begins or last is not None:
            before[page.serial] = page
        at += page.bytes
    return ScanResult()


def _next_page(fd: int, at: int, size: int, alive: Callable[[], None]) -> int:
    """Where the next page begins behind `at`; `size` where there is none."""
    while at < size:
        alive()
        found = os.pread(fd, BLOCK_BYTES + len(MARK) - 1, at).find(MARK)
        if found >= 0:
            return at + found
        at += BLOCK_BYTES
    return size


def _page(head: bytes) -> Page | None:
    """The page whose header this is; None where the file ends within the header."""
    if len(head) < HEADER or len(head) < HEADER + head[26]:
        return None
    position, serial, number = (int.from_bytes(head[at:end], "little") for at, end in ((6, 14), (14, 18), (18, 22)))
    segments = head[HEADER : HEADER + head[26]]
    return Page(bool(head[5] & BEGINS), position, serial, number, HEADER + len(segments) + sum(segments))
