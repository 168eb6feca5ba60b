"""What the default model knows of mouths: its codes, its points, and where its crop lies. Numbers only, no pixels.

Canonical units are those of the frontal canonical face, whose eyes are 1.775 apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dhcli.networks.arrays import read_arrays, unfit
from dhcli.stages.align import crop_matrix
from dhcli.stages.mesh import LANDMARKS, Rows
from dhcli.types import F64, Pose

CROP_SIDE = 160
"""px, side of the crop that the face network sees."""
PX_PER_UNIT = 50.0
"""Crop px per canonical unit."""
CROP_CENTRE = np.array([0.0, 1.72, -0.2])
"""Canonical point in the middle of the crop."""
UPPER_LIP, LOWER_LIP = 35, 25
"""Rows of the mouth points: the inner lips' middles."""
CORNERS = 0, 10
"""Rows of the mouth points: the corners of the mouth, at the picture's left and right."""
OUTER, INNER = slice(0, 20), slice(20, 40)
"""Rows of the mouth points: the outer and the inner lips, closed lines."""
CLOSED_GAP = 0.02
"""Canonical units between closed inner lips; people at rest have 0.01 to 0.02."""
MOUTH_POINTS, CODES = 106, 12
SHAPES: dict[str, tuple[int, ...]] = {
    "mouth": (MOUTH_POINTS,),
    "basis": (CODES, MOUTH_POINTS, 3),
    "projection": (CODES, MOUTH_POINTS, 3),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """How codes and mouths belong together."""

    mouth: Rows  # (106,) landmarks that speech moves
    basis: F64  # (12, 106, 3) mouth code -> move of the mouth points, canonical units
    projection: F64  # (12, 106, 3) move of the mouth points -> mouth code

    @property
    def gap_of_code(self) -> F64:  # (12,)
        """How far each code opens the inner lips, canonical units."""
        return self.basis[:, LOWER_LIP, 1] - self.basis[:, UPPER_LIP, 1]

    @property
    def width_of_code(self) -> F64:  # (12,)
        """How much each code widens the mouth, canonical units."""
        left, right = CORNERS
        return self.basis[:, right, 0] - self.basis[:, left, 0]

    def mouth_code(self, mouth: F64, rest: F64) -> F64:  # (106, 3), (106, 3) -> (12,)
        """The code of a pose-free mouth, relative to the same person's rest shape."""
        return self.projection.reshape(len(self.projection), -1) @ (mouth - rest).reshape(-1)

    def closed(self, mouth: F64) -> F64:  # (106, 3) -> (106, 3)
        """`mouth`, moved along the basis just as far as it takes to close the inner lips; a smile never closes them."""
        gap = mouth[LOWER_LIP, 1] - mouth[UPPER_LIP, 1]
        if gap <= CLOSED_GAP:
            return mouth
        return mouth + np.tensordot(self._opened(CLOSED_GAP - gap), self.basis, 1)

    def widened(self, code: F64, factor: float) -> F64:  # (12,) -> (12,)
        """`code` with `factor` times the change of the mouth's width, by the shortest way that leaves its opening."""
        width, gap = self.width_of_code, self.gap_of_code
        way = width - (width @ gap) / (gap @ gap) * gap
        return code + (factor - 1) * float(code @ width) / float(way @ way) * way

    def pressed(self, code: F64, depth: float, share: float) -> F64:  # (12,) -> (12,)
        """`code`, moved by `share` (0..1) of the way to lips that are `depth` canonical units closer than at rest.

        The shortest way, which closes the whole line of the lips: to 0.005 on 4,000 mouths. A code whose lips are
        closer already stays.
        """
        return code + share * self._opened(min(0.0, -depth - float(code @ self.gap_of_code)))

    def _opened(self, by: float) -> F64:
        """The shortest code that opens the inner lips by so many canonical units."""
        return by * self.gap_of_code / (self.gap_of_code @ self.gap_of_code)


def load_geometry(data: bytes, name: str = "geometry.npz") -> Geometry:
    """The geometry in an .npz file's bytes. Raises DhError model.incompatible where it is not as expected."""
    arrays = read_arrays(data, SHAPES, name)
    mouth = arrays["mouth"].astype(np.intp)
    if mouth.min() < 0 or mouth.max() >= LANDMARKS:
        raise unfit(name, f"'mouth' names landmarks outside 0..{LANDMARKS - 1}")
    geometry = Geometry(mouth, arrays["basis"].astype(np.float64), arrays["projection"].astype(np.float64))
    if np.linalg.matrix_rank([geometry.gap_of_code, geometry.width_of_code]) < 2:
        raise unfit(name, "the codes of 'basis' cannot open the mouth and widen it")
    return geometry


def face_crop_matrix(pose: Pose) -> F64:
    """Image px to px of the face network's crop, (2, 3)."""
    return crop_matrix(pose, CROP_CENTRE, PX_PER_UNIT, CROP_SIDE)


def mouth_opening(mouth: F64) -> float:  # (106, 3) canonical units
    """Distance of the inner lips' middles, canonical units."""
    return float(np.linalg.norm(mouth[LOWER_LIP] - mouth[UPPER_LIP]))


def opening_share(mouth: F64) -> float:  # (106, 3) canonical units
    """Distance of the inner lips' middles, in widths of the mouth."""
    left, right = CORNERS
    return mouth_opening(mouth) / max(float(np.linalg.norm(mouth[right] - mouth[left])), 1e-6)
