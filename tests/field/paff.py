"""H.264 whose fields are pictures of their own (PAFF), as AVCHD cameras write it; no encoder at hand does.

Progressive pictures of half the height become fields: the headers of the sequence and of each slice say so, and all
other bits stay. Syntax: ITU-T H.264, 7.3. The pictures must be flat: the coefficients of fields have another order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SLICE, IDR, SEQUENCE = 1, 5, 7
ENCODER = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "1", "-pix_fmt", "yuv420p", "-f", "h264")
SETTINGS = "cabac=0:8x8dct=0:scenecut=0:sliced-threads=0:slices=1:threads=1"


class Reader:
    """The bits of a NAL unit, without the bytes that keep start codes out of it."""

    def __init__(self, data: bytes) -> None:
        plain = re.sub(rb"\x00\x00\x03(?=[\x00-\x03]|$)", b"\0\0", data)
        self._bits = "".join(f"{byte:08b}" for byte in plain).rstrip("0")
        self.at = 0

    def take(self, count: int) -> str:
        self.at += count
        return self._bits[self.at - count : self.at]

    def number(self) -> int:
        """Exp-Golomb, 9.1."""
        zeros = self._bits.index("1", self.at) - self.at
        self.at += zeros
        return int(self.take(zeros + 1), 2) - 1

    def since(self, begin: int) -> str:
        return self._bits[begin : self.at]

    @property
    def rest(self) -> str:
        """With the stop bit."""
        return self._bits[self.at :]


@dataclass(frozen=True)
class Sequence:
    """What slices need of the sequence's header."""

    frame_num_bits: int
    order_bits: int
    """0: slices have no number of their own in the order of showing."""


def fields(stream: bytes) -> bytes:
    """The pictures of a stream of IDR pictures as fields, top and bottom by turns."""
    out, sequence, count = b"", Sequence(4, 0), 0
    for unit in units(stream):
        new = unit
        if unit[0] & 31 == SEQUENCE:
            new, sequence = _interlaced(unit)
        elif unit[0] & 31 == IDR:
            new = _field(unit, sequence, bottom=count % 2 == 1)
            count += 1
        out += b"\0\0\0\1" + new
    return out


def units(stream: bytes) -> Iterator[bytes]:
    yield from (unit for unit in re.split(rb"\x00*\x00\x00\x01", stream) if unit)


def packed(head: bytes, bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return head + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", body)


def _interlaced(unit: bytes) -> tuple[bytes, Sequence]:
    bits = Reader(unit[1:])
    assert int(bits.take(8), 2) in {66, 77}, "another profile has more fields here"
    bits.take(16)
    bits.number()
    frame_num_bits = bits.number() + 4
    kind = bits.number()
    order_bits = bits.number() + 4 if kind == 0 else 0
    bits.number()
    bits.take(1)
    bits.number()
    bits.number()
    head = bits.since(0)
    assert bits.take(1) == "1"
    bits.take(1)
    # frame_mbs_only_flag, mb_adaptive_frame_field_flag, direct_8x8_inference_flag; main profile, which has fields.
    body = f"{77:08b}" + head[8:] + "0" + "0" + "1" + bits.rest
    return packed(unit[:1], body), Sequence(frame_num_bits, order_bits)


def _field(unit: bytes, sequence: Sequence, *, bottom: bool) -> bytes:
    bits = Reader(unit[1:])
    for _ in range(3):
        bits.number()
    bits.take(sequence.frame_num_bits)
    head = bits.since(0)
    begin = bits.at
    bits.number()
    ident = bits.since(begin)
    order = bits.take(sequence.order_bits)
    if order:
        order = f"{int(bottom):0{sequence.order_bits}b}"
    bits.take(2)
    if bottom:  # the second field of an IDR picture is none: no number of it, and no marking of references
        return packed(bytes([unit[0] & 0xE0 | SLICE]), head + "11" + order + "0" + bits.rest)
    return packed(unit[:1], head + "10" + ident + order + "00" + bits.rest)
