"""FLAC files (RFC 9639): whether one still ends with its last frame, whatever is lost inside.

The header states the number of samples, and each frame its place; ffmpeg counts on where a frame is lost.
"""

from __future__ import annotations

import functools
import os

MAGIC = b"fLaC"
STREAMINFO_AT, STREAMINFO_BYTES = 8, 34
TAIL_BYTES = 1 << 18
"""In which the last frame is looked for: 4608 samples of 8 channels with 24 bits take 111 kB."""
LARGEST_HEADER = 16
CRC8, CRC16 = 0x07, 0x8005
"""Polynomials of a frame's header and of the whole frame."""


def has_last_frame(fd: int, end: int) -> bool:
    """Whether the file, up to byte `end`, ends with a whole frame that reaches the stated length. Raises OSError."""
    head = os.pread(fd, STREAMINFO_AT + STREAMINFO_BYTES, 0)
    if len(head) < STREAMINFO_AT + STREAMINFO_BYTES or not head.startswith(MAGIC):
        return False
    info = head[STREAMINFO_AT:]
    block = int.from_bytes(info[2:4])  # of all frames but the last one, unless the size varies
    total = int.from_bytes(info[13:18]) & 0xF_FFFF_FFFF
    begin = max(0, end - TAIL_BYTES)
    tail = os.pread(fd, end - begin, begin)
    at = len(tail)
    while total and (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if _end_of(tail[at : at + LARGEST_HEADER], block) == total and not _crc(tail[at:], CRC16, 16):
            return True
    return False


def _end_of(header: bytes, block: int) -> int:
    """The sample behind the frame with this header; -1 where it is no header."""
    if len(header) < LARGEST_HEADER or header[1] & 0xFE != 0xF8 or header[3] & 1:
        return -1
    varies, size_code, rate_code = header[1] & 1, header[2] >> 4, header[2] & 15
    longer = 0 if header[4] < 0x80 else 8 - (~header[4] & 0xFF).bit_length()  # as in UTF-8: leading ones
    if longer in {1, 8} or not size_code:
        return -1
    number = header[4] & (0x7F if longer == 0 else 0x7F >> longer)
    at = 5
    for byte in header[5 : 4 + max(1, longer)]:
        number = number << 6 | byte & 0x3F
        at += 1
    if size_code < 6:
        size = 192 if size_code == 1 else 144 << size_code
    elif size_code < 8:
        size = int.from_bytes(header[at : at + size_code - 5]) + 1
        at += size_code - 5
    else:
        size = 1 << size_code
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if _crc(header[: at + 1], CRC8, 8):
        return -1
    return size + (number if varies else number * block)


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    """The remainder; 0 where the data ends with its own checksum."""
    table = _table(polynomial, bits)
    mask, value = (1 << bits) - 1, 0
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> (bits - 8) ^ byte]
    return value


@functools.cache
def _table(polynomial: int, bits: int) -> list[int]:
    return [_shifted(byte << (bits - 8), polynomial, bits) for byte in range(256)]


def _shifted(value: int, polynomial: int, bits: int) -> int:
    for _ in range(8):
        value = (value << 1) ^ (polynomial | 1 << bits if value >> (bits - 1) & 1 else 0)
    return value
