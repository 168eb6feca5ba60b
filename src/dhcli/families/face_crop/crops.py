"""The part of a frame that a network sees: each program's own crop, told from the 478 landmarks of the face.

The programs box faces with detectors of their own. Their boxes are imitated from landmarks that lie where those put
their edges, so that no detector is needed and the crop is as steady as the face track.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dhcli.stages.align import apply
from dhcli.types import F64, FaceRow

Recipe = Literal["face_box", "ffhq", "ffhq_mouth", "head_mouth", "heygem", "ultralight", "musetalk"]
Edges: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, px."""

IRISES, NOSE_TIP, MOUTH_CORNERS, CHIN, FOREHEAD = (468, 473), 1, (61, 291), 152, 10
TEMPLES = 234, 454
"""Where the face ends at the picture's left and right, in front of the ears."""
TEMPLE_SLACK = 0.1
"""Of the jaw's width."""
LEAST_HALF = 0.25
"""Of the height from brows to chin; an upright face has two thirds of it."""
BRIDGE, LOW_BRIDGE = 197, 5
"""On the ridge of the nose: below the eyes (point 52 of WFLW), and above the tip (point 29 of the 68)."""
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
"""Landmarks along the jaw from temple to temple by the chin."""
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
OUTLINE = (*JAW, *BROWS)
"""What bounds the 68 points of the usual landmark sets: the jaw from ear to ear, and the brows."""

REST_HEIGHT = 3.6
"""Brows to chin of a face at rest, canonical units."""
FFHQ = np.array([[0.37691676, 0.46864664], [0.62285697, 0.46912813], [0.50123859, 0.61331904],
                 [0.39308822, 0.72541100], [0.61150205, 0.72490465]])  # fmt: skip
"""Irises, tip of the nose and corners of the mouth in an FFHQ crop of side 1."""
HEAD_MOUTH: Edges = (62 / 256, 61 / 256, 194 / 256, 237 / 256)
"""What wav2lip-onnx-HQ cuts out of such a crop, with its `--pads` of 4 px."""


@dataclass(frozen=True, slots=True)
class CropPlan:
    """How a network's crop is cut."""

    recipe: Recipe
    size: int
    """Side of the crop, px; a part that is no square is stretched to it."""
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """px of the picture added: top, bottom, left, right."""
    border: int = 0
    """The part is resized to `size + 2 * border` px, and so many are cut off each side."""


def crop_matrix_of(plan: CropPlan, face: FaceRow, width: int, height: int) -> F64:  # -> (2, 3)
    """The map of a frame's px, of `width` x `height`, to the crop's."""
    points = face.points[:, :2]
    if plan.recipe in ALIGNED:
        to_crop = _similarity(points[[*IRISES, NOSE_TIP, *MOUTH_CORNERS]], FFHQ)
        part = ALIGNED[plan.recipe](apply(to_crop, points))
        return _cut(to_crop, part, plan)
    left, top, right, bottom = BOXES[plan.recipe](points, face)
    above, below, left_of, right_of = plan.padding
    part = (left - left_of, top - above, right + right_of, bottom + below)
    if plan.recipe == "face_box":
        part = _clipped(part, width, height)
    return _cut(np.eye(2, 3), part, plan)


def _whole(_: F64) -> Edges:
    return (0.0, 0.0, 1.0, 1.0)


def _head_mouth(_: F64) -> Edges:
    return HEAD_MOUTH


def _outline(points: F64) -> Edges:
    """The upright box around the points that the 68 landmarks reach to."""
    (left, top), (right, bottom) = points[list(OUTLINE)].min(0), points[list(OUTLINE)].max(0)
    return float(left), float(top), float(right), float(bottom)


def _face_box(points: F64, _: FaceRow) -> Edges:
    """As detectors that were taught on WIDER FACE box it: forehead to chin, cheek to cheek."""
    bounds = points[[*TEMPLES, FOREHEAD, *JAW]]
    (left, top), (right, bottom) = bounds.min(0), bounds.max(0)
    return float(left), float(top), float(right), float(bottom)


def _heygem(points: F64, face: FaceRow) -> Edges:
    """A square around the middle of the landmarks, 1.5 times as high as they are, 0.15 of that above the brows.

    HeyGem takes the height as the width by the mean of their ratio in a hundred frames; here it is that of a face at
    rest in this pose, whose jaw does not move.
    """
    left, top, right, _bottom = _outline(points)
    side = 1.5 * max(right - left, face.pose.scale * REST_HEIGHT)
    middle = (left + right) / 2
    return middle - side / 2, top - 0.1 * side, middle + side / 2, top + 0.9 * side


def _ultralight(points: F64, _: FaceRow) -> Edges:
    """A square from temple to temple, from below the eyes on.

    Where the head is turned or lies so far that a temple leaves the jaw's outer tenth, its end counts: temples that lie
    above or behind each other have no width between them.
    """
    jaw = points[list(JAW), 0]
    low, high = float(jaw.min()), float(jaw.max())
    slack = TEMPLE_SLACK * (high - low)
    left, right = min(float(points[TEMPLES[0], 0]), low + slack), max(float(points[TEMPLES[1], 0]), high - slack)
    top = float(points[BRIDGE, 1])
    return left, top, right, top + right - left


def _musetalk(points: F64, _: FaceRow) -> Edges:
    """The middle of the nose's ridge is its middle; as far above it as the chin is below.

    Of a face that lies on its side, the nose can be the lowest.
    """
    left, top, right, bottom = _outline(points)
    half = max(bottom - float(points[LOW_BRIDGE, 1]), LEAST_HALF * (bottom - top))
    return left, bottom - 2 * half, right, bottom


ALIGNED: Mapping[Recipe, Callable[[F64], Edges]] = {"ffhq": _whole, "ffhq_mouth": _outline, "head_mouth": _head_mouth}
"""Parts of an FFHQ crop of side 1, from the landmarks in it."""
BOXES: Mapping[Recipe, Callable[[F64, FaceRow], Edges]] = {
    "face_box": _face_box,
    "heygem": _heygem,
    "ultralight": _ultralight,
    "musetalk": _musetalk,
}
"""Upright parts of the picture, px."""


def _clipped(part: Edges, width: int, height: int) -> Edges:
    """What of it lies in the frame; all of it where nothing does."""
    left, top, right, bottom = max(part[0], 0), max(part[1], 0), min(part[2], width), min(part[3], height)
    return part if left + 2 > right or top + 2 > bottom else (left, top, right, bottom)


def _cut(matrix: F64, part: Edges, plan: CropPlan) -> F64:
    """The crop of a part of what `matrix` maps to; where px meet px, their centres do."""
    left, top, right, bottom = part
    side = plan.size + 2 * plan.border
    scale = np.array([side / (right - left), side / (bottom - top)])
    shift = -np.array([left, top]) * scale - plan.border - 0.5
    if plan.recipe in BOXES:
        shift += 0.5 * scale  # edges of a box lie between px
    cut: F64 = matrix * scale[:, None]
    cut[:, 2] += shift
    return cut


def _similarity(points: F64, template: F64) -> F64:  # (n, 2), (n, 2) -> (2, 3)
    """Turn, scale and shift that bring the points nearest to the template (least squares)."""
    centre, middle = points.mean(0), template.mean(0)
    (x, y), (u, v) = (points - centre).T, (template - middle).T
    size = float((x * x + y * y).sum())
    a, b = float((x * u + y * v).sum()) / size, float((x * v - y * u).sum()) / size
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([linear, middle - linear @ centre])
