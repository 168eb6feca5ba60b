"""Crops of a face, and painted crops back in their frames: on the avatar's own face."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhcli.families.face_crop.crops import BOXES, CropPlan, Recipe, crop_matrix_of
from dhcli.families.face_crop.mask import ORIGINALS, Paste, original_mask, soft_mask
from dhcli.families.face_crop.paste import FacePatch
from dhcli.networks.network import Device
from dhcli.render.face_finder import FaceFinder, finder_bundle
from dhcli.stages.align import YuvMatrix, apply, crop_yuv, invert, to_rgb, yuv_matrix
from dhcli.stages.find import DETECTED, find_faces, locate_landmarks, region_from_face
from dhcli.stages.mesh import landmark_box
from dhcli.types import F32, F64, U8, Colour, FaceRow, Frame, Pose

WIDTH, HEIGHT, LARGER = 400, 300, 3
YUV: YuvMatrix = yuv_matrix(Colour(), HEIGHT)
RECIPES: tuple[Recipe, ...] = ("face_box", "ffhq", "ffhq_mouth", "head_mouth", "heygem", "ultralight", "musetalk")
LIPS, CHIN = (61, 291, 13, 14), 152


@pytest.fixture(scope="module")
def frame(avatar_frames: list[Frame]) -> Frame:
    """The avatar's first frame, three times as large, with grain that shows whether detail stays."""
    small = avatar_frames[0]
    planes = [
        cv2.resize(plane, None, fx=LARGER, fy=LARGER, interpolation=cv2.INTER_CUBIC)
        for plane in (small.y, small.u, small.v)
    ]
    grain = np.asarray(np.random.default_rng(1).normal(0, 14, planes[0].shape), np.float32)
    soft = cv2.GaussianBlur(grain, (0, 0), 1.0)
    planes[0] = np.clip(planes[0] + soft, 0, 255).astype(np.uint8)
    data = np.concatenate([np.asarray(plane, np.uint8).reshape(-1) for plane in planes])
    return Frame(0, data.reshape(-1, WIDTH * LARGER)).read_only()


@pytest.fixture(scope="module")
def face(frame: Frame) -> FaceRow:
    finder = FaceFinder(finder_bundle(), Device("cpu"))
    (found,) = find_faces(finder.detect, frame, YUV, DETECTED)
    points, _ = locate_landmarks(finder.locate, frame, region_from_face(found), YUV)
    return FaceRow(0, 0, 1.0, finder.mesh.pose(points), landmark_box(points), points)


def seen(frame: Frame, face: FaceRow, size: int = 96, recipe: Recipe = "face_box") -> tuple[F64, F32]:
    """The map to the crop, and the crop."""
    matrix = crop_matrix_of(CropPlan(recipe, size, (0, 10, 0, 0)), face, frame.width, frame.height)
    return matrix, to_rgb(crop_yuv(frame, matrix, size), YUV)


def pasted(frame: Frame, face: FaceRow, matrix: F64, crop: F32, made: F32, **how: object) -> Frame:
    return FacePatch(face, matrix, crop, made, "box", **how).paste(frame, 1.0, YUV)  # type: ignore[arg-type]


def lips(frame: Frame, face: FaceRow) -> U8:
    """Luma of mouth and chin."""
    x0, y0 = (face.points[list(LIPS), :2].min(0) - 8).astype(int)
    x1, y1 = (face.points[[*LIPS, CHIN], :2].max(0)).astype(int)
    return frame.y[y0:y1, x0:x1]


def sharpness(picture: U8) -> float:
    return float(cv2.Laplacian(picture, cv2.CV_64F).var())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_mouth_lies_in_the_lower_half_of_every_crop(frame: Frame, face: FaceRow, recipe: Recipe) -> None:
    matrix, _ = seen(frame, face, 256, recipe)
    mouth = apply(matrix, face.points[list(LIPS), :2])
    assert ((mouth > (40, 100)) & (mouth < (216, 250))).all()
    assert abs(mouth[:2, 0].mean() - 128) < 20


def test_crops_are_where_the_programs_cut_them(frame: Frame, face: FaceRow) -> None:
    points = face.points[:, :2]
    matrix, _ = seen(frame, face, 96, "face_box")
    left, top = apply(invert(matrix), np.array([[-0.5, -0.5]]))[0]
    right, bottom = apply(invert(matrix), np.array([[95.5, 95.5]]))[0]
    assert (left, right) == pytest.approx((points[:454, 0].min(), points[:454, 0].max()), abs=8)
    assert bottom - 10 == pytest.approx(points[CHIN, 1], abs=3), "ten px are added below the chin"
    assert top == pytest.approx(points[10, 1], abs=3)
    eyes = apply(seen(frame, face, 512, "ffhq")[0], points[[468, 473]]) / 512
    assert eyes == pytest.approx(np.array([[0.377, 0.469], [0.623, 0.469]]), abs=0.03), "the template of FFHQ"
    head = invert(crop_matrix_of(CropPlan("ffhq", 256), face, frame.width, frame.height))
    corners = apply(crop_matrix_of(CropPlan("head_mouth", 96), face, frame.width, frame.height), apply(
        head, np.array([[62.0, 61.0], [194.0, 237.0]]) - 0.5
    ))  # fmt: skip
    assert corners == pytest.approx(np.array([[-0.5, -0.5], [95.5, 95.5]]), abs=0.01), "with --pads of 4, its default"


