"""The packets of an MPEG transport stream: damage in them, and how many pictures begin.

A transport stream has no length, and ffmpeg's demuxer resumes behind damage without a message. But every packet begins
with the same byte, the tables have checksums, and the header before each picture has bits that are always the same.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dhcli.media.containers.scan import ScanResult
from dhcli.types import U8

SYNC = 0x47
PACKET = 188
LAYOUTS = ((188, 0), (192, 4), (204, 0))
"""Bytes from packet to packet, and of them before each packet: broadcast; cameras and discs (a time stamp); parity."""
HEAD_BYTES = 1 << 16
BLOCK_PACKETS = 1 << 14
"""3 MB, in which numpy takes 3 ms."""
MIN_SHARE = 0.5
"""Share of the first packets that begin with SYNC; with fewer the file is something else, which ffmpeg judges."""
PAT_PID = 0
PES_HEADER = 19
"""Bytes up to the end of the second time stamp."""
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the packets lie in a file."""

    stride: int
    offset: int
    """Of the first packet's first byte."""
    lead: int
    """Bytes of each packet before that."""

    @property
    def cut(self) -> bool:
        """The file begins inside a packet: it was cut out of a longer one, so that it may end inside a packet, too."""
        return self.offset != self.lead


def scan(fd: int, size: int, pid: int, alive: Callable[[], None] = lambda: None) -> ScanResult:
    """Look for damage in every packet of an open file of `size` bytes, and count the starts of the stream `pid`.

    `alive` is called every 3 MB. Raises OSError.
    """
    layout = find_layout(os.pread(fd, HEAD_BYTES, 0))
    if layout is None:
        return ScanResult()
    stream = _Stream(pid)
    for first, packets in _blocks(fd, layout):
        alive()
        if wrong := stream.look(packets):
            at, what = wrong
            return ScanResult(corrupt=f"{what} at byte {layout.offset + (first + at) * layout.stride}")
    over = (size - layout.offset + layout.lead) % layout.stride
    if over and not layout.cut:
        return ScanResult(truncated=f"ends {over} bytes into a packet of {layout.stride}")
    return ScanResult(pictures=stream.pictures)


def find_layout(head: bytes) -> Layout | None:
    """The layout for which most packets begin with SYNC; None where half of them or fewer do."""
    data = np.frombuffer(head, np.uint8) == SYNC
    best, share = None, MIN_SHARE
    for stride, lead in LAYOUTS:
        rows = len(data) // stride
        if rows < 2:
            continue
        hits = data[: rows * stride].reshape(rows, stride).mean(axis=0)
        at = int(hits.argmax())
        if hits[at] > share:
            first = int(at if at >= lead else at + stride)
            # Rubbish may lie in front; one byte in 256 of it looks like the beginning of a packet.
            while first + 2 * stride < len(data) and not data[first : first + 3 * stride : stride].all():
                first += stride
            best, share = Layout(stride, first, lead), float(hits[at])
    return best


def _blocks(fd: int, layout: Layout) -> Iterator[tuple[int, U8]]:
    """Blocks of packets, (n, PACKET) uint8, each with the number of its first packet."""
    first = 0
    while True:
        data = os.pread(fd, BLOCK_PACKETS * layout.stride, layout.offset + first * layout.stride)
        # The last packet needs no parity or time stamp behind it.
        count = (len(data) + layout.stride - PACKET) // layout.stride
        if count == 0:
            return
        padded = np.zeros(count * layout.stride, np.uint8)
        padded[: min(len(data), len(padded))] = np.frombuffer(data, np.uint8)[: len(padded)]
        yield first, padded.reshape(count, layout.stride)[:, :PACKET]
        first += count


