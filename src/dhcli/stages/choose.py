"""Which of several faces a job means: the rule `face:` of the manifest, applied to one frame."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dhcli.types import Box, Face

Kind = Literal["largest", "left", "right", "center", "index", "box"]
NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
BOX = re.compile(rf"box:{NUMBER},{NUMBER},{NUMBER},{NUMBER}", re.ASCII)
INDEX = re.compile(r"index:(\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class FaceRule:
    """One way to name a face in a picture."""

    kind: Kind = "largest"
    index: int = 0
    """For `index`: 0 is the face whose middle lies farthest left."""
    box: Box | None = None
    """For `box`: px of the upright video."""


def parse_rule(text: str) -> FaceRule:
    """`largest | left | right | center | index:N | box:x,y,w,h` as a rule. Raises ValueError with what is allowed."""
    if match := INDEX.fullmatch(text):
        return FaceRule("index", index=int(match[1]))
    if (match := BOX.fullmatch(text)) and float(match[3]) > 0 < float(match[4]):
        x, y, width, height = map(float, match.groups())
        return FaceRule("box", box=Box(x, y, width, height))
    for kind in get_args(Kind):
        if text == kind and kind not in {"index", "box"}:
            return FaceRule(kind)
    raise ValueError(f"'{text}' names no face: largest, left, right, center, index:N or box:x,y,w,h")


def choose_face(faces: Sequence[Face], rule: FaceRule, width: int, height: int) -> Face | None:
    """The face that the rule means in a picture of this size, None where it names none of these."""
    if not faces:
        return None
    from_left = sorted(faces, key=lambda face: face.box.centre)
    match rule.kind:
        case "largest":
            return max(faces, key=lambda face: face.box.area)
        case "left":
            return from_left[0]
        case "right":
            return from_left[-1]
        case "center":
            return min(faces, key=lambda face: math.dist(face.box.centre, (width / 2, height / 2)))
        case "index":
            return from_left[rule.index] if rule.index < len(from_left) else None
        case "box":
            assert rule.box is not None
            target = rule.box
            best = max(faces, key=lambda face: face.box.iou(target))
            return best if best.box.iou(target) > 0 else None
