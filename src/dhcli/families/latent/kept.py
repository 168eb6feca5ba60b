"""Latents of a job's frames in a scratch file: a video that is played again and again is encoded once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dhcli.disk.scratch import Scratch, ScratchFile

F16 = npt.NDArray[np.float16]
CONTENT = "latents of its frames"
"""Names the data in error messages."""
MOST_BYTES = 256 << 20
"""Of the file: 16,384 frames of MuseTalk, 11 minutes; a video that is longer is hardly played twice."""


class LatentFile:
    """Latents by the number of their frame. Not for two threads at once."""

    def __init__(self, scratch: Scratch, shape: tuple[int, int, int]) -> None:
        """`shape`: of the latents of one frame."""
        self._scratch, self._shape = scratch, shape
        self._bytes = 2 * math.prod(shape)
        self._places: dict[int, int] = {}
        self._file: ScratchFile | None = None

    def find(self, frame: int) -> F16 | None:
        """The latents of a frame, None where they are not kept. Raises DhError output.not_writable."""
        place = self._places.get(frame)
        if place is None or self._file is None:
            return None
        latents = np.empty(self._shape, np.float16)
        self._file.read_into(latents.data.cast("B"), place * self._bytes)
        return latents

    def keep(self, frame: int, latents: F16) -> None:
        """Keep a frame's latents while there is room for them. Raises DhError output.*."""
        if (len(self._places) + 1) * self._bytes > min(MOST_BYTES, self._scratch.free_bytes):
            return
        if self._file is None:
            self._file = self._scratch.open(CONTENT)
        place = len(self._places)
        self._file.write(np.ascontiguousarray(latents, np.float16).data.cast("B"), place * self._bytes)
        self._places[frame] = place
