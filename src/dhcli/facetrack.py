"""The followed face of a whole video, on disk: records of fixed size, so that memory stays flat however long it is.

The file is a header, the records in frame order, and a trailer (.npz) with the persons and the totals. It is written to
a temporary name and renamed when whole, or has no name at all. This module knows the format, not how a face is found.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from dhcli.errors import DhError
from dhcli.stages.geometry import CROP_SIDE, Geometry, pose_free
from dhcli.types import F64, U8, FaceRow, Pose

MAGIC = b"dhFaces\n"
VERSION = 1
"""Of the file and of what the numbers in it mean; another one is analysed again."""
HEADER = struct.Struct("<8sIIQQ")
"""Magic, version, record size, records, offset of the trailer."""
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
        """Give the file back; a nameless one is gone with that."""
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
    data = os.pread(fd, count * RECORD.itemsize, HEADER.size + first * RECORD.itemsize)
    if len(data) != count * RECORD.itemsize:
        raise DhError(
            "internal.bug",
            f"The face track ends at byte {len(data)} of {count * RECORD.itemsize} from frame {first} on.",
            hint="Another program changed dh's files while it ran.",
        )
    return np.frombuffer(data, RECORD)


class TrackFile:
    """A face track while it is written."""

    def __init__(self, path: Path | None) -> None:
        """`path` is where the finished file shall be; None makes a nameless one. Raises DhError env.disk_full."""
        self._path = path
        self._part: Path | None = None
        self._buffer = bytearray()
        self._at = HEADER.size
        self.frames = 0
        with _disk_errors(path):
            self.fd = self._open()

    def _open(self) -> int:
        if self._path is None:
            fd, name = tempfile.mkstemp(prefix="dh-faces-")
            Path(name).unlink()
            return fd
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        self._part = Path(name)
        return fd

    def append(self, record: np.typing.NDArray[np.void]) -> None:
        """Write one record, shape (1,)."""
        self._buffer += record.tobytes()
        self.frames += 1
        if len(self._buffer) >= BLOCK * RECORD.itemsize:
            self.flush()

    def flush(self) -> None:
        """Everything appended can be read with `read_records` from now on."""
        with _disk_errors(self._path):
            _write(self.fd, bytes(self._buffer), self._at)
        self._at += len(self._buffer)
        self._buffer.clear()

    def seal(self, persons: tuple[Person, ...], totals: Totals, geometry: Geometry) -> FaceTrack:
        """Write header and trailer, give the file its name, and open it for reading."""
        self.flush()
        trailer = io.BytesIO()
        np.savez(
            trailer,
            rest=np.array([p.rest for p in persons]).reshape(-1, 106, 3),
            reference=np.array([p.reference for p in persons], np.uint8).reshape(-1, CROP_SIDE, CROP_SIDE, 3),
            totals=np.array([totals.searched, totals.most_faces]),
            cuts=np.array(totals.cuts, np.int64),
            missing=np.array(totals.missing_ranges, np.int64).reshape(-1, 2),
        )
        with _disk_errors(self._path):
            _write(self.fd, trailer.getvalue(), self._at)
            _write(self.fd, HEADER.pack(MAGIC, VERSION, RECORD.itemsize, self.frames, self._at), 0)
            if self._part is not None and self._path is not None:
                os.fsync(self.fd)  # a name must never stand for a file whose content the disk does not have
                self._part.replace(self._path)
                self._part = None
        fd, self.fd = self.fd, -1
        return FaceTrack(fd, self.frames, persons, totals, geometry)

    def discard(self) -> None:
        """Leave nothing behind; after `seal` there is nothing to leave."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None


def load_track(path: Path, geometry: Geometry) -> FaceTrack | None:
    """The face track in a file; None if there is none, or not a whole one of this version: then analyse again."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _load(fd, geometry)
    except (ValueError, KeyError, OSError, EOFError, struct.error, zipfile.BadZipFile):
        os.close(fd)
        return None


def _load(fd: int, geometry: Geometry) -> FaceTrack:
    magic, version, size, frames, end = HEADER.unpack(os.pread(fd, HEADER.size, 0))
    if (magic, version, size, end) != (MAGIC, VERSION, RECORD.itemsize, HEADER.size + frames * size):
        raise ValueError("another format")
    trailer = os.pread(fd, os.fstat(fd).st_size - end, end)
    with np.load(io.BytesIO(trailer), allow_pickle=False) as data:
        persons = tuple(Person(r, p) for r, p in zip(data["rest"], data["reference"], strict=True))
        searched, most = data["totals"].tolist()
        missing = tuple((int(first), int(last)) for first, last in data["missing"])
        totals = Totals(searched, most, tuple(data["cuts"].tolist()), missing)
    return FaceTrack(fd, frames, persons, totals, geometry)


def _write(fd: int, data: bytes, offset: int) -> None:
    """All of `data`; a full disk may take a part of it without an error at first."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


@contextlib.contextmanager
def _disk_errors(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = tempfile.gettempdir() if path is None else path.parent
        raise DhError(
            "env.disk_full",
            f"The face track cannot be written in {where}: {error.strerror}.",
            hint="It takes 1.4 kB a frame. Make room there, or set TMPDIR to another folder.",
        ) from error
