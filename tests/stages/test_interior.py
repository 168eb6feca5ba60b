"""The drawn inside of a mouth: teeth where there were none, in the picture's own light and colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from dhcli.families.dh_base.geometry import CROP_CENTRE, CROP_SIDE, INNER, LOWER_LIP, PX_PER_UNIT, UPPER_LIP, Geometry
from dhcli.families.dh_base.geometry import load_geometry as load
from dhcli.families.dh_base.interior import Answer, draw_inside, show, teeth_at
from dhcli.families.dh_base.surroundings import LUMA
from dhcli.types import F32, F64, U8

GEOMETRY = Path(__file__).parents[2] / "models/dh-base/geometry.npz"
FRONTAL = np.zeros(2)
SKIN, LIPS = np.array([205.0, 160, 135]), np.array([180.0, 105, 100])
SEPIA = np.array([1.09, 0.98, 0.76])


@pytest.fixture(scope="module")
def geometry() -> Geometry:
    return load(GEOMETRY.read_bytes())


@pytest.fixture(scope="module")
def rest(geometry: Geometry) -> F64:
    """The canonical face's mouth, closed."""
    with np.load(GEOMETRY) as arrays:
        return geometry.closed(arrays["canonical"][geometry.mouth].astype(np.float64))


@pytest.fixture(scope="module")
def wide(geometry: Geometry, rest: F64) -> F64:
    """Mouth points of a wide open mouth, crop px."""
    return in_crop(opened(rest, geometry, 0.4))


def in_crop(mouth: F64, angles: F64 = FRONTAL) -> F64:
    """Mouth points of a head that is turned by yaw and not by pitch, crop px."""
    c, s = np.cos(angles[0]), np.sin(angles[0])
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.asarray(((mouth - CROP_CENTRE) @ turn.T)[:, :2] * PX_PER_UNIT + CROP_SIDE / 2, np.float64)


def opened(rest: F64, geometry: Geometry, gap: float) -> F64:
    per_code = geometry.basis[:, LOWER_LIP, 1] - geometry.basis[:, UPPER_LIP, 1]
    return rest + np.tensordot((gap - 0.02) * per_code / (per_code @ per_code), geometry.basis, 1)


def inside(points: F64, side: int, less: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Pixels between the inner lips, `less` crop px away from them."""
    k = side / CROP_SIDE
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.rint(points[INNER] * k).astype(np.int32)], 1)
    size = 2 * round(less * k) + 1
    return cv2.erode(mask, np.ones((size, size), np.uint8)).astype(bool)


def face(points: F64, side: int = 320, skin: F64 = SKIN, lips: F64 = LIPS) -> F32:
    """Skin with the lips' outline on it, a little grain, and fog where the mouth is open."""
    k = side / CROP_SIDE
    picture = np.tile(skin.astype(np.float32), (side, side, 1))
    cv2.fillPoly(picture, [np.rint(points[:20] * k).astype(np.int32)], lips.tolist())
    grain = np.random.default_rng(5).normal(0, 2, (side, side, 1)).astype(np.float32)
    return np.asarray(np.clip(picture + grain, 0, 255), np.float32)


@dataclass(frozen=True)
class Person:
    """Somebody with closed lips."""

    picture: U8
    rest: F64
    geometry: Geometry

    def speaks(self, target: F64, angles: F64 = FRONTAL) -> U8:
        """The picture of the same skin with the lips at `target`, put together as the blend does."""
        side = len(self.picture)
        drawing = draw_inside(self.picture, in_crop(self.rest, angles), angles, self.rest, self.geometry)
        shown = answer()
        show(drawing.placed, target, angles, self.rest, shown)
        flow, weights, light = (
            cv2.resize(planes.transpose(1, 2, 0), (side, side))
            for planes in (shown.reference_flow, shown.weights, shown.light)
        )
        assert not weights[..., 0].any()
        y, x = np.mgrid[0:side, 0:side].astype(np.float32)
        at = flow * np.float32(side / CROP_SIDE)
        inside = cv2.remap(drawing.picture.astype(np.float32), x + at[..., 0], y + at[..., 1], cv2.INTER_CUBIC)
        out = self.picture + weights[..., 1:] * (inside + light * 255 - self.picture)
        return np.asarray(np.clip(np.rint(out), 0, 255), np.uint8)


def answer() -> Answer:
    """A network's, of which nothing may be left."""
    fog = [np.full(shape, np.nan, np.float32) for shape in ((2, 160, 160), (2, 160, 160), (3, 40, 40))]
    return Answer(*fog)


@pytest.fixture(scope="module")
def closed(geometry: Geometry, rest: F64) -> Person:
    return person(geometry, rest)


def person(geometry: Geometry, rest: F64, picture: F32 | None = None) -> Person:
    picture = face(in_crop(rest)) if picture is None else picture
    return Person(np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8), rest, geometry)


