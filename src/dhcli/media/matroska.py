"""The elements of a Matroska or WebM file: whether each begins where the one before ends, and ends where it may.

The demuxer skips what it does not know and searches for the next cluster wherever it loses its way: pictures go
missing, or are put together of two, without a word. Reads bytes; no word of ffmpeg.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from dhcli.media.framing import Found, pieces

HEAD_BYTES = 12
"""The longest head: an identity of 4 bytes and a length of 8."""
EVERYWHERE = frozenset({0xEC, 0xBF})
"""Blank space and checksums."""
WHOLE, EBML, SEGMENT, CLUSTER = 0, 0x1A45DFA3, 0x18538067, 0x1F43B675
INSIDE = {
    WHOLE: EVERYWHERE | {EBML, SEGMENT},
    SEGMENT: EVERYWHERE | {0x114D9B74, 0x1549A966, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1043A770, 0x1941A469, 0x1254C367},
    CLUSTER: EVERYWHERE | {0xE7, 0xA7, 0xAB, 0x5854, 0xA3, 0xA0, 0xAF},
}
"""What may stand where, RFC 9559 section 5.1: another identity is the middle of a picture, or was damaged itself."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element's head."""

    identity: int
    body: int
    """Where its content begins, bytes from the beginning of the file."""
    end: int | None
    """None where its writer could not seek back to tell: it ends where something begins that cannot be in it."""


def examine(fd: int, size: int, alive: Callable[[], None] = lambda: None) -> Found:
    """What is wrong with the first elements, some million, of a file of `size` bytes. `alive` is called for each."""
    at, inside, begun = 0, [Element(WHOLE, 0, size)], False
    for _ in pieces(alive):
        while inside and at == (size if inside[-1].end is None else inside[-1].end):
            inside.pop()
        if not inside:
            break
        head = os.pread(fd, HEAD_BYTES, at)
        element = _element(head, at)
        parent = _parent(inside, element) if element is not None else None
        if element is None or parent is None:
            if len(inside) == 1:
                break  # in front of the file proper, or behind it: the demuxer passes it, too
            if len(head) < HEAD_BYTES:
                return Found(truncated=f"ends {len(head)} bytes into an element")
            return Found(corrupt=f"no element where one should begin at byte {at}")
        if element.identity == EBML and begun:
            # The demuxer would show both at once, for each begins at 0 s.
            return Found(corrupt=f"another file begins at byte {at}")
        begun = begun or element.identity == SEGMENT
        if wrong := _overlong(element, at, parent, size):
            return wrong
        if element.identity in INSIDE:
            inside.append(element)
        at = element.body if element.identity in INSIDE or element.end is None else element.end
    return Found()


def _parent(inside: list[Element], element: Element) -> Element | None:
    """What the element is in, now the last one of `inside`; None where it can be in nothing that is open here."""
    for depth in range(len(inside) - 1, -1, -1):
        if element.identity in INSIDE[inside[depth].identity]:
            del inside[depth + 1 :]
            return inside[depth]
        if inside[depth].end is not None:
            break
    return None


def _overlong(element: Element, at: int, parent: Element, size: int) -> Found | None:
    if element.end is None:
        if element.identity in INSIDE:
            return None
        return Found(corrupt=f"an element without a length at byte {at}")
    if parent.identity != WHOLE and parent.end is not None and element.end > parent.end:
        return Found(corrupt=f"the element at byte {at} is longer than what it is in")
    if element.end > size:
        return Found(truncated=f"is {element.end - size} bytes shorter than it says itself")
    return None


def _element(head: bytes, at: int) -> Element | None:
    """None where no head begins, or the file ends in it."""
    identity_bytes = 9 - head[0].bit_length() if head else 0
    if not 1 <= identity_bytes <= 4 or len(head) <= identity_bytes:
        return None
    length_bytes = 9 - head[identity_bytes].bit_length()
    begin, body = identity_bytes, identity_bytes + length_bytes
    if length_bytes > 8 or len(head) < body:
        return None
    unknown = (1 << 7 * length_bytes) - 1
    length = int.from_bytes(head[begin:body], "big") & unknown
    identity = int.from_bytes(head[:begin], "big")
    return Element(identity, at + body, None if length == unknown else at + body + length)
