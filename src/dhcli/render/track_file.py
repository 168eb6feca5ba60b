"""The followed face of a whole video, on disk: a record of fixed size for each frame, so that memory stays flat.

The file is a scratch file of the job. An entry of the store holds the same records and is copied into such a file, so
that no other program can change a track while it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dhcli.disk.scratch import Scratch, ScratchFile
from dhcli.disk.store import Body, Entry
from dhcli.render.track_record import (
    BETWEEN,
    COVERED,
    LOOKED,
    MISSING,
    RECORD,
    Records,
    packed_row,
    points_of,
    unpacked_row,
)
from dhcli.stages.census import MOST, Sighting
from dhcli.stages.mesh import FaceMesh
from dhcli.types import Box, FaceRow, FrameFormat

FORMAT = 4
"""Of a track in the store; another number makes other keys."""

MOST_PERSONS = 256
BLOCK = 64
"""Records read at once: 160 kB, two seconds of a video that is played forward and backward."""
CHECKED_BLOCK = 256
"""Records looked at at once where the whole track is: 0.6 MB, and their points 3 MB."""
HEAD_BYTES, HEAD_BYTES_A_FRAME = 1 << 14, 32
"""Most that an entry says of itself: persons, and two numbers for each frame at which a shot or a stretch begins."""
FAR = 2
"""A face is no larger, and no farther away, than so many times the picture's longer side;"""
NEAR = 3
"""its landmarks are no farther from their usual places than so many canonical units, two thirds of a head's height."""
UPRIGHT = 1e-3
"""How exact a rotation is; single precision keeps it to 1e-7."""

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last frame of each stretch."""
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Totals:
    """What was found in the whole video."""

    persons: int
    searched: int
    """Frames in which the whole picture was searched for faces."""
    most_faces: int
    cuts: tuple[int, ...]
    """First frames of the second and later shots."""
    missing_ranges: Ranges
    """The stretches without the face."""
    covered_ranges: Ranges = ()
    """The stretches with something in front of the mouth."""
    sightings: tuple[Sighting, ...] = ()
    """Everybody whom the video shows, those that were not taken, too."""


class FaceTrack:
    """Random access to the rows of an analysed video. Not for two threads at once."""

    def __init__(self, file: ScratchFile, frames: int, totals: Totals, mesh: FaceMesh) -> None:
        """Takes over the file, which holds `frames` records."""
        self.frames = frames
        self.totals = totals
        self._mesh = mesh
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
        """The face in frame `index`, None where it is missing. Raises IndexError; DhError output.not_writable."""
        record = self._record(index)
        return None if record["state"] == MISSING else unpacked_row(index, record, self._mesh)

    def rows(self) -> Iterator[FaceRow]:
        """All faces, in order. Raises DhError output.not_writable."""
        for index in range(self.frames):
            row = self.row(index)
            if row is not None:
                yield row

    def missing_among(self, frames: int) -> Ranges:
        """The stretches without the face among the first `frames` frames."""
        return _among(self.totals.missing_ranges, frames)

    def covered_among(self, frames: int) -> Ranges:
        """The stretches with a covered mouth among the first `frames` frames."""
        return _among(self.totals.covered_ranges, frames)

    def pack(self, alive: Callable[[], None]) -> tuple[bytes, Body]:
        """Head and body of an entry that holds the whole track. `alive` is called now and then, and may raise."""
        totals = self.totals
        head = _Head(
            frames=self.frames,
            persons=totals.persons,
            searched=totals.searched,
            most_faces=totals.most_faces,
            cuts=totals.cuts,
            missing_ranges=totals.missing_ranges,
            covered_ranges=totals.covered_ranges,
            sightings=tuple(_Sighting.of(one) for one in totals.sightings),
        )
        return head.model_dump_json().encode(), lambda: self._packed(alive)

    def _packed(self, alive: Callable[[], None]) -> Iterator[bytes]:
        for first in range(0, self.frames, CHECKED_BLOCK):
            alive()
            yield _read(self._file, first, min(CHECKED_BLOCK, self.frames - first)).tobytes()

    def _record(self, index: int) -> np.void:
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} of {self.frames}")
        at = index - self._block_start
        if not 0 <= at < len(self._block):
            self._block_start = index - index % BLOCK
            self._block = _read(self._file, self._block_start, min(BLOCK, self.frames - self._block_start))
            at = index - self._block_start
        record = self._block[at]
        assert isinstance(record, np.void)
        return record


class TrackFile:
    """A face track while it is written."""

    def __init__(self, scratch: Scratch, mesh: FaceMesh) -> None:
        """Raises DhError output.disk_full, output.not_writable."""
        self._mesh = mesh
        self._buffer = bytearray()
        self._at = 0
        self._frames = 0
        self._file: ScratchFile | None = scratch.open(f"the face track ({RECORD.itemsize} bytes a frame)")

    def append(self, row: FaceRow | None) -> FaceRow | None:
        """Write the next frame's face, None where it is missing; the face as it is kept. Raises DhError output.*."""
        record = np.zeros(1, RECORD) if row is None else packed_row(row, self._mesh)
        self.copy(record)
        return None if row is None else unpacked_row(row.index, record[0], self._mesh)

    def copy(self, records: Records) -> None:
        """Write records, shape (N,). Raises DhError output.*."""
        self._buffer += records.tobytes()
        self._frames += len(records)
        if len(self._buffer) >= BLOCK * RECORD.itemsize:
            self._flush()

    def finish(self, totals: Totals) -> FaceTrack:
        """The same file for reading; it is the track's from now on. Raises DhError output.*."""
        self._flush()
        assert self._file is not None
        file, self._file = self._file, None
        return FaceTrack(file, self._frames, totals, self._mesh)

    def discard(self) -> None:
        """Leave nothing behind; after `finish` there is nothing to leave."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _flush(self) -> None:
        assert self._file is not None
        self._file.write(self._buffer, self._at)
        self._at += len(self._buffer)
        self._buffer.clear()


def _read(file: ScratchFile, first: int, count: int) -> Records:
    records = np.empty(count, RECORD)
    file.read_into(records.view(np.uint8).data, first * RECORD.itemsize)
    return records


class _Sighting(BaseModel):
    """A person of `Totals.sightings`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    box: tuple[float, float, float, float]
    first: Count
    last: Count
    looks: Count
    taken: Count

    @classmethod
    def of(cls, one: Sighting) -> Self:
        box = one.box
        return cls(
            box=(box.x, box.y, box.width, box.height), first=one.first, last=one.last, looks=one.looks, taken=one.taken
        )

    @property
    def sighting(self) -> Sighting:
        return Sighting(Box(*self.box), self.first, self.last, self.looks, self.taken)


