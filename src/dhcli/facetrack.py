"""The followed face of a whole video, on disk: records of fixed size, so that memory stays flat however long it is.

The file holds the records in frame order. It has no name, lies beside the output and is gone when closed. This module
knows the format, not how a face is found.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from dhcli.errors import DhError
from dhcli.part import open_scratch, translated
from dhcli.stages.geometry import Geometry, pose_free
from dhcli.types import F64, U8, FaceRow, Pose

MISSING, SEEN, BRIDGED = 0, 1, 2
RECORD = np.dtype(
    [
        ("state", "<u4"),
        ("person", "<u4"),
        ("weight", "<f8"),
        ("opening", "<f8"),
        ("scale", "<f8"),
        ("rotation", "<f8", (3, 3)),
        ("translation", "<f8", (3,)),
        ("mouth", "<f4", (106, 3)),
    ]
)
"""1400 bytes. Single precision places a point of an 8K picture within 0.0005 px."""
BLOCK = 64
"""Records read at once: 90 kB, two seconds of a video that is played forward and backward."""


@dataclass(frozen=True, slots=True)
class Person:
    """What the renderer has to know of one person in the video."""

    rest: F64  # (106, 3) canonical units: the mouth when it is closed
    reference: U8  # (160, 160, 3) RGB: the face network's crop with the mouth widest open


@dataclass(frozen=True, slots=True)
class Totals:
    """What was found in the whole video."""

    searched: int
    """Frames in which the whole picture was searched for faces."""
    most_faces: int
    cuts: tuple[int, ...]
    """First frames of the second and later shots."""
    missing_ranges: tuple[tuple[int, int], ...]
    """First and last frame of each stretch without the face."""


class FaceTrack:
    """Random access to the rows of an analysed video. Not for two threads at once."""

    def __init__(self, fd: int, frames: int, persons: tuple[Person, ...], totals: Totals, geometry: Geometry) -> None:
        """Takes over `fd`."""
        self.frames = frames
        self.persons = persons
        self.cuts = totals.cuts
        self.searched = totals.searched
        self.faces_seen_max = totals.most_faces
        self.missing_ranges = totals.missing_ranges
        self.missing = sum(last - first + 1 for first, last in totals.missing_ranges)
        """Frames without the face."""
        self._geometry = geometry
        self._fd = fd
        self._block = np.zeros(0, RECORD)
        self._block_start = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; it is gone with that."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def row(self, index: int) -> FaceRow | None:
        """The face in frame `index`, None where it is missing. Raises IndexError; DhError internal.bug after damage."""
        record = self._record(index)
        if record["state"] == MISSING:
            return None
        person, points = int(record["person"]), record["mouth"].astype(np.float64)
        pose = record_pose(record)
        code = self._geometry.mouth_code(pose_free(points, pose), self.persons[person].rest)
        return FaceRow(person, pose, points[:, :2].copy(), code, float(record["weight"]))

    def _record(self, index: int) -> np.void:
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} of {self.frames}")
        at = index - self._block_start
        if not 0 <= at < len(self._block):
            self._block_start = index - index % BLOCK
            self._block = read_records(self._fd, self._block_start, min(BLOCK, self.frames - self._block_start))
            at = index - self._block_start
        record = self._block[at]
        assert isinstance(record, np.void)
        return record


def record_pose(record: np.void) -> Pose:
    """The head's pose in a record with a face."""
    return Pose(float(record["scale"]), record["rotation"].copy(), record["translation"].copy())


def read_records(fd: int, first: int, count: int) -> np.typing.NDArray[np.void]:
    """`count` records from `first` on."""
    data = os.pread(fd, count * RECORD.itemsize, first * RECORD.itemsize)
    if len(data) != count * RECORD.itemsize:
        raise DhError(
            "internal.bug",
            f"The face track ends at byte {len(data)} of {count * RECORD.itemsize} from frame {first} on.",
            hint="Another program changed dh's files while it ran.",
        )
    return np.frombuffer(data, RECORD)


class TrackFile:
    """A face track while it is written."""

    def __init__(self, save_path: Path) -> None:
        """The file lies beside the output `save_path`. Raises DhError output.disk_full, output.not_writable."""
        self._save_path = save_path
        self._buffer = bytearray()
        self._at = 0
        self.frames = 0
        self.fd = open_scratch(save_path)

    def append(self, record: np.typing.NDArray[np.void]) -> None:
        """Write one record, shape (1,). Raises DhError output.*, like `flush`."""
        self._buffer += record.tobytes()
        self.frames += 1
        if len(self._buffer) >= BLOCK * RECORD.itemsize:
            self.flush()

    def flush(self) -> None:
        """Everything appended can be read with `read_records` from now on."""
        left = memoryview(bytes(self._buffer))
        with translated(self._save_path, f"have the face track ({RECORD.itemsize} bytes a frame) beside it"):
            while left:  # a full disk may take a part of it without an error at first
                done = os.pwrite(self.fd, left, self._at)
                left, self._at = left[done:], self._at + done
        self._buffer.clear()

    def seal(self, persons: tuple[Person, ...], totals: Totals, geometry: Geometry) -> FaceTrack:
        """The same file for reading; it is the track's from now on."""
        self.flush()
        fd, self.fd = self.fd, -1
        return FaceTrack(fd, self.frames, persons, totals, geometry)

    def discard(self) -> None:
        """Leave nothing behind; after `seal` there is nothing to leave."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
