"""HEIF files of a few items (HEIC, AVIF), as phones write them: a grid of tiles, a thumbnail, an auxiliary picture.

Boxes: ISO/IEC 23008-12 and 14496-12. The coded pictures come out of MP4 files of one frame each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONFIGURATIONS = {b"hvcC": b"hvc1", b"av1C": b"av01"}
"""Boxes with a decoder's configuration, and the type of an item that needs it."""


@dataclass(frozen=True)
class Item:
    """One picture of the file, or a grid of others."""

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...]
    hidden: bool = False
    refers: tuple[bytes, tuple[int, ...]] | None = None
    """How, and to which items; numbers begin at 1."""


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return (8 + len(body)).to_bytes(4, "big") + name + body


def full(name: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(name, bytes([version]) + flags.to_bytes(3, "big"), *content)


def u16(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)


def u32(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def extent(width: int, height: int) -> bytes:
    return full(b"ispe", u32(width, height))


def coded(path: Path, size: tuple[int, int], **more: object) -> Item:
    """The one frame of an MP4 without sound as an item."""
    data = path.read_bytes()
    name = next(name for name in CONFIGURATIONS if name in data)
    begin = data.index(name) - 4
    configuration = data[begin : begin + int.from_bytes(data[begin : begin + 4], "big")]
    at = data.index(b"mdat")
    frame = data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    return Item(CONFIGURATIONS[name], frame, (configuration, extent(*size)), **more)  # type: ignore[arg-type]


def grid(rows: int, columns: int, size: tuple[int, int], tiles: Sequence[int], *properties: bytes) -> Item:
    data = bytes([0, 0, rows - 1, columns - 1]) + u16(*size)
    return Item(b"grid", data, (extent(*size), *properties), refers=(b"dimg", tuple(tiles)))


def auxiliary(of: int, item: Item, what: str) -> Item:
    """The same picture as a plane of item `of`: its depth, its transparency."""
    kind = full(b"auxC", what.encode() + b"\0")
    return Item(item.kind, item.data, (*item.properties, kind), refers=(b"auxl", (of,)))


def write(path: Path, items: Sequence[Item], primary: int, brand: bytes = b"heic") -> Path:
    """Write the file; `primary` is the number of the item to show."""
    known: list[bytes] = []
    for item in items:
        known += [one for one in item.properties if one not in known]
    places = b"".join(
        u16(number) + bytes([len(item.properties)]) + bytes(known.index(one) + 1 for one in item.properties)
        for number, item in enumerate(items, 1)
    )
    infos = [
        full(b"infe", u16(number, 0), item.kind, b"\0", version=2, flags=int(item.hidden))
        for number, item in enumerate(items, 1)
    ]
    links = [
        box(item.refers[0], u16(number, len(item.refers[1]), *item.refers[1]))
        for number, item in enumerate(items, 1)
        if item.refers
    ]

    def meta(first: int) -> bytes:
        at, rows = first, b""
        for number, item in enumerate(items, 1):
            rows += u16(number, 0, 1) + u32(at, len(item.data))
            at += len(item.data)
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", u16(primary)),
            full(b"iloc", b"\x44\x00", u16(len(items)), rows),
            full(b"iinf", u16(len(items)), *infos),
            full(b"iref", *links) if links else b"",
            box(b"iprp", box(b"ipco", *known), full(b"ipma", u32(len(items)), places)),
        )

    head = box(b"ftyp", brand, bytes(4), b"mif1" + brand)
    body = meta(len(head) + len(meta(0)) + 8)
    path.write_bytes(head + body + box(b"mdat", *(item.data for item in items)))
    return path
