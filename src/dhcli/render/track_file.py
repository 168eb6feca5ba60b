"""The followed face of a whole video, on disk: records of fixed size, so that memory stays flat however long it is.

The file holds the records in frame order. It has no name, lies beside the output and is gone when closed. An entry of
the store holds the same, and tells of the persons as well: it is copied there, so that nobody else's file can fail a
render that has begun. This module knows the format, not how a face is found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dhcli.disk.scratch import Scratch, ScratchFile
from dhcli.disk.store import Body, Entry
from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import CROP_SIDE, Geometry, pose_free
from dhcli.types import F64, U8, FaceRow, FrameFormat, Pose

FORMAT = 1
"""Of a track in the store; another number makes other keys."""

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
CHECKED_BLOCK = 1024
"""Records looked at at once where the whole track is: 1.4 MB."""
HEAD_BYTES, HEAD_BYTES_A_FRAME = 1 << 12, 32
"""Most that an entry says of itself: two numbers for each frame at which a shot or a stretch begins."""
FAR = 2
"""A face is no larger, and no farther away, than so many times the picture's longer side;"""
NEAR = 3
"""its mouth is no farther from the usual place than so many canonical units, two thirds of the height of a head."""
UPRIGHT = 1e-3
"""How exact a rotation is; the analysis computes it to 1e-15."""
REST_SHAPE, REFERENCE_SHAPE = (106, 3), (CROP_SIDE, CROP_SIDE, 3)
PERSON = np.dtype([("rest", "<f8", REST_SHAPE), ("reference", "u1", REFERENCE_SHAPE)])

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last frame of each stretch."""
Count = Annotated[int, Field(ge=0)]


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
    missing_ranges: Ranges
    """The stretches without the face."""


class FaceTrack:
    """Random access to the rows of an analysed video. Not for two threads at once."""

    def __init__(
        self,
        file: ScratchFile,
        frames: int,
        persons: tuple[Person, ...],
        totals: Totals,
        geometry: Geometry,
    ) -> None:
        """Takes over `file`."""
        self.frames = frames
        self.persons = persons
        self.totals = totals
        self._geometry = geometry
        self._file = file
        self._block = np.zeros(0, RECORD)
        self._block_start = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; it is gone with that."""
        self._file.close()

    def row(self, index: int) -> FaceRow | None:
        """The face in frame `index`, None where it is missing. Raises IndexError; DhError internal.bug after damage."""
        record = self._record(index)
        if record["state"] == MISSING:
            return None
        person, points = int(record["person"]), record["mouth"].astype(np.float64)
        pose = record_pose(record)
        code = self._geometry.mouth_code(pose_free(points, pose), self.persons[person].rest)
        return FaceRow(person, pose, points[:, :2].copy(), code, float(record["weight"]))

    def missing_among(self, frames: int) -> Ranges:
        """The stretches without the face among the first `frames` frames."""
        return tuple((first, min(last, frames - 1)) for first, last in self.totals.missing_ranges if first < frames)

    def pack(self, alive: Callable[[], None]) -> tuple[bytes, Body]:
        """Head and body of an entry that holds the whole track. `alive` is called now and then, and may raise."""
        totals = self.totals
        head = _Head(
            frames=self.frames,
            persons=len(self.persons),
            searched=totals.searched,
            most_faces=totals.most_faces,
            cuts=totals.cuts,
            missing_ranges=totals.missing_ranges,
        )
        return head.model_dump_json().encode(), lambda: self._packed(alive)

    def _packed(self, alive: Callable[[], None]) -> Iterator[bytes]:
        for person in self.persons:
            yield np.array((person.rest, person.reference), PERSON).tobytes()
        for first in range(0, self.frames, CHECKED_BLOCK):
            alive()
            yield read_records(self._file.fd, first, min(CHECKED_BLOCK, self.frames - first)).tobytes()

    def _record(self, index: int) -> np.void:
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} of {self.frames}")
        at = index - self._block_start
        if not 0 <= at < len(self._block):
            self._block_start = index - index % BLOCK
            count = min(BLOCK, self.frames - self._block_start)
            self._block = read_records(self._file.fd, self._block_start, count)
            at = index - self._block_start
        record = self._block[at]
        assert isinstance(record, np.void)
        return record


