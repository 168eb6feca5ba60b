"""What comes before a mouth is seen, and its frames stay as filmed; nobody who just talks is taken for covered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import pytest

from dhcli.families.dh_base.geometry import Geometry
from dhcli.families.dh_base.profile import PersonProfiler
from dhcli.stages.align import yuv_matrix
from dhcli.stages.cover import CoverWatch
from dhcli.stages.cutout import Cutout
from dhcli.stages.find import find_faces, locate_landmarks, region_from_face
from dhcli.stages.target import Observation
from dhcli.types import F32, U8, Colour, FaceRow, Frame

GRID = Path(__file__).parents[4] / "shared" / "media" / "grid"
MOUTH = 211, 200
"""The avatar's mouth in its first 40 frames, px."""
SKIN = 115, 101, 159
"""Its cheeks, YUV."""
FIRST, LAST = 14, 24
"""Frames in which the mouth is wholly covered; before and after them the cover is on its way for MOVES frames."""
MOVES = 4

Draw: TypeAlias = Callable[[int, int], tuple[U8, F32, tuple[int, int]]]
"""Mask 0..255, luma and chroma of what lies in front, with its middle at x, y."""


def hand(x: int, y: int) -> tuple[U8, F32, tuple[int, int]]:
    """An ellipse of the avatar's skin colour, with the shadows between four fingers."""
    mask = np.zeros((300, 400), np.uint8)
    cv2.ellipse(mask, (x, y + 14), (40, 34), 10, 0, 360, 255, -1, cv2.LINE_AA)
    shadows = 20 * np.exp(-(((np.arange(400) - x) % 18 - 9) ** 2) / 3)
    return mask, np.full((300, 400), SKIN[0] - shadows, np.float32), SKIN[1:]


def microphone(x: int, y: int) -> tuple[U8, F32, tuple[int, int]]:
    mask = np.zeros((300, 400), np.uint8)
    cv2.circle(mask, (x, y + 4), 24, 255, -1, cv2.LINE_AA)
    return mask, 35 + np.random.default_rng(1).normal(0, 4, (300, 400)).astype(np.float32), (128, 128)


def cup(x: int, y: int) -> tuple[U8, F32, tuple[int, int]]:
    mask = np.zeros((300, 400), np.uint8)
    cv2.rectangle(mask, (x - 26, y - 17), (x + 26, y + 47), 255, -1)
    return mask, np.full((300, 400), 215, np.float32), (125, 130)


def subtitle(x: int, y: int) -> tuple[U8, F32, tuple[int, int]]:
    mask, letters = np.zeros((300, 400), np.uint8), np.zeros((300, 400), np.uint8)
    cv2.rectangle(mask, (0, y - 15), (400, y + 15), 255, -1)
    cv2.putText(letters, "These are the words", (x - 110, y + 7), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 210, 2, cv2.LINE_AA)
    return mask, 20 + letters.astype(np.float32), (128, 128)


def letters(x: int, y: int) -> tuple[U8, F32, tuple[int, int]]:
    """White with a black outline, and skin between them."""
    mask, white = np.zeros((300, 400), np.uint8), np.zeros((300, 400), np.uint8)
    for picture, value, width in ((mask, 255, 5), (white, 235, 2)):
        cv2.putText(picture, "TITLE", (x - 44, y + 6), cv2.FONT_HERSHEY_SIMPLEX, 0.8, value, width, cv2.LINE_AA)
    return mask, white.astype(np.float32), (128, 128)


