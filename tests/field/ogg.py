"""Ogg files, taken apart into packets and put together again, a page for each. Format: RFC 3533."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADER = 27
BEGINS, ENDS = 2, 4
POLYNOMIAL = 0x04C11DB7


@dataclass(frozen=True)
class Packet:
    """One packet, with the position that its page has."""

    data: bytes
    position: int


def packets(file: bytes) -> list[Packet]:
    """All packets of a file in which none goes over pages."""
    found, at = [], 0
    while at < len(file):
        position = int.from_bytes(file[at + 6 : at + 14], "little")
        lengths = file[at + HEADER : at + HEADER + file[at + 26]]
        at += HEADER + len(lengths)
        size = 0
        for length in lengths:
            size += length
            if length < 255:
                found.append(Packet(file[at : at + size], position))
                at, size = at + size, 0
    return found


def pages(content: Sequence[Packet], serial: int = 7) -> list[bytes]:
    """A page for each packet."""
    made = []
    for number, packet in enumerate(content):
        flags = BEGINS if number == 0 else ENDS if number == len(content) - 1 else 0
        lengths = bytes([255] * (len(packet.data) // 255) + [len(packet.data) % 255])
        head = b"OggS\0" + bytes([flags]) + packet.position.to_bytes(8, "little")
        head += serial.to_bytes(4, "little") + number.to_bytes(4, "little")
        tail = bytes([len(lengths)]) + lengths + packet.data
        made.append(head + checksum(head + bytes(4) + tail).to_bytes(4, "little") + tail)
    return made


def checksum(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (POLYNOMIAL if total & 1 << 31 else 0)) & 0xFFFFFFFF
    return total
