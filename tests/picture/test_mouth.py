"""Figures of single frames and of clips, on drawn mouths whose openings, sharpness and movement are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dhcli.networks.network import Device
from dhcli.picture.against import beside, difference_outside
from dhcli.picture.clip import ClipMeter
from dhcli.picture.judge import Judged, verdicts
from dhcli.picture.mouth import CORNERS, LOWER, UPPER, inside_sharpness, look
from dhcli.render.face_finder import FaceFinder
from dhcli.render.models import Models
from dhcli.score.run import COMPARED, Poses
from dhcli.stages.mesh import INNER_LIP, FaceMesh, posed
from dhcli.types import F64, U8, Frame, Pose

SIDE = 240


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    finder: FaceFinder = Models((), Device("cpu")).finder
    return finder.mesh


def turned(degrees: float = 0.0, scale: float = 40.0) -> Pose:
    a = np.radians(degrees)
    rotation = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return Pose(scale, rotation, np.array([SIDE / 2, SIDE / 3, 0.0]))


def face(mesh: FaceMesh, gap: float, pose: Pose | None = None) -> F64:
    """Landmarks of the canonical face with the inner lips so far apart, canonical units."""
    shape = mesh.canonical.copy()
    ring = list(INNER_LIP)
    middle, side = shape[ring].mean(0), np.sign(shape[ring, 1] - shape[ring, 1].mean())
    shape[ring, 1] = middle[1] + side * gap / 2
    shape[[UPPER, LOWER]] = middle
    shape[UPPER, 1], shape[LOWER, 1] = middle[1] - gap / 2, middle[1] + gap / 2
    return posed(shape, pose or turned())


def frame(index: int = 0, seed: int = 0, blur: float = 0.0) -> Frame:
    luma: U8 = np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    if blur:
        luma = np.asarray(cv2.GaussianBlur(luma, (0, 0), blur), np.uint8)
    return Frame(index, np.concatenate([luma, np.full((SIDE // 2, SIDE), 128, np.uint8)]))


@pytest.mark.parametrize("degrees", [0, 30, -40])
def test_turning_the_head_changes_neither_opening_nor_size(mesh: FaceMesh, degrees: float) -> None:
    width = float(np.linalg.norm(mesh.canonical[CORNERS[1]] - mesh.canonical[CORNERS[0]]))
    seen = look(frame(), face(mesh, 0.3, turned(degrees)), mesh)
    assert seen.opening == pytest.approx(0.3 / width, abs=1e-3)
    assert seen.face_px == pytest.approx(40 * 2.733, rel=1e-3)
    assert abs(seen.yaw_deg) == pytest.approx(abs(degrees), abs=0.1)


def test_blur_takes_the_sharpness_and_a_closed_mouth_has_none(mesh: FaceMesh) -> None:
    sharp, soft = (look(frame(blur=blur), face(mesh, 0.5), mesh).sharpness for blur in (0.0, 2.0))
    assert sharp is not None
    assert soft is not None
    assert soft < sharp / 20
    assert look(frame(), face(mesh, 0.05), mesh).sharpness is None


def test_a_mouth_beyond_the_picture_has_no_sharpness(mesh: FaceMesh) -> None:
    points = face(mesh, 0.5)
    assert inside_sharpness(frame().y, points + np.array([SIDE, 0, 0])) is None
    assert inside_sharpness(frame().y, points - np.array([SIDE, SIDE, 0])) is None


def clip(mesh: FaceMesh, amplitude: float, *, tremble: float = 0.0, blur: float = 0.0) -> ClipMeter:
    meter, dice = ClipMeter(mesh), np.random.default_rng(5)
    for index in range(30):
        points = face(mesh, 0.35 + amplitude * float(np.sin(index / 3)))
        meter.see(frame(index, 0, blur), points + tremble * dice.normal(size=points.shape) * [1, 1, 0])
    meter.see(frame(30), None)
    return meter


def test_a_clip_beside_another_one(mesh: FaceMesh) -> None:
    original = clip(mesh, 0.1, tremble=0.05)
    same = beside(original, original, same_size=True)
    assert (same.opening, same.sharpness, same.flicker) == (1.0, 1.0, 1.0)
    half = beside(clip(mesh, 0.05, tremble=0.05), original, same_size=True)
    assert half.opening == pytest.approx(0.5, abs=0.05)
    nervous = beside(clip(mesh, 0.1, tremble=0.3), original, same_size=True)
    assert nervous.flicker is not None
    assert nervous.flicker > 2
    soft = beside(clip(mesh, 0.1, tremble=0.05, blur=2.0), original, same_size=True)
    assert soft.sharpness is not None
    assert soft.sharpness < 0.1
    assert beside(original, original, same_size=False).sharpness is None


def test_a_clip_counts_frames_without_a_face_and_changes_inside(mesh: FaceMesh) -> None:
    meter = ClipMeter(mesh)
    for index in range(4):
        meter.see(frame(index, seed=index // 2), face(mesh, 0.5))
    assert meter.inside_change(2) == 0
    assert (meter.inside_change(3) or 0) > 5
    meter.see(frame(4), None)
    assert (meter.frames, meter.figures().looked) == (5, 4)
    assert (meter.figures(2).looked, meter.flicker(2)) == (2, None)


def test_outside_the_mouth() -> None:
    pose, old = turned(scale=20.0), frame()
    x, y = (pose.translation + pose.scale * pose.rotation @ np.array([0.0, 1.72, -0.2]))[:2].astype(int)
    new = old.copy()
    new.y[y - 20 : y + 20, x - 20 : x + 20] = 0
    assert difference_outside(new, old, pose).max() == 0
    new.y[:10] ^= 255
    assert difference_outside(new, old, pose).mean() > 1


def codes(**figures: float | None) -> list[str]:
    known: dict[str, float | None] = {
        "asked": 0.3,
        "shown": 0.3,
        "face_px": 200.0,
        "sharpness": 50.0,
        "source_sharpness": 100.0,
    }
    return [code for code, _ in verdicts(Judged(**(known | figures)))]


def test_warnings_about_pictures() -> None:
    assert codes() == []
    assert codes(shown=0.02) == ["mouth.still"]
    assert codes(asked=0.05, shown=0.0) == [], "a pause is no reason"
    assert codes(face_px=40.0) == ["face.small"]
    assert codes(sharpness=20.0) == ["picture.soft"]
    assert codes(asked=None, shown=None, face_px=None, sharpness=None, source_sharpness=None) == []
    assert codes(source_sharpness=0.0) == []


@pytest.mark.parametrize("faces", [1, 30, 1000])
def test_poses_are_spread_over_all_frames_with_a_face(mesh: FaceMesh, faces: int) -> None:
    poses = Poses()
    points = posed(mesh.canonical, turned())
    for number in range(faces):
        poses.add(500 + number, points, mesh)
    at = np.array(list(poses.by_frame))
    assert min(faces, COMPARED) <= len(at) < 2 * COMPARED
    assert at[0] == 500
    assert np.ptp(np.diff([*at, 500 + faces])) <= faces / COMPARED