@given(st.floats(-90, 90), st.floats(-60, 60), st.sampled_from(RECIPES))
@settings(max_examples=40)
def test_a_crop_moves_with_its_face(x: float, y: float, recipe: Recipe) -> None:
    angles = np.linspace(0, 2 * np.pi, 478)
    points = np.column_stack([300 + 80 * np.cos(angles), 300 + 100 * np.sin(angles), np.zeros(478)])
    points[[234, 454, 10, 152, 197, 5, 468, 473, 1, 61, 291], :2] = [
        *[(220, 300), (380, 300), (300, 200), (300, 400), (300, 290), (300, 310)],
        *[(270, 280), (330, 280), (300, 320), (280, 350), (320, 350)],
    ]
    pose = Pose(30.0, np.eye(3), np.array([300.0, 300.0, 0.0]))
    here = FaceRow(0, 0, 1.0, pose, landmark_box(points), points)
    there = dataclasses.replace(here, points=points + np.array([x, y, 0]))
    plan = CropPlan(recipe, 128)
    first, second = (apply(crop_matrix_of(plan, one, 900, 900), one.points[:, :2]) for one in (here, there))
    assert first == pytest.approx(second, abs=1e-6)


@pytest.mark.parametrize("recipe", BOXES)
def test_a_face_that_is_turned_or_lies_on_its_side_has_a_crop_of_its_size(face: FaceRow, recipe: Recipe) -> None:
    """As when someone in bed is filmed, or looks away: no side of a box may vanish."""
    middle = face.points.mean(0)
    for yaw in range(0, 76, 15):
        for roll in range(0, 360, 15):
            (s, z), (c, x) = np.sin(np.radians([yaw, roll])), np.cos(np.radians([yaw, roll]))
            turn, lie = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]), np.array([[x, z, 0], [-z, x, 0], [0, 0, 1]])
            one = dataclasses.replace(face, points=(face.points - middle) @ turn @ lie + middle)
            matrix = crop_matrix_of(CropPlan(recipe, 96), one, WIDTH * LARGER, HEIGHT * LARGER)
            sides = 96 / np.diag(matrix[:, :2])
            height = float(np.linalg.norm(face.points[10] - face.points[152]))
            assert (sides > height / 6).all(), (yaw, roll, sides, height)
            assert (sides < height * 4).all(), (yaw, roll, sides, height)


def test_facefusion_pastes_below_the_nose(face: FaceRow) -> None:
    """Its hull goes from the lower jaw to the nostrils; cheekbones and eyes stay as filmed."""
    plan = CropPlan("ffhq_mouth", 96)
    matrix = crop_matrix_of(plan, face, WIDTH * LARGER, HEIGHT * LARGER)
    mask = original_mask("mask", face.points, matrix, 96)
    shown = {number: mask[tuple(apply(matrix, face.points[[number], :2])[0].round().astype(int)[::-1])]
             for number in (13, 14, 17, 199, 50, 280, 197, 116, 345)}  # fmt: skip
    assert all(shown[number] == 1 for number in (13, 14, 17, 199))
    assert all(shown[number] == 0 for number in (50, 280, 197, 116, 345)), shown


def test_a_box_ends_where_the_frame_does(face: FaceRow) -> None:
    matrix = crop_matrix_of(CropPlan("face_box", 96), face, int(face.points[1, 0]), 900)
    right = apply(invert(matrix), np.array([[95.5, 0.0]]))[0, 0]
    assert right == pytest.approx(int(face.points[1, 0]) - 0.5)


def test_a_border_is_cut_off(face: FaceRow) -> None:
    whole = crop_matrix_of(CropPlan("heygem", 266), face, 1200, 900)
    inner = crop_matrix_of(CropPlan("heygem", 256, border=5), face, 1200, 900)
    assert apply(inner, face.points[:, :2]) == pytest.approx(apply(whole, face.points[:, :2]) - 5)


@pytest.mark.parametrize("size", [96, 256])
def test_a_network_that_changes_nothing_changes_no_pixel(frame: Frame, face: FaceRow, size: int) -> None:
    matrix, crop = seen(frame, face, size)
    after = pasted(frame, face, matrix, crop, crop)
    assert np.abs(after.data.astype(int) - frame.data).max() <= 1


