"""The rule `face:`."""

from __future__ import annotations

import numpy as np
import pytest

from dhcli.jobs.options import FaceChoice, parse_face
from dhcli.stages.choose import choose_face
from dhcli.types import Box, Face

SMALL_LEFT, BIG_MIDDLE, RIGHT = (
    Face(Box(x, 40, size, size), np.zeros((2, 2)), 0.9) for x, size in ((10, 20), (60, 80), (170, 40))
)
FACES = [BIG_MIDDLE, RIGHT, SMALL_LEFT]


@pytest.mark.parametrize(
    ("text", "face"),
    [
        ("largest", BIG_MIDDLE),
        ("left", SMALL_LEFT),
        ("right", RIGHT),
        ("center", BIG_MIDDLE),
        ("index:0", SMALL_LEFT),
        ("index:2", RIGHT),
        ("index:3", None),
        ("box:165,35,50,50", RIGHT),
        ("box:0,0,5,5", None),
        ("box:10,40,20,20", SMALL_LEFT),
    ],
)
def test_rule_names_one_face(text: str, face: Face | None) -> None:
    assert choose_face(FACES, parse_face(text), 220, 120) is face


def test_no_faces_no_choice() -> None:
    assert choose_face([], FaceChoice("largest"), 100, 100) is None


@pytest.mark.parametrize(
    "text",
    ["", "index", "index:-1", "index:x", "box", "box:1,2,3", "box:1,2,0,4", "box:1,2,3,-4", "Left", "like:"],
)
def test_what_is_no_rule_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(ValueError, match=r"largest, left, .* or like:PHOTO|at least one pixel"):
        parse_face(text)
