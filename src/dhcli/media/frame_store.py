"""Decoded frames, kept for as long as they are played again: a few in memory, many in a nameless file.

It knows neither videos nor the order in which frames are shown.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dhcli.disk.part import FULL, open_scratch, translated, write_all
from dhcli.types import U8, Frame, FrameFormat

MEMORY_BYTES = 48 << 20
"""More goes to the disk. The 8 s sample takes 36 MB; of 720p it is a second, of 2160p four frames."""
DISK_BYTES = 1 << 30
"""30 s of 720p, 3 s of 2160p. They pass through the system's file cache, which gives way where memory is short."""
SHARE_OF_FREE = 4
"""No more than this part of the free disk: the output needs room, too."""

NO_ROOM = FULL | {errno.EOPNOTSUPP}
"""EOPNOTSUPP: a file system that cannot tell before."""


def spool_bytes(save_path: Path, keep_free_bytes: int) -> int:
    """How much may be kept beside the output `save_path`, on a disk where so much has to stay free."""
    try:
        free = shutil.disk_usage(save_path.parent).free
    except OSError:  # then memory has to do; what is wrong with the folder is the output's business
        free = 0
    return max(MEMORY_BYTES, min(DISK_BYTES, (free - keep_free_bytes) // SHARE_OF_FREE))


class Spool:
    """The last `room` of consecutive frames, in any order. For one thread; leaving the block gives all of it back."""

    def __init__(self, save_path: Path, fmt: FrameFormat, frames: int, budget_bytes: int) -> None:
        """Room for `frames`, or for as many as `budget_bytes` hold, at least for 2.

        A file that is needed lies beside `save_path` and gets all of its room at once. Where a quota or a limit does
        not grant it, what fits into memory is the room: keeping frames saves time, and is no reason to fail.
        """
        self._save_path = save_path
        self._shape = (fmt.height * 3 // 2, fmt.width)
        self._bytes = fmt.frame_bytes
        self._frames: dict[int, Frame] = {}
        self._fd: int | None = None
        self.room = min(frames, max(2, budget_bytes // self._bytes))
        in_memory = max(2, MEMORY_BYTES // self._bytes)
        if self.room > in_memory:
            self._fd = _reserved(save_path, self.room * self._bytes)
            if self._fd is None:
                self.room = in_memory

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
        """Keep a frame in the place of the one with its number modulo `room`; it may become read-only by that.

        Raises DhError output.*.
        """
        slot = frame.index % self.room
        if self._fd is None:
            self._frames[slot] = frame.sealed()
            return
        with translated(self._save_path, f"have decoded frames of {self._bytes} bytes beside it"):
            write_all(self._fd, frame.data.data, slot * self._bytes)

    def get(self, index: int) -> Frame:
        """A frame that was put and not replaced: the very object, which is read-only, or a new one.

        Raises DhError output.not_writable.
        """
        slot = index % self.room
        if self._fd is None:
            return self._frames[slot]
        data: U8 = np.empty(self._shape, np.uint8)
        with translated(self._save_path, "have its decoded frames read back"):
            done = os.preadv(self._fd, [data.data], slot * self._bytes)
            if done != data.nbytes:
                raise OSError(errno.EIO, f"{done} of {data.nbytes} bytes came")
        return Frame(index, data)


def _reserved(save_path: Path, size: int) -> int | None:
    """A nameless file with so much room on the disk; None where it is not to be had. Raises DhError output.*."""
    fd = open_scratch(save_path)
    with translated(save_path, f"have {size} bytes of decoded frames beside it"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            os.close(fd)
            if error.errno not in NO_ROOM:
                raise
            return None
    return fd
