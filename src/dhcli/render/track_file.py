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
from dhcli.stages.mesh import LANDMARKS, FaceMesh, posed
from dhcli.types import F64, Box, FaceRow, FrameFormat, Pose

FORMAT = 2
"""Of a track in the store; another number makes other keys."""

MISSING, LOOKED, BETWEEN, HIDDEN = 0, 1, 2, 3
RECORD = np.dtype(
    [
        ("state", "u1"),
        ("person", "u1"),
        ("unused", "<u2"),
        ("weight", "<f4"),
        ("scale", "<f4"),
        ("rotation", "<f4", (3, 3)),
        ("translation", "<f4", (3,)),
        ("box", "<f4", (4,)),
        ("relief", "<f4"),
        ("points", "<u2", (LANDMARKS, 2)),
        ("depths", "i1", (LANDMARKS,)),
    ]
)
"""2470 bytes. Points are parts of the box: steps of 0.03 px in a face of 2000 px. A depth is the difference to the
canonical face in the same pose, in steps of `relief` / 127: 0.001 canonical units, 0.1 px in the same face.
"""
STEPS, DEPTH_STEPS = 65535, 127
MOST_PERSONS = 256
BLOCK = 64
"""Records read at once: 160 kB, two seconds of a video that is played forward and backward."""
CHECKED_BLOCK = 256
"""Records looked at at once where the whole track is: 0.6 MB, and their points 3 MB."""
HEAD_BYTES, HEAD_BYTES_A_FRAME = 1 << 12, 32
"""Most that an entry says of itself: two numbers for each frame at which a shot or a stretch begins."""
FAR = 2
"""A face is no larger, and no farther away, than so many times the picture's longer side;"""
NEAR = 3
"""its landmarks are no farther from their usual places than so many canonical units, two thirds of a head's height."""
UPRIGHT = 1e-3
"""How exact a rotation is; single precision keeps it to 1e-7."""

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last frame of each stretch."""
Records: TypeAlias = np.typing.NDArray[np.void]
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
        return tuple((first, min(last, frames - 1)) for first, last in self.totals.missing_ranges if first < frames)

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


def packed_row(row: FaceRow, mesh: FaceMesh) -> Records:
    """The record of a face, shape (1,)."""
    record = np.zeros(1, RECORD)
    record["state"] = LOOKED if row.looked else BETWEEN if row.seen else HIDDEN
    record["person"], record["weight"] = row.person, row.weight
    record["scale"], record["rotation"] = row.pose.scale, row.pose.rotation
    record["translation"] = row.pose.translation
    record["box"] = (row.box.x, row.box.y, row.box.width, row.box.height)
    corner, size = _corner_and_size(record)
    record["points"] = np.clip(np.rint((row.points[:, :2] - corner) * (STEPS / size)), 0, STEPS)
    depths = (row.points[:, 2] - posed(mesh.canonical, _pose(record[0]))[:, 2]) / row.pose.scale
    record["relief"] = relief = max(float(np.abs(depths).max()), 1e-6)
    record["depths"] = np.rint(depths * (DEPTH_STEPS / relief))
    return record


def unpacked_row(index: int, record: np.void, mesh: FaceMesh) -> FaceRow:
    """The face in a record that has one."""
    one = np.array([record], RECORD)
    pose = _pose(record)
    box = Box(*one["box"][0].astype(np.float64).tolist())
    points = _points(one, mesh)[0]
    state = int(record["state"])
    return FaceRow(
        index,
        int(record["person"]),
        float(record["weight"]),
        pose,
        box,
        points,
        seen=state != HIDDEN,
        looked=state == LOOKED,
    )


def _pose(record: np.void) -> Pose:
    return Pose(float(record["scale"]), record["rotation"].astype(np.float64), record["translation"].astype(np.float64))


def _corner_and_size(records: Records) -> tuple[F64, F64]:  # (n,) -> (n, 1, 2) each
    box = records["box"].astype(np.float64)[:, None]
    return box[..., :2], np.maximum(box[..., 2:], 1e-6)


def _points(records: Records, mesh: FaceMesh) -> F64:  # (n,) -> (n, 478, 3)
    corner, size = _corner_and_size(records)
    scale = records["scale"].astype(np.float64)[:, None]
    usual = mesh.canonical @ records["rotation"][:, 2, :, None].astype(np.float64)  # (n, 478, 1): along the view
    step = records["relief"].astype(np.float64)[:, None] / DEPTH_STEPS
    points = np.empty((len(records), LANDMARKS, 3))
    points[..., :2] = corner + records["points"] * (size / STEPS)
    points[..., 2] = scale * (usual[..., 0] + records["depths"] * step) + records["translation"][:, 2, None]
    return points


def _read(file: ScratchFile, first: int, count: int) -> Records:
    records = np.empty(count, RECORD)
    file.read_into(records.view(np.uint8).data, first * RECORD.itemsize)
    return records


class _Head(BaseModel):
    """What an entry says of itself. A checksum proves it undamaged, not that dh wrote it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    frames: Annotated[int, Field(ge=1)]
    persons: Annotated[int, Field(ge=1, le=MOST_PERSONS)]
    searched: Count
    most_faces: Count
    cuts: tuple[Count, ...]
    missing_ranges: tuple[tuple[Count, Count], ...]


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
    totals = Totals(head.persons, head.searched, head.most_faces, head.cuts, head.missing_ranges)
    missing = np.zeros(frames, bool)
    for first, last in head.missing_ranges:
        missing[first : last + 1] = True
    persons: set[int] = set()
    file = TrackFile(scratch, mesh)
    try:
        for first in range(0, frames, CHECKED_BLOCK):
            alive()
            count = min(CHECKED_BLOCK, frames - first)
            records = np.frombuffer(entry.body(count * RECORD.itemsize, first * RECORD.itemsize), RECORD)
            lacking = records["state"] == MISSING
            if (lacking != missing[first : first + count]).any():
                return None
            if not _sound(records[~lacking], head.persons, fmt, mesh):
                return None
            persons.update(records["person"][~lacking & (records["state"] != HIDDEN)].tolist())
            file.copy(records)
        return file.finish(totals) if len(persons) == head.persons else None
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
    at = [frame for stretch in head.missing_ranges for frame in stretch]
    apart = all(after > before + 1 for before, after in zip(at[1::2], at[2::2], strict=False))
    cuts = list(head.cuts)
    return at == sorted(at) and apart and cuts == sorted(set(cuts)) and max((*at, *cuts), default=0) < head.frames


