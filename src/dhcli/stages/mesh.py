"""The 478 landmarks of a face: their places on the canonical face, and the head's pose that they tell.

Image points are (x, y) px, x right, y down; z is in the same scale. The canonical face is frontal, its eyes 1.775 units
apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dhcli.stages.align import fit_pose
from dhcli.types import F64, Box, Pose

LANDMARKS = 478
EYE_CORNERS = (33, 263)
"""Landmarks of the outer eye corners, the one at the picture's left first."""
INNER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Landmarks of the inner lips, in order: they see teeth and tongue."""

Rows = np.typing.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class FaceMesh:
    """The landmarks of the canonical face."""

    canonical: F64  # (478, 3)
    stable: Rows  # (38,) landmarks that speech does not move: brow, eyes, nose
    mouth: Rows  # (106,) landmarks that speech moves

    def pose(self, points: F64) -> Pose:  # (478, 3) image px
        """The pose of the head that has these landmarks; the mouth counts for nothing."""
        return fit_pose(self.canonical[self.stable], points[self.stable])

    def motion(self, before: F64, after: F64) -> float:  # (478, 3), (478, 3)
        """How far the landmarks of pose and mouth move, root of the mean square, px."""
        rows = np.concatenate([self.stable, self.mouth])
        moved = after[rows, :2] - before[rows, :2]
        return math.sqrt(float((moved**2).sum(1).mean()))


def pose_free(points: F64, pose: Pose) -> F64:  # (n, 3) image px -> (n, 3) canonical units
    """The points with the head's pose taken out."""
    return (points - pose.translation) @ pose.rotation / pose.scale


def posed(points: F64, pose: Pose) -> F64:  # (n, 3) canonical units -> (n, 3) image px
    """The way back."""
    return pose.scale * points @ pose.rotation.T + pose.translation


def landmark_box(points: F64) -> Box:  # (478, 3)
    """The upright rectangle around the landmarks."""
    (x0, y0), (x1, y1) = points[:, :2].min(0), points[:, :2].max(0)
    return Box(float(x0), float(y0), float(x1 - x0), float(y1 - y0))


def eye_distance_px(points: F64) -> float:  # (478, 3)
    """Distance of the outer eye corners in space, px: turning the head does not shorten it."""
    return float(np.linalg.norm(points[EYE_CORNERS[1]] - points[EYE_CORNERS[0]]))
