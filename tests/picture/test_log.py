"""What a render notes of each frame: what is asked, what is kept, and how often the teeth change their reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.render.picture import PictureLog
from dhcli.stages.align import YuvMatrix
from dhcli.stages.mesh import FaceMesh, landmark_box, posed
from dhcli.types import FaceRow, Frame, Pose

FRAME = Frame(0, np.random.default_rng(0).integers(0, 255, (360, 240), dtype=np.uint8))
POSE = Pose(40.0, np.eye(3), np.array([120.0, 80.0, 0.0]))


@dataclass
class Told:
    opening: float | None = None
    reference: int | None = None

    def paste(self, frame: Frame, _: float, __: YuvMatrix) -> Frame:
        return frame


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return Models((), Device("cpu")).finder.mesh


def filmed(mesh: FaceMesh, count: int) -> PictureLog:
    points = posed(mesh.canonical, POSE)
    log = PictureLog(mesh, count)
    for index in range(count):
        log.film(Frame(index, FRAME.data), FaceRow(index, 0, 1.0, POSE, landmark_box(points), points))
    return log


def test_frames_that_stay_as_filmed_are_counted_and_not_looked_at(mesh: FaceMesh) -> None:
    log = filmed(mesh, 4)  # a batch: all are filmed before the first one is asked
    log.ask(Told(0.2))
    log.keep("left")
    log.keep("missing")
    log.ask(Told(None))
    assert log.kept == {"missing": 1, "covered": 0, "left": 1}
    assert np.isnan(log.asked_openings).tolist() == [False, True, True, True]
    assert np.nan_to_num(log.asked_of_faces, nan=-1).round(3).tolist() == [0.2, -1, -1, 0]
    assert list(log.source) == [0, -1, -1, 3]


def test_a_short_video_shown_again_and_again_is_looked_into_often(mesh: FaceMesh) -> None:
    points = posed(mesh.canonical, POSE)
    points[14, 1] += 12  # an open mouth
    log = PictureLog(mesh, 50)
    for index in range(20 * 50):
        log.film(Frame(index % 50, FRAME.data), FaceRow(index % 50, 0, 1.0, POSE, landmark_box(points), points))
    assert len(log.sharpness) == 50


def test_changes_of_the_reference(mesh: FaceMesh) -> None:
    log = filmed(mesh, 6)
    log.ask(Told(0.1))
    assert log.switches is None, "none was told"
    for reference in (2, 2, 1, 1, 2):
        log.ask(Told(0.1, reference))
    assert log.switches == 2