def luma_of(picture: U8 | F32) -> F32:
    return np.asarray(picture, np.float32) @ LUMA


def sharpness(picture: U8, points: F64) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F)[inside(points, len(picture))].var())


def teeth(picture: U8, points: F64) -> U8:  # (n, 3)
    """The brightest quarter of the inside."""
    pixels = picture[inside(points, len(picture), 2)]
    luma = luma_of(pixels)
    return pixels[luma >= np.quantile(luma, 0.75)]


@pytest.mark.parametrize("side", [160, 320, 720])
def test_teeth_are_sharp_pale_and_no_brighter_than_the_skin(
    geometry: Geometry, rest: F64, wide: F64, side: int
) -> None:
    picture = person(geometry, rest, face(in_crop(rest), side)).speaks(wide)
    found = teeth(picture, wide)
    saturation = cv2.cvtColor(found[None], cv2.COLOR_RGB2HSV)[..., 1]
    skin = luma_of(SKIN.astype(np.float32))
    assert sharpness(picture, wide) >= 60
    assert saturation.mean() <= 75
    assert 0.5 * skin < luma_of(found).mean() < skin
    assert np.quantile(luma_of(picture[inside(wide, side, 2)]), 0.2) < 40  # a dark cavity beside them


def test_nothing_changes_but_the_inside(closed: Person, wide: F64) -> None:
    changed = (closed.speaks(wide) != closed.picture).any(-1)
    around = cv2.dilate(inside(wide, 320).astype(np.uint8), np.ones((21, 21), np.uint8)).astype(bool)
    assert changed[inside(wide, 320, 1)].mean() > 0.99
    assert not changed[~around].any()


def test_closed_lips_show_nothing(closed: Person, rest: F64) -> None:
    assert (closed.speaks(in_crop(rest)) == closed.picture).all()


def test_grey_stays_grey(geometry: Geometry, rest: F64, wide: F64) -> None:
    grey = np.repeat(luma_of(face(in_crop(rest)))[..., None], 3, 2)
    picture = person(geometry, rest, grey).speaks(wide).astype(int)
    assert np.ptp(picture, 2).max() <= 1


def test_a_sepia_print_keeps_its_tint_and_skin_does_not_pass_for_one(
    geometry: Geometry, rest: F64, closed: Person, wide: F64
) -> None:
    sepia = luma_of(face(in_crop(rest)))[..., None] * SEPIA.astype(np.float32) * np.float32(0.9)
    mean = teeth(person(geometry, rest, sepia).speaks(wide), wide).mean(0)
    assert np.allclose(mean / mean.mean(), SEPIA / SEPIA.mean(), atol=0.03)
    mean = teeth(closed.speaks(wide), wide).mean(0)
    assert np.ptp(mean / mean.mean()) < 0.6 * np.ptp(SKIN / SKIN.mean())


def test_light_from_one_side_falls_on_the_teeth_too(geometry: Geometry, rest: F64, wide: F64) -> None:
    from_left = np.linspace(1.15, 0.55, 320, dtype=np.float32)[None, :, None]
    lit = [
        luma_of(person(geometry, rest, face(in_crop(rest)) * light).speaks(wide))
        for light in (from_left, from_left[:, ::-1])
    ]
    # The skin 18 px off the middle is 1.08 times as bright as with the light from the other side.
    above_edge = round(teeth_at(wide, FRONTAL, rest)[0][1] * 2) - 8  # px
    second_tooth = slice(above_edge - 2, above_edge + 2), slice(138, 146)
    assert lit[0][second_tooth].mean() > 1.05 * lit[1][second_tooth].mean()