class _Head(BaseModel):
    """What an entry says of itself. A checksum proves it undamaged, not that dh wrote it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    frames: Annotated[int, Field(ge=1)]
    persons: Annotated[int, Field(ge=1, le=MOST_PERSONS)]
    searched: Count
    most_faces: Count
    cuts: tuple[Count, ...]
    missing_ranges: tuple[tuple[Count, Count], ...]
    covered_ranges: tuple[tuple[Count, Count], ...]
    sightings: Annotated[tuple[_Sighting, ...], Field(max_length=MOST)]

    @property
    def totals(self) -> Totals:
        return Totals(
            self.persons,
            self.searched,
            self.most_faces,
            self.cuts,
            self.missing_ranges,
            self.covered_ranges,
            tuple(one.sighting for one in self.sightings),
        )


def unpack(
    entry: Entry, mesh: FaceMesh, fmt: FrameFormat, frames: int, scratch: Scratch, alive: Callable[[], None]
) -> FaceTrack | None:
    """The track of `frames` frames in an entry, which is closed afterwards, copied into a file of `scratch`.

    None where it is no sound track of a video of this format, or cannot be read any more. `alive` is called now and
    then, and may raise. Raises DhError output.disk_full, output.not_writable.
    """
    with entry:
        try:
            return _unpacked(entry, mesh, fmt, frames, scratch, alive)
        except (EOFError, OSError):  # cut, or over a network removed by another machine: it is as good as absent
            return None


def _unpacked(
    entry: Entry, mesh: FaceMesh, fmt: FrameFormat, frames: int, scratch: Scratch, alive: Callable[[], None]
) -> FaceTrack | None:
    head = _head_of(entry, frames)
    if head is None:
        return None
    told = [(MISSING, _marked(head.missing_ranges, frames)), (COVERED, _marked(head.covered_ranges, frames))]
    persons: set[int] = set()
    file = TrackFile(scratch, mesh)
    try:
        for first in range(0, frames, CHECKED_BLOCK):
            alive()
            count = min(CHECKED_BLOCK, frames - first)
            records = np.frombuffer(entry.body(count * RECORD.itemsize, first * RECORD.itemsize), RECORD)
            if any(((records["state"] == state) != where[first : first + count]).any() for state, where in told):
                return None
            lacking = records["state"] == MISSING
            if not _sound(records[~lacking], head.persons, fmt, mesh):
                return None
            persons.update(records["person"][np.isin(records["state"], (LOOKED, BETWEEN))].tolist())
            file.copy(records)
        return file.finish(head.totals) if len(persons) == head.persons else None
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
    right_size = entry.size == frames * RECORD.itemsize
    return head if right_size and head.frames == frames >= head.searched and _in_order(head) else None


def _in_order(head: _Head) -> bool:
    """Cuts and stretches lie one behind the other within the video."""
    cuts, ends = list(head.cuts), [0]
    for ranges in (head.missing_ranges, head.covered_ranges):
        at = [frame for stretch in ranges for frame in stretch]
        apart = all(after > before + 1 for before, after in zip(at[1::2], at[2::2], strict=False))
        if at != sorted(at) or not apart:
            return False
        ends += at[-1:]
    return cuts == sorted(set(cuts)) and max((*ends, *cuts)) < head.frames


def _among(ranges: Ranges, frames: int) -> Ranges:
    return tuple((first, min(last, frames - 1)) for first, last in ranges if first < frames)


def _marked(ranges: Ranges, frames: int) -> np.typing.NDArray[np.bool_]:
    """Which of the frames lie in one of the ranges, (frames,)."""
    marks = np.zeros(frames, bool)
    for first, last in ranges:
        marks[first : last + 1] = True
    return marks


def _sound(seen: Records, persons: int, fmt: FrameFormat, mesh: FaceMesh) -> bool:
    """Whether records with a face are such as the analysis can have written: of a face in or near the picture."""
    far = FAR * max(fmt.width, fmt.height)
    scale, rotation, box = seen["scale"][:, None, None], seen["rotation"], seen["box"]
    if not (_within(seen["translation"], far) and _within(box, far) and _within(rotation, 1 + UPRIGHT)):
        return False
    if not (
        (seen["state"] <= COVERED) & (seen["person"] < persons) & (seen["scale"] > 0) & (seen["scale"] < far)
    ).all():
        return False
    if not ((seen["relief"] >= 0).all() and _within(seen["relief"], NEAR) and (box[:, 2:] > 0).all()):
        return False
    face = (points_of(seen, mesh) - seen["translation"][:, None]) @ rotation / scale
    return bool(
        _within(rotation @ rotation.swapaxes(1, 2) - np.eye(3), UPRIGHT)
        and (np.linalg.det(rotation) > 0).all()
        and _within(face - mesh.canonical, NEAR)
        and ((seen["weight"] >= 0) & (seen["weight"] <= 1)).all()
    )


def _within(numbers: np.typing.NDArray[np.floating], most: float) -> bool:
    """Whether all are numbers, and none is larger, with or without its sign."""
    return bool((np.abs(numbers) <= most).all())
