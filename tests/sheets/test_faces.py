"""Who is in a video: numbers from the left, the values that a render takes for each, and where each is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dhcli.jobs.options import parse_face
from dhcli.networks.network import Device
from dhcli.render.face_finder import FaceFinder, finder_bundle
from dhcli.runtime.scope import Scope
from dhcli.sheets.draw_faces import draw_faces, seen_text, value_of
from dhcli.sheets.faces import Cast, find_persons
from dhcli.stages.choose import choose_face
from dhcli.types import Face


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(finder_bundle(), Device("cpu"))


def looked(finder: FaceFinder, path: Path) -> Cast:
    with Scope() as scope:
        return find_persons(scope, finder, path)


@pytest.mark.slow
def test_two_faces_are_numbered_from_the_left_and_told_by_values_that_mean_them(
    finder: FaceFinder, avatar: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    pair = tmp_path / "pair.mp4"
    # The avatar, and beside it a mirror image that is larger: the detector sees two persons.
    beside = "[0]split[a][b];[b]hflip,scale=520:390,crop=400:300[c];[a][c]hstack"
    ffmpeg("-i", avatar, "-t", "1", "-filter_complex", beside, "-c:v", "libx264", pair)
    cast = looked(finder, pair)
    assert len(cast.persons) == 2
    first, second = cast.persons
    assert (first.values[:2], second.values[0]) == (("index:0", "left"), "index:1")
    assert {"largest", "right"} <= set(second.values)
    assert first.box is not None
    assert second.box is not None
    faces = [Face(box, None, 1.0) for box in (second.box, first.box)]  # type: ignore[arg-type]
    for person, face in ((first, faces[1]), (second, faces[0])):
        for value in person.values:
            assert choose_face(faces, parse_face(value), 800, 300) is face
    sheet = draw_faces(cast)
    assert sheet.shape[1] > sheet.shape[0] / 2


@pytest.mark.slow
def test_one_person_has_all_names_and_is_seen_where_the_face_is(
    finder: FaceFinder, avatar: Path, ffmpeg: Callable[..., None], tmp_path: Path
) -> None:
    late = tmp_path / "late.mp4"
    ffmpeg("-i", avatar, "-t", "2", "-vf", "tpad=start_duration=1:color=gray", "-c:v", "libx264", late)
    cast = looked(finder, late)
    (person,) = cast.persons
    assert set(person.values[:-1]) == {"index:0", "largest", "left", "right", "center"}
    assert cast.chosen_at_s == pytest.approx(1.0)
    ((begin, end),) = person.seen
    assert begin == pytest.approx(1.0)
    assert end == pytest.approx(2.0)
    assert seen_text(cast, person).startswith("0:01-0:02 (")
    assert value_of(person) == "index:0"


def test_nobody_is_nobody(finder: FaceFinder, ffmpeg: Callable[..., None], tmp_path: Path) -> None:
    grey = tmp_path / "grey.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=64x64:r=5:d=1", grey)
    cast = looked(finder, grey)
    assert cast.persons == ()
    assert draw_faces(cast).shape[2] == 3