def covered(frames: list[Frame], draw: Draw, first: int = FIRST, last: int = LAST, *, higher: int = 0) -> list[Frame]:
    """The frames with something that comes up over the mouth, stays, and goes down again. `higher`: px."""
    out = []
    for index, frame in enumerate(frames):
        away = max(first - index, index - last, 0)
        if away > MOVES:
            out.append(frame)
            continue
        mask, luma, chroma = draw(MOUTH[0] + index % 3, MOUTH[1] - higher + away * 110 // MOVES)
        new, share = frame.copy(), mask.astype(np.float32) / 255
        new.y[:] = np.clip(new.y * (1 - share) + luma * share, 0, 255)
        half = cv2.resize(share, (200, 150), interpolation=cv2.INTER_AREA)
        for plane, value in zip((new.u, new.v), chroma, strict=True):
            plane[:] = plane * (1 - half) + value * half
        out.append(new)
    return out


@pytest.mark.parametrize(
    ("draw", "higher"),
    [
        (hand, 0),
        (microphone, 0),
        (cup, 12),  # over half the nose
        pytest.param(cup, 0, marks=pytest.mark.slow),
        pytest.param(subtitle, 0, marks=pytest.mark.slow),
        pytest.param(microphone, 12, marks=pytest.mark.slow),
    ],
)
def test_what_covers_the_mouth_is_seen_and_its_frames_are_left_alone(
    follow: Any, avatar: list[Frame], draw: Draw, higher: int
) -> None:
    track = follow(covered(avatar[:40], draw, higher=higher))
    ((first, last),) = track.totals.covered_ranges
    # It reaches the lips in the frame before FIRST; COVER_S, three frames, comes on top at either side.
    assert FIRST - 6 <= first <= FIRST - 2
    assert LAST + 2 <= last <= LAST + 6
    rows = [track.row(i) for i in range(40)]
    assert [row.weight == 0 for row in rows] == [row.covered for row in rows] == [first <= i <= last for i in range(40)]
    assert [row.weight for row in rows][first - 5 : first] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert [row.weight for row in rows][last + 1 : last + 6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert not any(row.seen or row.looked for row in rows if row.covered)


def test_a_covered_mouth_is_no_reference(follow: Any, avatar: list[Frame], geometry: Geometry) -> None:
    shown: list[int] = []

    class Watched(PersonProfiler):
        def see(self, face: FaceRow, picture: Cutout) -> None:
            shown.append(face.index)
            super().see(face, picture)

    track = follow(covered(avatar[:34], cup), profiler=Watched(geometry, yuv_matrix(Colour(), 300)))
    ((first, last),) = track.totals.covered_ranges
    assert shown
    assert not set(shown) & set(range(first, last + 1))


@pytest.fixture(scope="module")
def still(avatar: list[Frame], finder: Any) -> Observation:
    """The avatar's first frame, looked at."""
    yuv = yuv_matrix(Colour(), 300)
    region = region_from_face(find_faces(finder.detect, avatar[0], yuv)[0])
    points, _ = locate_landmarks(finder.locate, avatar[0], region, yuv)
    return Observation(0, points, 0, cut=False)


def watch(finder: Any, still: Observation, frames: list[Frame], cut: int = -1) -> list[bool]:
    """Which of these frames, with the face in one place, are told to be covered."""
    watcher = CoverWatch(finder.mesh, 25.0)
    return [
        watcher.look(frame, Observation(i, still.points, 0, cut=i == cut)).covered for i, frame in enumerate(frames)
    ]


def lit(frame: Frame, gain: Any, tint: int = 0) -> Frame:
    new = frame.copy()
    new.y[:] = np.clip(16 + (frame.y.astype(np.float32) - 16) * gain, 0, 255)
    new.u[:], new.v[:] = frame.u - np.uint8(tint), frame.v + np.uint8(tint)
    return new


def test_light_shadow_and_blur_cover_nothing(finder: Any, avatar: list[Frame], still: Observation) -> None:
    frame, x, y = avatar[0], np.arange(400)[None], np.arange(300)[:, None]
    below = 1 - 0.5 / (1 + np.exp(-(y - 170) / 6))
    sweep = [1 - 0.5 / (1 + np.exp(-(x - 100 - step * 12) / 4)) for step in range(18)]
    soft = frame.copy()
    for name in "yuv":
        getattr(soft, name)[:] = cv2.GaussianBlur(getattr(frame, name), (0, 0), 3)
    rest = [frame] * 10
    scenes = [lit(frame, 1.5), lit(frame, 0.4), lit(frame, 1.0, 15), lit(frame, below), soft]
    for scene in [[one] * 10 for one in scenes] + [[lit(frame, gain) for gain in sweep]]:
        assert not any(watch(finder, still, [*rest, *scene, *rest]))


@pytest.mark.parametrize("higher", [0, 7, -28])  # on the lips, above them, on the chin
def test_letters_that_appear_cover_as_long_as_they_are_there(
    finder: Any, avatar: list[Frame], still: Observation, higher: int
) -> None:
    (lettered,) = covered(avatar[:1], letters, 0, 0, higher=higher)
    told = watch(finder, still, [avatar[0]] * 10 + [lettered] * 20 + [avatar[0]] * 10)
    assert told == [False] * 10 + [True] * 20 + [False] * 10


def test_a_cover_that_stays_becomes_the_look(finder: Any, avatar: list[Frame], still: Observation) -> None:
    (cupped,) = covered(avatar[:1], cup, 0, 0)
    told = watch(finder, still, [avatar[0]] * 10 + [cupped] * 60 + [avatar[0]] * 10 + [cupped] * 10)
    assert told == [False] * 10 + [True] * 50 + [False] * 20 + [True] * 10


def test_what_is_there_from_the_start_is_the_look_until_it_was_away_for_long(
    finder: Any, avatar: list[Frame], still: Observation
) -> None:
    (cupped,) = covered(avatar[:1], cup, 0, 0)
    assert watch(finder, still, [cupped] * 20 + [avatar[0]] * 60) == [False] * 20 + [True] * 50 + [False] * 10


def test_another_shot_is_learnt_anew(finder: Any, avatar: list[Frame], still: Observation) -> None:
    (cupped,) = covered(avatar[:1], cup, 0, 0)
    assert not any(watch(finder, still, [avatar[0]] * 10 + [cupped] * 20, cut=10))


@pytest.mark.slow
def test_nobody_who_talks_is_covered(follow: Any, avatar: list[Frame]) -> None:
    assert follow(avatar).totals.covered_ranges == ()


@pytest.mark.slow
@pytest.mark.skipif(not GRID.is_dir(), reason=f"{GRID} is not there")
@pytest.mark.parametrize("clip", sorted(GRID.glob("*.mpg")), ids=lambda clip: clip.stem)
def test_nobody_who_talks_elsewhere_is_covered(follow: Any, decoded: Callable[..., list[Frame]], clip: Path) -> None:
    assert follow(decoded(clip, 360, 288)).totals.covered_ranges == ()