def test_teeth_on_dark_skin_do_not_glow(geometry: Geometry, rest: F64, wide: F64) -> None:
    skin = SKIN * 0.35
    before = face(in_crop(rest), skin=skin, lips=LIPS * 0.4)
    before[np.random.default_rng(2).random((320, 320)) < 0.1] *= 1.8  # it shines here and there
    found = luma_of(teeth(person(geometry, rest, before).speaks(wide), wide))
    assert np.quantile(found, 0.9) > luma_of(skin.astype(np.float32))
    assert found.max() <= np.quantile(luma_of(before), 0.99)


def test_upper_teeth_stand_still_while_the_lips_move(geometry: Geometry, rest: F64, closed: Person) -> None:
    """Where the first upper tooth ends: from bright to dark, down the middle of its width."""

    def edge(someone: Person, target: F64) -> int:
        column = luma_of(someone.speaks(target))[:, 160 + 8]
        from_lip = int(target[UPPER_LIP, 1] * 2) + 4
        return from_lip + int(np.argmin(np.diff(column[from_lip : from_lip + 40])))

    wide, wider = in_crop(opened(rest, geometry, 0.3)), in_crop(opened(rest, geometry, 0.45))
    assert wider[UPPER_LIP, 1] < wide[UPPER_LIP, 1] - 1.5
    assert abs(edge(closed, wide) - edge(closed, wider)) <= 1
    lower_face = person(geometry, rest + np.array([0, 0.05, 0]))
    assert edge(lower_face, wide) - edge(closed, wide) == pytest.approx(5, abs=1)


def test_lower_teeth_go_with_the_lip_and_not_through_the_upper_ones(geometry: Geometry, rest: F64) -> None:
    lows = []
    for gap in (0.05, 0.3, 0.45):
        points = in_crop(opened(rest, geometry, gap))
        upper, lower = teeth_at(points, FRONTAL, rest)
        assert lower > upper[1]
        lows.append(lower)
    assert lows[0] < lows[1] < lows[2]


def test_a_soft_picture_gets_soft_teeth(geometry: Geometry, rest: F64, closed: Person, wide: F64) -> None:
    soft = np.asarray(cv2.GaussianBlur(closed.picture.astype(np.float32), (0, 0), 3), np.float32)
    assert sharpness(person(geometry, rest, soft).speaks(wide), wide) < 0.5 * sharpness(closed.speaks(wide), wide)


def test_the_same_picture_gets_the_same_mouth(closed: Person, wide: F64) -> None:
    assert (closed.speaks(wide) == closed.speaks(wide)).all()


@pytest.mark.parametrize("where", [(0.0, 0.0), (75.0, 0.0), (0.0, -90.0), (500.0, 500.0)])
@pytest.mark.parametrize("level", [0, 255])
def test_any_picture_and_place_gives_a_picture(
    geometry: Geometry, rest: F64, wide: F64, where: tuple[float, float], level: int
) -> None:
    flat = np.full((96, 96, 3), level, np.uint8)
    drawing = draw_inside(flat, in_crop(rest) + where, FRONTAL, rest, geometry)
    shown = answer()
    show(drawing.placed, wide + where, FRONTAL, rest, shown)
    assert drawing.picture.shape == flat.shape
    assert all(np.isfinite(planes).all() for planes in (shown.reference_flow, shown.weights, shown.light))


def test_a_turned_head_turns_its_teeth(geometry: Geometry, rest: F64) -> None:
    """The nose points to the left in the picture: the half of the row that is turned away is narrower."""
    angles = np.array([0.35, 0.0])
    points = in_crop(opened(rest, geometry, 0.4), angles)
    picture = person(geometry, rest, face(in_crop(rest, angles))).speaks(points, angles)
    lit = luma_of(picture) * inside(points, 320, 1)
    columns = np.where((lit > 90).sum(0) > 4)[0]
    middle = in_crop(np.array([[0, 1.6, -0.28]]), angles)[0, 0] * 2
    assert columns[-1] - middle > 1.2 * (middle - columns[0])
