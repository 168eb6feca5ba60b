"""Whether two faces of one video are the same person, by their looks. It claims nothing across videos."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from dhcli.stages.align import crop_matrix, crop_yuv
from dhcli.types import F32, Frame, Pose

PATCHES = ((24, 3.2), (32, 5.0))
"""Side, px and canonical units, of what is compared: eyes and nose, and the head with its hair. The mouth moves."""
CHROMA_SIDE, CHROMA_UNITS = 8, 4.0
PATCH_CENTRE = np.array([0.0, 0.4, 0.0])
CHROMA_WEIGHT = 0.02
"""Similarity lost by a unit of mean colour difference. Two men of trial videos are 0.8 alike in luma alone."""
SAME = 0.62
"""Similarity of one person. Twelve people in trial videos had 0.76 to 1 with themselves, at most 0.5 with others."""
OTHER = 0.4
"""Below this it is certainly somebody else; between the two the head may just have turned."""
BACK = 0.55
"""Least similarity of a face in another shot for the chosen person: light and side may be others there."""
ALIKE = 0.45
"""Least similarity to a photo that names a face; the most similar one of the picture is taken. Between clips of one man
it was 0.78 to 0.88, to others 0.41 at most, and a photo taken elsewhere is less alike than a clip."""
FAMILIAR = 0.9
"""A view that is less like the known ones than this is worth keeping."""
VIEWS = 8


@dataclass(frozen=True, slots=True)
class View:
    """What a face looks like from one side."""

    luma: F32  # (1600,) free of brightness, contrast and roll; of length 1
    chroma: F32  # (8, 8, 2) 0..255

    def similarity(self, other: View) -> float:
        """1 for the same picture; see SAME and OTHER."""
        return float(self.luma @ other.luma) - CHROMA_WEIGHT * float(np.abs(self.chroma - other.chroma).mean())


def view_face(frame: Frame, pose: Pose) -> View:
    """The view that a frame gives of the face in it."""
    parts = []
    for side, units in PATCHES:
        luma = crop_yuv(frame, crop_matrix(pose, PATCH_CENTRE, side / units, side), side)[..., 0].astype(np.float32)
        # Fine detail is not aligned well enough to compare, a slope of light is not the person's.
        band = cv2.GaussianBlur(luma, (0, 0), 0.8) - cv2.GaussianBlur(luma, (0, 0), side / 4)
        band = (band - band.mean()).reshape(-1)
        parts.append(band / ((np.linalg.norm(band) + 1e-6) * np.sqrt(len(PATCHES))))
    matrix = crop_matrix(pose, PATCH_CENTRE, CHROMA_SIDE / CHROMA_UNITS, CHROMA_SIDE)
    chroma = crop_yuv(frame, matrix, CHROMA_SIDE)[..., 1:].astype(np.float32)
    return View(np.concatenate(parts, dtype=np.float32), chroma)


@dataclass(slots=True)
class Appearance:
    """The views of one person so far."""

    views: list[View] = field(default_factory=list)

    def similarity(self, view: View) -> float:
        """How much `view` is like the most similar known one."""
        return max((known.similarity(view) for known in self.views), default=-1.0)

    def learn(self, view: View) -> None:
        """Keep `view` if it shows a new side; the first ones stay, so that a mistake cannot replace the person."""
        if len(self.views) < VIEWS and self.similarity(view) < FAMILIAR:
            self.views.append(view)
