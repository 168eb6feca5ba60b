"""Which of several faces a job means: the rule `face:` of the manifest, applied to one frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dhcli.jobs.options import FaceChoice
from dhcli.types import Box, Face


def choose_face(faces: Sequence[Face], choice: FaceChoice, width: int, height: int) -> Face | None:
    """The face that is meant in a picture of this size, None where none of these is."""
    if not faces:
        return None
    from_left = sorted(faces, key=lambda face: face.box.centre)
    match choice.rule:
        case "largest" | "any":
            return max(faces, key=lambda face: face.box.area)
        case "left":
            return from_left[0]
        case "right":
            return from_left[-1]
        case "center":
            return min(faces, key=lambda face: math.dist(face.box.centre, (width / 2, height / 2)))
        case "index":
            return from_left[choice.index] if choice.index < len(from_left) else None
        case "box":
            target = Box(*choice.box)
            best = max(faces, key=lambda face: face.box.iou(target))
            return best if best.box.iou(target) > 0 else None
        case "like":
            return None  # boxes tell nothing of looks: the tracker compares them