class _Stream:
    """Checks the packets, block after block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._tables = {PAT_PID}
        self._tables_seen: dict[int, bytes] = {}
        self._last = np.zeros((1, PACKET), np.uint8)
        self.pictures = 0

    def look(self, packets: U8) -> tuple[int, str] | None:
        """The position in `packets` of the first damaged one, and its damage; None where all are sound."""
        checks = (_unsynchronised(packets), self._table(packets), self._start(packets))
        return min((wrong for wrong in checks if wrong is not None), default=None)

    def _table(self, packets: U8) -> tuple[int, str] | None:
        starts = (packets[:, 0] == SYNC) & (packets[:, 1] & 0xC0 == 0x40) & (packets[:, 3] & 0xF0 == 0x10)
        pids = _pids(packets)
        for tables in ([PAT_PID], self._tables):  # the first table lists the others
            for at in np.flatnonzero(starts & np.isin(pids, list(tables))):
                payload = packets[at, 4:].tobytes()
                section = None if payload == self._tables_seen.get(int(pids[at])) else _section(payload)
                if section is None:
                    continue
                if checksum(section):
                    return int(at), "a table with a wrong checksum"
                self._tables_seen[int(pids[at])] = payload
                if pids[at] == PAT_PID:
                    self._tables |= set(_programs(section))
        return None

    def _start(self, packets: U8) -> tuple[int, str] | None:
        """The packets with which a picture, or a piece of sound, of the stream begins."""
        wanted = (packets[:, 0] == SYNC) & (_pids(packets) == self._pid) & (packets[:, 1] & 0xC0 == 0x40)
        wanted &= (packets[:, 3] & 0xD0) == 0x10  # not scrambled, with content
        numbers = np.flatnonzero(wanted)
        if not len(numbers):
            return None
        starts = packets[numbers]
        # A packet may be sent twice in a row.
        again = (starts == np.concatenate([self._last, starts[:-1]])).all(axis=1)
        starts, numbers, self._last = starts[~again], numbers[~again], starts[-1:]
        adapted = starts[:, 3] & 0x20 != 0
        begin = 4 + np.where(adapted, 1 + starts[:, 4].astype(np.int64), 0)
        fits = begin + PES_HEADER <= PACKET
        places = np.minimum(begin[:, None] + np.arange(PES_HEADER), PACKET - 1)
        header = np.take_along_axis(starts, places, axis=1)
        self.pictures += int(np.count_nonzero(fits & (header[:, 7] & 0x80 != 0)))
        wrong = np.flatnonzero((fits & ~_pes_holds(header)) | (begin > PACKET))
        return (int(numbers[wrong[0]]), "the header of a picture or sound is broken") if len(wrong) else None


def _pids(packets: U8) -> np.typing.NDArray[np.int64]:
    return (packets[:, 1] & 0x1F).astype(np.int64) << 8 | packets[:, 2]


def _unsynchronised(packets: U8) -> tuple[int, str] | None:
    lost = np.flatnonzero(packets[:, 0] != SYNC)
    return (int(lost[0]), "no packet where one should begin") if len(lost) else None


def _pes_holds(header: U8) -> np.typing.NDArray[np.bool_]:
    """Whether each (n, PES_HEADER) header has the bits that all headers have."""
    holds = (header[:, 0] == 0) & (header[:, 1] == 0) & (header[:, 2] == 1) & (header[:, 6] & 0xC0 == 0x80)
    kind = header[:, 7] >> 6  # 0: no time, 2: one, 3: two; 1 is forbidden
    one = header[:, 9] & header[:, 11] & header[:, 13] & 1 == 1
    two = header[:, 14] & header[:, 16] & header[:, 18] & 1 == 1
    timed = np.select([kind == 0, kind == 2, kind == 3], [np.ones_like(one), one, one & two], default=False)
    return np.asarray(holds & timed, bool)


def _section(payload: bytes) -> bytes | None:
    """The table that begins and ends in this payload; None where it goes on in the next, or has no checksum."""
    begin = 1 + payload[0]
    size = int.from_bytes(payload[begin + 1 : begin + 3], "big")
    section = payload[begin : begin + 3 + (size & 0xFFF)]
    return section if size & 0x8000 and len(section) == 3 + (size & 0xFFF) else None


def _programs(section: bytes) -> Iterator[int]:
    """The packet numbers of the programs' tables, which the first table lists."""
    for at in range(8, len(section) - 4, 4):
        if section[at : at + 2] != b"\0\0":
            yield int.from_bytes(section[at + 2 : at + 4], "big") & 0x1FFF


def checksum(section: bytes) -> int:
    """CRC-32 of MPEG, 0 for a section with its own at the end. zlib has the same one with all bits reversed."""
    return zlib.crc32(section.translate(REVERSED)) ^ 0xFFFFFFFF