class _Head(BaseModel):
    """What an entry says of itself. That nobody damaged it is known; that dh wrote it is not."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    frames: Annotated[int, Field(ge=1)]
    persons: Annotated[int, Field(ge=1, le=1000)]
    searched: Count
    most_faces: Count
    cuts: tuple[Count, ...]
    missing_ranges: tuple[tuple[Count, Count], ...]


def unpack(
    entry: Entry, geometry: Geometry, fmt: FrameFormat, frames: int, scratch: Scratch, alive: Callable[[], None]
) -> FaceTrack | None:
    """The track of `frames` frames in an entry, which is closed afterwards; None where it is no sound track of a video
    of this format, or cannot be read any more.

    It is copied into a scratch file. `alive` is called now and then, and may raise. Raises DhError
    output.disk_full, output.not_writable.
    """
    with entry:
        try:
            return _unpacked(entry, geometry, fmt, frames, scratch, alive)
        except (EOFError, OSError):  # cut, or over a network removed by another machine: it is as good as absent
            return None


def _unpacked(
    entry: Entry, geometry: Geometry, fmt: FrameFormat, frames: int, scratch: Scratch, alive: Callable[[], None]
) -> FaceTrack | None:
    head = _head_of(entry, frames)
    if head is None:
        return None
    persons_bytes = head.persons * PERSON.itemsize
    people = np.frombuffer(entry.body(persons_bytes), PERSON)
    usual = geometry.canonical[geometry.mouth]
    if not _within(people["rest"] - usual, NEAR):
        return None
    persons = tuple(Person(one["rest"].astype(np.float64), one["reference"].copy()) for one in people)
    totals = Totals(head.searched, head.most_faces, head.cuts, head.missing_ranges)
    missing = np.zeros(frames, bool)
    for first, last in head.missing_ranges:
        missing[first : last + 1] = True
    file = TrackFile(scratch)
    try:
        for first in range(0, frames, CHECKED_BLOCK):
            alive()
            count = min(CHECKED_BLOCK, frames - first)
            data = entry.body(count * RECORD.itemsize, persons_bytes + first * RECORD.itemsize)
            records = np.frombuffer(data, RECORD)
            lacking = records["state"] == MISSING
            if (lacking != missing[first : first + count]).any() or not _sound(
                records[~lacking], head.persons, fmt, usual
            ):
                return None
            file.append(records)
        return file.seal(persons, totals, geometry)
    finally:
        file.discard()


def _head_of(entry: Entry, frames: int) -> _Head | None:
    """What the entry says of itself, where that holds for a video of `frames` frames."""
    if len(entry.head) > HEAD_BYTES + frames * HEAD_BYTES_A_FRAME:
        return None
    try:
        head = _Head.model_validate_json(entry.head)
    except ValidationError:
        return None
    right_size = entry.size == head.persons * PERSON.itemsize + frames * RECORD.itemsize
    return head if right_size and head.frames == frames >= head.searched and _in_order(head) else None


def _in_order(head: _Head) -> bool:
    """Cuts and stretches lie one behind the other within the video."""
    at = [frame for stretch in head.missing_ranges for frame in stretch]
    apart = all(after > before + 1 for before, after in zip(at[1::2], at[2::2], strict=False))
    cuts = list(head.cuts)
    return at == sorted(at) and apart and cuts == sorted(set(cuts)) and max((*at, *cuts), default=0) < head.frames


def _sound(seen: np.typing.NDArray[np.void], persons: int, fmt: FrameFormat, usual: F64) -> bool:
    """Whether records with a face are such as the analysis can have written: of a face in or near the picture."""
    far = FAR * max(fmt.width, fmt.height)
    scale, rotation, mouth = seen["scale"][:, None, None], seen["rotation"], seen["mouth"]
    if not (_within(seen["translation"], far) and _within(mouth, far) and _within(rotation, 1 + UPRIGHT)):
        return False
    if not (
        (seen["state"] <= BRIDGED) & (seen["person"] < persons) & (seen["scale"] > 0) & (seen["scale"] < far)
    ).all():
        return False
    face = (mouth - seen["translation"][:, None]) @ rotation / scale
    return bool(
        _within(rotation @ rotation.swapaxes(1, 2) - np.eye(3), UPRIGHT)
        and (np.linalg.det(rotation) > 0).all()
        and _within(face - usual, NEAR)
        and ((seen["weight"] >= 0) & (seen["weight"] <= 1)).all()
        and ((seen["opening"] >= 0) & (seen["opening"] <= 2 * NEAR)).all()
    )


def _within(numbers: np.typing.NDArray[np.floating], most: float) -> bool:
    """Whether all are numbers, and none is larger, with or without its sign."""
    return bool((np.abs(numbers) <= most).all())


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

    def __init__(self, scratch: Scratch) -> None:
        """Opens a scratch file. Raises DhError output.disk_full, output.not_writable."""
        self._buffer = bytearray()
        self._at = 0
        self.frames = 0
        self._file: ScratchFile | None = scratch.open(f"the face track ({RECORD.itemsize} bytes a frame)")

    @property
    def file(self) -> ScratchFile:
        """The open file, until `seal` or `discard`."""
        assert self._file is not None
        return self._file

    def append(self, records: np.typing.NDArray[np.void]) -> None:
        """Write records, shape (N,). Raises DhError output.*, like `flush`."""
        self._buffer += records.tobytes()
        self.frames += len(records)
        if len(self._buffer) >= BLOCK * RECORD.itemsize:
            self.flush()

    def flush(self) -> None:
        """Everything appended can be read with `read_records` from now on."""
        self.file.write(self._buffer, self._at)
        self._at += len(self._buffer)
        self._buffer.clear()

    def seal(self, persons: tuple[Person, ...], totals: Totals, geometry: Geometry) -> FaceTrack:
        """The same file for reading; it is the track's from now on."""
        self.flush()
        file, self._file = self.file, None
        return FaceTrack(file, self.frames, persons, totals, geometry)

    def discard(self) -> None:
        """Close the file; after `seal` this does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None
