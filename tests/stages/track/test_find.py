"""The detector and the landmark network on real pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.render.face_finder import FaceFinder
from dhcli.stages.align import apply, yuv_matrix
from dhcli.stages.find import Region, find_faces, locate_landmarks, region_from_face, region_from_landmarks
from dhcli.types import Colour, Frame

YUV = yuv_matrix(Colour(), 300)


@given(x=st.floats(-500, 5000), y=st.floats(-500, 5000), size=st.floats(4, 5000), angle=st.floats(-math.pi, math.pi))
def test_region_maps_there_and_back(x: float, y: float, size: float, angle: float) -> None:
    region = Region((x, y), size, angle)
    corners = np.array([[0.0, 0.0], [256.0, 0.0], [128.0, 128.0]])
    image = apply(region.to_image(), corners)
    assert np.allclose(apply(region.from_image(), image), corners, atol=1e-6)
    assert np.allclose(image[2], (x, y))
    assert math.dist(image[0], image[1]) == pytest.approx(size)


def test_faces_are_found_where_they_are_the_largest_first(finder: FaceFinder, pair: list[Frame]) -> None:
    faces = find_faces(finder.detect, pair[0], YUV)
    assert len(faces) == 2
    assert faces[0].box.area >= faces[1].box.area
    for face, centre in zip(sorted(faces, key=lambda f: f.box.x), [(210, 180), (565, 115)], strict=True):
        assert math.dist(face.box.centre, centre) < 30
        assert face.eyes[0, 0] < face.eyes[1, 0]
        assert 0.5 < face.score <= 1


def test_letterbox_of_a_tall_frame_keeps_places(finder: FaceFinder, avatar: list[Frame]) -> None:
    source = avatar[0]
    tall = Frame(0, np.full((700 * 3 // 2, 400), 128, np.uint8))
    for name, top in (("y", 350), ("u", 175), ("v", 175)):
        plane = getattr(source, name)
        getattr(tall, name)[top : top + len(plane)] = plane
    (there,), (here,) = find_faces(finder.detect, tall, YUV), find_faces(finder.detect, source, YUV)
    assert there.box.centre == pytest.approx((here.box.centre[0], here.box.centre[1] + 350), abs=8)


def test_landmarks_do_not_depend_on_where_one_looks_from(finder: FaceFinder, avatar: list[Frame]) -> None:
    (face,) = find_faces(finder.detect, avatar[0], YUV)
    first, presence = locate_landmarks(finder.locate, avatar[0], region_from_face(face), YUV)
    again, _ = locate_landmarks(finder.locate, avatar[0], region_from_landmarks(first), YUV)
    assert presence > 0.99
    assert first.shape == (478, 3)
    assert np.abs(first - again)[:, :2].mean() < 1.5


def test_nothing_is_present_where_no_face_is(finder: FaceFinder, avatar: list[Frame]) -> None:
    _, presence = locate_landmarks(finder.locate, avatar[0], Region((40.0, 40.0), 80.0, 0.0), YUV)
    assert presence < 0.5
