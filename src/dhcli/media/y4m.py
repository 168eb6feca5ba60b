"""The YUV4MPEG2 streams between ffmpeg and here: their header, and the order of a frame's bytes.

Large frames travel as strips, one above the other, that ffmpeg makes and puts together again: each of its threads
queues eight pictures, whatever their size.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from dhcli.types import FrameFormat

MARKER = b"FRAME\n"
"""Begins every picture, frame or strip."""
STRIPED_BYTES = 2 << 20
"""From here on a frame travels as strips: 210 MiB less in the two ffmpegs of a 2160p video, 40 at 1080p."""
STRIPS = (8, 4, 2)
"""How many, of the same even height; where no number fits, the frame is one."""


def strips(width: int, height: int) -> int:
    """As how many strips a frame of this size travels."""
    if width * height * 3 // 2 < STRIPED_BYTES or width % 2:
        return 1
    return next((count for count in STRIPS if height % (2 * count) == 0), 1)


def rate(fmt: FrameFormat) -> Fraction:
    """Pictures a second."""
    return fmt.fps * strips(fmt.width, fmt.height)


def header(fmt: FrameFormat) -> bytes:
    """The stream header that describes the frames, or their strips, to the encoder."""
    full = b" XCOLORRANGE=FULL" if fmt.colour.range == "pc" else b""
    size = f"W{fmt.width} H{fmt.height // strips(fmt.width, fmt.height)}"
    fps, sar = (f"{one.numerator}:{one.denominator}" for one in (rate(fmt), fmt.sar))
    return f"YUV4MPEG2 {size} F{fps} Ip A{sar} C420mpeg2".encode() + full + b"\n"


def pictures(frame: memoryview[int], width: int, height: int) -> Iterator[tuple[memoryview[int], ...]]:
    """What travels of a frame behind each marker: all of it, or the Y, U and V plane of one strip after the other."""
    count, luma = strips(width, height), width * height
    if count == 1:
        yield (frame,)
        return
    planes = frame[:luma], frame[luma : luma * 5 // 4], frame[luma * 5 // 4 :]
    for at in range(count):
        yield tuple(plane[len(plane) * at // count : len(plane) * (at + 1) // count] for plane in planes)


def frame_bytes(fmt: FrameFormat) -> int:
    """What a frame takes in the stream, its markers included."""
    return fmt.frame_bytes + strips(fmt.width, fmt.height) * len(MARKER)
