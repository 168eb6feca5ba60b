"""The figures of a clip, frame by frame and over the whole, also for comparing it with another one."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dhcli.picture.follow import spread
from dhcli.picture.mouth import OPEN_GAP, OUTER_LIP, Look, gap, look, mouth_crop
from dhcli.stages.mesh import FaceMesh, pose_free
from dhcli.types import F32, F64, Frame

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """Figures over some frames; None where no frame tells them."""

    looked: int
    """Frames with a face."""
    face_px: float | None
    """Width of the face, median."""
    face_px_least: float | None
    yaw_deg: float | None
    """Turn of the head without its sign, median."""
    yaw_deg_most: float | None
    opening: float | None
    """Range of the opening, in widths of the mouth."""
    sharpness: float | None
    """Median variance of the Laplacian inside the open mouth."""


def clip_figures(looks: Sequence[Look]) -> ClipFigures:
    """The figures over frames that show a face."""
    sharp = [one.sharpness for one in looks if one.sharpness is not None]
    faces = face_figures(np.array([one.face_px for one in looks]), np.array([one.yaw_deg for one in looks]))
    return ClipFigures(
        len(looks),
        *faces,
        spread(np.array([one.opening for one in looks])),
        float(np.median(sharp)) if sharp else None,
    )


def face_figures(
    face_px: F32 | F64, yaw_deg: F32 | F64
) -> tuple[float | None, float | None, float | None, float | None]:
    """Median and least width of a face, median and largest turn without its sign; NaN stands for no face."""
    face_px, turn = face_px[np.isfinite(face_px)], np.abs(yaw_deg[np.isfinite(yaw_deg)])
    if not len(face_px):
        return None, None, None, None
    return float(np.median(face_px)), float(face_px.min()), float(np.median(turn)), float(turn.max())


@dataclass(slots=True)
class ClipMeter:
    """Measures the frames of one clip, which come in order. It keeps some 400 bytes a frame."""

    mesh: FaceMesh
    frames: int = 0
    looks: list[Look] = field(default_factory=list)
    _lips: list[F32] = field(default_factory=list)  # (20, 2) canonical units; NaN where there is no face
    _changes: array[float] = field(default_factory=lambda: array("d"))
    _before: tuple[F32, np.typing.NDArray[np.bool_]] | None = None

    def see(self, frame: Frame, points: F64 | None) -> None:
        """The next frame, and the landmarks of its face where it shows one."""
        self.frames += 1
        if points is None:
            self._lips.append(np.full((len(OUTER_LIP), 2), NAN, np.float32))
            self._changes.append(NAN)
            self._before = None
            return
        self.looks.append(look(frame, points, self.mesh))
        pose = self.mesh.pose(points)
        shape = pose_free(points, pose)
        self._lips.append(shape[list(OUTER_LIP), :2].astype(np.float32))
        now = mouth_crop(frame, points, pose) if gap(shape) > OPEN_GAP else None
        self._changes.append(_change(self._before, now))
        self._before = now

    def openings(self) -> tuple[F64, F64]:
        """Index and opening of each frame with a face."""
        return np.array([one.index for one in self.looks], np.float64), np.array([one.opening for one in self.looks])

    def figures(self, frames: int | None = None) -> ClipFigures:
        """Over the first so many frames; None: over all."""
        return clip_figures([one for one in self.looks if frames is None or one.index < frames])

    def flicker(self, frames: int) -> float | None:
        """Second difference of the outer lips' points, root mean square of the median frame, canonical units."""
        lips = np.array(self._lips[:frames])
        if len(lips) < 3:
            return None
        second = lips[2:] - 2 * lips[1:-1] + lips[:-2]
        squares = (second**2).sum(-1).mean(-1)
        known = squares[np.isfinite(squares)]
        return float(np.sqrt(np.median(known))) if len(known) else None

    def inside_change(self, frames: int) -> float | None:
        """Change of the luma inside the open mouth from one frame to the next, median, 8-bit levels."""
        changes = np.array(self._changes[:frames])
        known = changes[np.isfinite(changes)]
        return float(np.median(known)) if len(known) else None


def _change(
    before: tuple[F32, np.typing.NDArray[np.bool_]] | None, now: tuple[F32, np.typing.NDArray[np.bool_]] | None
) -> float:
    """Mean difference of two crops where both show the inside of the mouth; NaN where they do not."""
    if before is None or now is None:
        return NAN
    both = before[1] & now[1]
    return float(np.abs(now[0][both] - before[0][both]).mean()) if both.any() else NAN
