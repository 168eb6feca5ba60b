"""The pages of an Ogg file: whether each follows the one before. Their checksums are the demuxer's business.

The demuxer searches for the next page wherever one is lost, and says nothing. Reads bytes; no word of ffmpeg.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from dhcli.media.containers.pieces import Found, pieces

MARK = b"OggS"
HEAD_BYTES = 1 << 16
"""In which the first page begins; a tag of another format may stand before it."""
BEGINS = 2
"""The mark of the first page of a sound."""
MAX_SOUNDS = 64
"""That are remembered; a night of web radio has hundreds, one after the other."""
HEADER = 27
"""Up to the table of the page's pieces."""
OTHER_TAG = b"TAG"
"""Of 128 bytes, which programs for MP3 append to every file."""
ONLY_TABLES = (0, (1 << 64) - 1)
"""Positions of pages that end no sound: descriptions, and the middle of a piece that is longer than a page."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page's header."""

    begins: bool
    """A sound begins with it; another one may end right before, of another file."""
    position: int
    """Of the sound that ends in it, samples."""
    serial: int
    number: int
    bytes: int


def examine(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> Found:
    """What is wrong with the first pages, some million, of a file of `size` bytes. `alive` is called for every page."""
    at = max(os.pread(fd, HEAD_BYTES, 0).find(MARK), 0)
    before: dict[int, Page] = {}
    for _ in pieces(alive):
        if at >= size:
            break
        head = os.pread(fd, HEADER + 255, at)
        if head[:4] != MARK[: len(head)]:
            tagged = head[:3] == OTHER_TAG and size - at == 128
            return Found() if tagged else Found(corrupt=f"no page where one should begin at byte {at}")
        page = _page(head)
        if page is None or at + page.bytes > size:
            return Found(truncated=f"ends {size - at} bytes into a page")
        last = before.get(page.serial)
        # A recording of a broadcast has the descriptions of its beginning, and then pages from the middle.
        follows = last is None or page.begins or page.number == (last.number + 1) % (1 << 32)
        if last is not None and not follows and last.position not in ONLY_TABLES:
            return Found(corrupt=f"page {page.number} follows page {last.number} at byte {at}")
        if page.begins and len(before) >= MAX_SOUNDS:
            before.clear()
        if page.begins or last is not None:
            before[page.serial] = page
        at += page.bytes
    return Found()


def _page(head: bytes) -> Page | None:
    """None where the file ends in the header."""
    if len(head) < HEADER or len(head) < HEADER + head[26]:
        return None
    position, serial, number = (int.from_bytes(head[at:end], "little") for at, end in ((6, 14), (14, 18), (18, 22)))
    pieces = head[HEADER : HEADER + head[26]]
    return Page(bool(head[5] & BEGINS), position, serial, number, HEADER + len(pieces) + sum(pieces))
