"""Decoded frames, kept for as long as they are played again: a few in memory, many in a nameless file.

It knows neither videos nor the order in which frames are shown.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from dhcli.disk.scratch import Scratch, ScratchFile
from dhcli.types import U8, Frame, FrameFormat

MEMORY_BYTES = 48 << 20
"""More goes to the disk. The 8 s sample takes 36 MB; of 720p it is a second, of 2160p four frames."""
DISK_BYTES = 1 << 30
"""30 s of 720p, 3 s of 2160p. They pass through the system's file cache, which gives way where memory is short."""
SHARE_OF_FREE = 4
"""No more than this part of the free disk: the output needs room, too."""


def spool_bytes(scratch: Scratch) -> int:
    """How many bytes of frames may be kept where large ones lie in a file of `scratch`."""
    return max(MEMORY_BYTES, min(DISK_BYTES, scratch.free_bytes // SHARE_OF_FREE))


class Spool:
    """The last `room` of consecutive frames, in any order. For one thread; leaving the block frees memory and disk."""

    def __init__(self, scratch: Scratch, fmt: FrameFormat, frames: int, budget_bytes: int) -> None:
        """Room for `frames`, or for as many as `budget_bytes` hold, at least for 2.

        Where they do not fit into memory they lie in a file of `scratch`, with all of its space reserved at once. Where
        the disk refuses that, only as many frames are kept as fit into memory: keeping frames just saves time.
        """
        self._shape = (fmt.height * 3 // 2, fmt.width)
        self._bytes = fmt.frame_bytes
        self._frames: dict[int, Frame] = {}
        self._file: ScratchFile | None = None
        self.room = min(frames, max(2, budget_bytes // self._bytes))
        in_memory = max(2, MEMORY_BYTES // self._bytes)
        if self.room > in_memory:
            content = f"decoded frames of {self._bytes} bytes"
            self._file = scratch.open_reserved(content, self.room * self._bytes)
            if self._file is None:
                self.room = in_memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def put(self, frame: Frame) -> None:
        """Keep a frame in the place of the one with its number modulo `room`; it may become read-only by that.

        Raises DhError output.*.
        """
        slot = frame.index % self.room
        if self._file is None:
            self._frames[slot] = frame.sealed()
        else:
            self._file.write(frame.data.data, slot * self._bytes)

    def get(self, index: int) -> Frame:
        """A frame that was put and not replaced: the very object, which is read-only, or a new one.

        Raises DhError output.not_writable.
        """
        slot = index % self.room
        if self._file is None:
            return self._frames[slot]
        data: U8 = np.empty(self._shape, np.uint8)
        self._file.read_into(data.data, slot * self._bytes)
        return Frame(index, data)