def test_outside_of_the_mask_not_a_bit_changes(frame: Frame, face: FaceRow) -> None:
    matrix, crop = seen(frame, face)
    after = pasted(frame, face, matrix, crop, np.full_like(crop, 40))
    mask = soft_mask(face.points, matrix, 96)
    changed = np.argwhere(after.y != frame.y)[:, ::-1].astype(np.float64)
    places = np.rint(apply(matrix, changed)).astype(int).clip(0, 95)
    near = cv2.dilate(mask, np.ones((3, 3)))
    assert len(changed) > 10_000
    assert (near[places[:, 1], places[:, 0]] > 0).all()
    assert mask[[0, -1]].max() == mask[:, [0, -1]].max() == 0, "it fades before the crop ends"
    for corners in ((33, 133), (362, 263)):
        (left, y), (right, _) = face.points[list(corners), :2].astype(int)
        assert (after.y[y - 10 : y + 10, left:right] == frame.y[y - 10 : y + 10, left:right]).all(), "the eyes stay"


def test_skin_that_only_moves_stays_as_sharp_as_it_was(frame: Frame, face: FaceRow) -> None:
    matrix, crop = seen(frame, face)
    below = np.clip((np.arange(96) - 56) / 6, 0, 1)[:, None]
    y, x = np.mgrid[:96, :96].astype(np.float32)
    made = np.asarray(cv2.remap(crop, x, (y - 3 * below).astype(np.float32), cv2.INTER_LINEAR), np.float32)
    own = pasted(frame, face, matrix, crop, made)
    plain = pasted(frame, face, matrix, crop, made, detail=0.0)
    assert sharpness(lips(own, face)) > 0.7 * sharpness(lips(frame, face))
    assert sharpness(lips(plain, face)) < 0.5 * sharpness(lips(frame, face)), "what the network alone shows"
    assert np.abs(own.y.astype(int) - plain.y).mean() < 3, "both show the same"


def test_a_mouth_in_another_light_gets_the_scenes(frame: Frame, face: FaceRow) -> None:
    matrix, crop = seen(frame, face)
    cast_of_colour = np.clip(crop * (1.15, 1.0, 0.8) + 10, 0, 255).astype(np.float32)
    own = pasted(frame, face, matrix, crop, cast_of_colour)
    theirs = pasted(frame, face, matrix, crop, cast_of_colour, faithful=True)
    for plane in ("u", "v"):
        before, after, wrong = (getattr(one, plane).astype(int) for one in (frame, own, theirs))
        assert np.abs(after - before).max() <= 0.5 * np.abs(wrong - before).max()


def test_grey_stays_grey(frame: Frame, face: FaceRow) -> None:
    data = frame.data.copy()
    data[frame.height :] = 128
    grey = Frame(0, data).read_only()
    matrix, crop = seen(grey, face)
    made = crop.copy()
    made[60:] = np.clip(made[60:] * 0.6, 0, 255)
    after = pasted(grey, face, matrix, crop, made)
    assert (np.abs(after.u.astype(int) - 128).max(), np.abs(after.v.astype(int) - 128).max()) <= (1, 1)


@pytest.mark.parametrize("paste", ORIGINALS)
def test_faithful_shows_what_the_other_program_would(frame: Frame, face: FaceRow, paste: Paste) -> None:
    matrix, crop = seen(frame, face)
    red = np.full_like(crop, 0) + np.array([200, 30, 30], np.float32)
    patch = FacePatch(face, matrix, crop, red, paste, faithful=True)
    after = patch.paste(frame, 1.0, YUV)
    mask = original_mask(paste, face.points, matrix, 96)
    assert 0 <= mask.min() <= mask.max() <= 1
    x, y = face.points[14, :2].astype(int)
    assert int(after.v[y // 2, x // 2]) > 180, "the mouth is as the network painted it"
    untouched = np.abs(after.y.astype(int) - frame.y)[:100].max()
    assert untouched == 0


def test_a_box_is_replaced_to_its_edges(frame: Frame, face: FaceRow) -> None:
    matrix, crop = seen(frame, face)
    after = pasted(frame, face, matrix, crop, np.full_like(crop, 255.0), faithful=True)
    (left, top), (right, bottom) = apply(invert(matrix), np.array([[0.0, 0.0], [95.0, 95.0]])).astype(int)
    assert (after.y[top + 2 : bottom - 1, left + 2 : right - 1] == 235).all()


def test_a_face_half_out_of_the_picture(frame: Frame, face: FaceRow) -> None:
    half = dataclasses.replace(face, points=face.points - (face.points[1, 0], 0, 0))
    for recipe in RECIPES:
        matrix, crop = seen(frame, half, 96, recipe)
        after = pasted(frame, half, matrix, crop, np.clip(crop + 60, 0, 255).astype(np.float32))
        assert after.data.shape == frame.data.shape
    gone = dataclasses.replace(face, points=face.points - (5000, 0, 0))
    for recipe in BOXES:
        matrix, crop = seen(frame, gone, 96, recipe)
        assert (pasted(frame, gone, matrix, crop, crop + 1).data == frame.data).all()


def test_weight_is_a_share(frame: Frame, face: FaceRow) -> None:
    matrix, crop = seen(frame, face)
    patch = FacePatch(face, matrix, crop, np.zeros_like(crop), "box", detail=0.0)
    none, half, whole = (patch.paste(frame, weight, YUV).y.astype(float) for weight in (0.0, 0.5, 1.0))
    assert (none == frame.y).all()
    assert half - frame.y == pytest.approx((whole - frame.y) / 2, abs=1)
