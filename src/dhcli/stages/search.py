"""All faces of a frame, looked for as often as a shot needs it and as closely as it needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dhcli.stages.align import YuvMatrix
from dhcli.stages.cuts import face_thumbnail
from dhcli.stages.find import DETECTED, SEES_ALL_PX, Detect, find_faces, find_small_faces
from dhcli.types import F32, Box, Face, Frame

CHECK_EVERY = 12
"""Frames between two looks at the whole picture while all is well: 2.5 ms instead of 0.2 ms a frame."""
TILES_EVERY = 5
"""Frames between two searches for small faces: 20 ms each."""
CLEAR, TURNED, CLEARER = 0.8, 0.75, 0.1
"""An upright face scores 0.87 to 0.94 in trial videos, one on its side or upside down 0.57 to 0.77, turned letters up
to 0.7. Below CLEAR the picture is turned, and a face in it that scores TURNED, and CLEARER than before, is believed."""
GHOST_SCORE = 0.1
"""Detections below DETECTED count only for the error message: "nothing like a face" differs from "almost"."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a face was, and a picture of it."""

    box: Box
    luma: F32
    """See `face_thumbnail`."""


class Search:
    """Looks for faces in whole frames, which come in order."""

    def __init__(self, detect: Detect, yuv: YuvMatrix) -> None:
        self._detect, self._yuv = detect, yuv
        self.faces: tuple[Face, ...] = ()
        """Those of the frame that was searched last."""
        self.spots: tuple[Spot, ...] = ()
        """The same."""
        self.at = -CHECK_EVERY
        """Index of that frame."""
        self.crowd = 0
        """Most faces that this shot had at once."""
        self.frames = 0
        """Frames that were searched."""
        self.best_score = 0.0
        """The detector's best score in all of them."""
        self.most_faces = 0
        self._tiled_at = self._turned_at = -TILES_EVERY
        self._turns = 0
        """Quarter turns, counter-clockwise, that set this shot upright."""

    def is_due(self, index: int) -> bool:
        """Whether this frame is to be searched though nothing asks for it."""
        return index - self.at >= CHECK_EVERY

    def begin_shot(self, index: int) -> None:
        """A new shot begins with frame `index`; it may be looked at closely at once."""
        self.crowd, self._turns = 0, 0
        self._tiled_at = self._turned_at = index - TILES_EVERY
        if not self.faces:
            self.at = -CHECK_EVERY

    def around(self, frame: Frame) -> Sequence[Face]:
        """All faces of the frame, searched once."""
        if self.at != frame.index:
            spots = self._spots(frame)
            self.best_score = max([self.best_score, *(face.score for face in spots)])
            self._found(frame, [face for face in spots if face.score > DETECTED])
            self.at = frame.index
            self.frames += 1
        self._count()
        return self.faces

    def upright(self, frame: Frame) -> Sequence[Face]:
        """As `around`; or those of the turned picture, where it shows a face much more clearly: this shot is turned."""
        best = max((face.score for face in self.around(frame)), default=0.0)
        if best >= CLEAR or frame.index - self._turned_at < TILES_EVERY:
            return self.faces
        self._turned_at = frame.index
        for turns in (1, 3, 2):
            turned = find_faces(self._detect, frame, self._yuv, max(best + CLEARER, TURNED), turns=turns)
            if turned:
                best, self._turns = max(face.score for face in turned), turns
                self._found(frame, turned)
        self._count()
        return self.faces

    def _found(self, frame: Frame, faces: Sequence[Face]) -> None:
        self.faces = tuple(faces)
        self.spots = tuple(Spot(face.box, face_thumbnail(frame, face.box)) for face in faces)

    def _count(self) -> None:
        self.crowd = max(self.crowd, len(self.faces))
        self.most_faces = max(self.most_faces, len(self.faces))

    def _spots(self, frame: Frame) -> list[Face]:
        """Every face-like spot; a closer look every few frames where the picture as a whole shows no face."""
        spots = find_faces(self._detect, frame, self._yuv, GHOST_SCORE, turns=self._turns)
        close = max(frame.width, frame.height) > SEES_ALL_PX and frame.index - self._tiled_at >= TILES_EVERY
        if not close or any(face.score > DETECTED for face in spots):
            return spots
        self._tiled_at = frame.index
        return find_small_faces(self._detect, frame, self._yuv, GHOST_SCORE)
