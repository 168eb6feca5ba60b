"""The latents of a video's frames: they depend on the video alone, so they are kept beside its face track."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from dhcli.families.face_crop.crops import CropPlan, crop_matrix_of
from dhcli.families.latent.kept import F16
from dhcli.families.latent.painter import Painter
from dhcli.stages.align import Area, YuvMatrix, crop_corners
from dhcli.stages.cutout import Cutout
from dhcli.types import F32, F64, FaceRow, FrameFormat

MOST_BYTES = 64 << 20
"""Of what is kept of a video: 4095 frames of MuseTalk, of whatever persons; the others are encoded when they are shown.
`render.face_track` reads no larger profile."""
MARGIN_PX, MARGIN_SHARE = 8, 0.05
"""Kept around the crop, px and as a share of it: smoothing moves a face by a pixel or two, a fast one by more."""
FRAMES = 4
"""Encoded at once on a GPU. On a CPU it is one: four would take half a minute, without a sign of life."""


def record_of(shape: tuple[int, int, int]) -> np.dtype[np.void]:
    """What is kept of one frame whose latents have this shape; 16,388 bytes for MuseTalk."""
    return np.dtype([("frame", "<u4"), ("latents", "<f2", shape)])


@dataclass(frozen=True, slots=True)
class KeptLatents:
    """What was kept of a video."""

    frames: np.typing.NDArray[np.uint32]  # (n,) ascending
    latents: F16  # (n, *shape)

    def find(self, frame: int) -> F16 | None:
        """The latents of a frame, None where they are not kept."""
        at = int(np.searchsorted(self.frames, frame))
        return self.latents[at] if at < len(self.frames) and self.frames[at] == frame else None


def kept_in(data: bytes, shape: tuple[int, int, int]) -> KeptLatents:
    """What a profiler kept. Raises ValueError where it cannot be that."""
    records = np.frombuffer(data, record_of(shape))
    frames, latents = records["frame"], records["latents"]
    if (np.diff(frames.astype(np.int64)) <= 0).any():
        raise ValueError("frames out of order")
    if not np.isfinite(latents).all():
        raise ValueError("latents that are no numbers")
    return KeptLatents(frames, latents)


class LatentProfiler:
    """Encodes the frames of a video that show the face; see `families.family.Profiler`."""

    def __init__(self, painter: Painter, plan: CropPlan, fmt: FrameFormat, yuv: YuvMatrix, at_once: int) -> None:
        """`at_once`: frames that are encoded together."""
        self._painter, self._plan, self._fmt, self._yuv, self._at_once = painter, plan, fmt, yuv, at_once
        self._record = record_of(painter.settings.latents)
        self._most = MOST_BYTES // self._record.itemsize
        self._seen: list[tuple[int, F32]] = []
        """Frames that are not encoded yet, and their crops."""
        self._kept: list[bytes] = []

    def area(self, face: FaceRow) -> Area:
        """The crop, with a margin."""
        (x0, y0), (x1, y1) = _bounds(self._matrix(face), self._plan.size)
        margin = MARGIN_PX + MARGIN_SHARE * (x1 - x0)
        return math.floor(x0 - margin), math.floor(y0 - margin), math.ceil(x1 + margin), math.ceil(y1 + margin)

    def see(self, face: FaceRow, picture: Cutout) -> None:
        """Encode the crop, once enough of them have come. Raises DhError model.*, device.*."""
        matrix = self._matrix(face)
        if len(self._kept) + len(self._seen) >= self._most or not self._holds(picture, matrix):
            return
        self._seen.append((face.index, self._painter.crop(picture.frame, picture.matrix(matrix), self._yuv)))
        if len(self._seen) >= self._at_once:
            self._encode()

    def finish(self, _: Callable[[], Iterable[FaceRow]]) -> bytes:
        """All latents, by ascending frames. Raises DhError model.*, device.*."""
        self._encode()
        return b"".join(self._kept)

    def _encode(self) -> None:
        if not self._seen:
            return
        records = np.zeros(len(self._seen), self._record)
        records["frame"] = [frame for frame, _ in self._seen]
        records["latents"] = self._painter.encode([crop for _, crop in self._seen])
        self._kept += [record.tobytes() for record in records]
        self._seen.clear()

    def _matrix(self, face: FaceRow) -> F64:
        return crop_matrix_of(self._plan, face, self._fmt.width, self._fmt.height)

    def _holds(self, picture: Cutout, matrix: F64) -> bool:
        """Whether the cutout has all px that the crop shows of the frame; else the frame would give other latents."""
        size = np.array([self._fmt.width, self._fmt.height])
        low, high = _bounds(matrix, self._plan.size)
        end = picture.origin + np.array([picture.frame.width, picture.frame.height])
        return bool(np.all(picture.origin <= np.clip(low - 2, 0, size)) and np.all(end >= np.clip(high + 2, 0, size)))


def _bounds(matrix: F64, size: int) -> tuple[F64, F64]:
    """Left top and right bottom corner of a crop in the frame, px."""
    corners = crop_corners(matrix, (0, 0, size, size))
    return corners.min(0), corners.max(0)
