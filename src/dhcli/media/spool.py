"""Decoded frames, kept for as long as they are played again: a few in memory, many in a nameless file.

It knows neither videos nor the order in which frames are shown.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dhcli.disk.part import open_scratch, translated
from dhcli.types import U8, Frame, FrameFormat

MEMORY_BYTES = 48 << 20
"""More goes to the disk. The 8 s sample takes 36 MB; of 720p it is a second, of 2160p four frames."""
DISK_BYTES = 1 << 30
"""30 s of 720p, 3 s of 2160p. They pass through the system's file cache, which gives way where memory is short."""
SHARE_OF_FREE = 4
"""No more than this part of the free disk: the output needs room, too."""


def spool_bytes(save_path: Path) -> int:
    """How much may be kept beside the output `save_path`."""
    try:
        free = shutil.disk_usage(save_path.parent).free
    except OSError:  # then memory has to do; what is wrong with the folder is the output's business
        free = 0
    return max(MEMORY_BYTES, min(DISK_BYTES, free // SHARE_OF_FREE))


class Spool:
    """The last `room` of consecutive frames, in any order. For one thread; leaving the block gives all of it back."""

    def __init__(self, save_path: Path, fmt: FrameFormat, room: int) -> None:
        """A file that is needed lies beside `save_path`."""
        self._save_path, self._room = save_path, room
        self._shape = (fmt.height * 3 // 2, fmt.width)
        self._bytes = fmt.frame_bytes
        self._in_memory = room * fmt.frame_bytes <= MEMORY_BYTES
        self._frames: dict[int, Frame] = {}
        self._fd: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames.clear()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def put(self, frame: Frame) -> None:
        """Keep a frame in the place of the one with its number modulo `room`. Raises DhError output.*."""
        slot = frame.index % self._room
        if self._in_memory:
            self._frames[slot] = frame
            return
        if self._fd is None:
            self._fd = open_scratch(self._save_path)
        with translated(self._save_path, f"have {self._room} decoded frames of {self._bytes} bytes beside it"):
            left, at = frame.data.data.cast("B"), slot * self._bytes
            while left:  # a full disk may take a part of it without an error at first
                done = os.pwrite(self._fd, left, at)
                left, at = left[done:], at + done

    def get(self, index: int) -> Frame:
        """A frame that was put and not replaced; it may be the very object. Raises DhError output.not_writable."""
        slot = index % self._room
        if self._in_memory:
            return self._frames[slot]
        assert self._fd is not None
        data: U8 = np.empty(self._shape, np.uint8)
        with translated(self._save_path, "have its decoded frames read back"):
            done = os.preadv(self._fd, [data.data], slot * self._bytes)
            if done != data.nbytes:
                raise OSError(0, f"{done} of {data.nbytes} bytes came")
        return Frame(index, data)