def _sound(seen: Records, persons: int, fmt: FrameFormat, mesh: FaceMesh) -> bool:
    """Whether records with a face are such as the analysis can have written: of a face in or near the picture."""
    far = FAR * max(fmt.width, fmt.height)
    scale, rotation, box = seen["scale"][:, None, None], seen["rotation"], seen["box"]
    if not (_within(seen["translation"], far) and _within(box, far) and _within(rotation, 1 + UPRIGHT)):
        return False
    if not ((seen["state"] <= HIDDEN) & (seen["person"] < persons) & (seen["scale"] > 0) & (seen["scale"] < far)).all():
        return False
    if not ((seen["relief"] >= 0).all() and _within(seen["relief"], NEAR) and (box[:, 2:] > 0).all()):
        return False
    face = (_points(seen, mesh) - seen["translation"][:, None]) @ rotation / scale
    return bool(
        _within(rotation @ rotation.swapaxes(1, 2) - np.eye(3), UPRIGHT)
        and (np.linalg.det(rotation) > 0).all()
        and _within(face - mesh.canonical, NEAR)
        and ((seen["weight"] >= 0) & (seen["weight"] <= 1)).all()
    )


def _within(numbers: np.typing.NDArray[np.floating], most: float) -> bool:
    """Whether all are numbers, and none is larger, with or without its sign."""
    return bool((np.abs(numbers) <= most).all())
