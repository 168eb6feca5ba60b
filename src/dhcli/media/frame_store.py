"""Keeps decoded frames that are shown again: a few in memory, many in a scratch file."""

from __future__ import annotations

from typing import Self

import numpy as np

from dhcli.disk.scratch import Scratch, ScratchFile
from dhcli.types import U8, Frame, FrameFormat

MEMORY_BYTES = 48 << 20
"""More frames go to the disk. This is a second of 720p, or four frames of 2160p; the 8 s sample takes 36 MB."""
DISK_BYTES = 1 << 30
"""30 s of 720p, 3 s of 2160p. The system's file cache holds them, and drops them where memory is short."""
SHARE_OF_FREE = 4
"""At most one part in so many of the free disk is used: the output needs space, too."""


def store_budget(scratch: Scratch) -> int:
    """How many bytes of frames may be kept where large ones lie in a file of `scratch`."""
    return max(MEMORY_BYTES, min(DISK_BYTES, scratch.free_bytes // SHARE_OF_FREE))


class FrameStore:
    """The last `capacity` frames that were put, by their numbers. For one thread; leaving the block frees all of it."""

    def __init__(self, scratch: Scratch, fmt: FrameFormat, frames: int, budget_bytes: int) -> None:
        """The capacity is `frames`, or as many as `budget_bytes` hold, at least 2.

        Where they do not fit into memory they lie in a file of `scratch`, with all of its space reserved at once. Where
        the disk refuses that, only as many frames are kept as fit into memory: keeping frames just saves time.
        """
        self._shape = (fmt.height * 3 // 2, fmt.width)
        self._bytes = fmt.frame_bytes
        self._frames: dict[int, Frame] = {}
        self._file: ScratchFile | None = None
        self.capacity = min(frames, max(2, budget_bytes // self._bytes))
        in_memory = max(2, MEMORY_BYTES // self._bytes)
        if self.capacity > in_memory:
            content = f"decoded frames of {self._bytes} bytes"
            self._file = scratch.open_reserved(content, self.capacity * self._bytes)
            if self._file is None:
                self.capacity = in_memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def put(self, frame: Frame) -> None:
        """Keep a frame in the place of the one with its number modulo `capacity`; it may become read-only by that.

        Raises DhError output.*.
        """
        slot = frame.index % self.capacity
        if self._file is None:
            self._frames[slot] = frame.read_only()
        else:
            self._file.write(frame.data.data, slot * self._bytes)

    def get(self, index: int) -> Frame:
        """A frame that was put and not replaced: the very object, which is read-only, or a new one.

        Raises DhError output.not_writable.
        """
        slot = index % self.capacity
        if self._file is None:
            return self._frames[slot]
        data: U8 = np.empty(self._shape, np.uint8)
        self._file.read_into(data.data, slot * self._bytes)
        return Frame(index, data)
