"""The new mouth in the frame: the reference's pictures, and nothing touched outside the window."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest

from conftest import decode
from dhcli.disk.scratch import Scratch
from dhcli.families.dh_base import blend
from dhcli.families.dh_base.blend import Blender, FlowPatch, rectangle, window
from dhcli.families.dh_base.conditions import MouthAsked
from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.follow import Follower, Use
from dhcli.families.dh_base.geometry import CROP_SIDE, face_crop_matrix, mouth_opening
from dhcli.families.dh_base.profile import Person
from dhcli.families.dh_base.references import Reference, Stand, candidate, stand_of
from dhcli.families.dh_base.speak import OUTPUTS, Mouth, Speaker, wanted
from dhcli.families.family import Shot
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model, Precision
from dhcli.networks.network import Device
from dhcli.render import face_finder
from dhcli.render.analysis import analyse
from dhcli.render.face_finder import FaceFinder
from dhcli.stages import align
from dhcli.stages.cutout import Cutout
from dhcli.stages.mesh import pose_free
from dhcli.types import F32, F64, U8, Colour, FaceRow, Frame, FrameFormat, Pose

YUV = align.yuv_matrix(Colour(), 300)


def render(family: DhBase, *shots: Shot) -> list[Frame]:
    """The frames with their new mouths, all asked for at once."""
    patches = family.speak(shots, YUV)
    return [patch.paste(shot.frame, shot.face.weight, YUV) for shot, patch in zip(shots, patches, strict=True)]


def psnr(a: U8, b: U8) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


class Fixed:
    """A follower that always gives the same uses."""

    def __init__(self, *uses: Use) -> None:
        self._uses = list(uses)

    def follow(self, _index: int, _wanted: Stand) -> list[Use]:
        return self._uses


def unseen(person: Person) -> Person:
    """A person without references, whose frame itself is one."""
    return dataclasses.replace(person, references=())


@pytest.fixture(scope="module")
def shots(
    dh_base: DhBase,
    avatar: Path,
    avatar_format: FrameFormat,
    golden: dict[str, F64],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[int, Shot]:
    """The golden frames, with this program's own track, the golden codes and the golden references."""
    frames, geometry = decode(avatar, 400, 300), dh_base.geometry
    shots: dict[int, Shot] = {}
    with analyse(
        iter(frames),
        avatar_format,
        FaceFinder(load_bundle(face_finder.NAME), Device("cpu")),
        "largest",
        lambda: None,
        scratch=Scratch(tmp_path_factory.mktemp("out") / "x.mp4"),
    ) as track:

        def face(index: int) -> FaceRow:
            row = track.row(index)
            assert row is not None
            return row

        def reference(index: int) -> Reference:
            row = face(index)
            mouth, points = pose_free(row.points[geometry.mouth], row.pose), row.points[geometry.mouth, :2]
            whole = Cutout(frames[index], np.zeros(2))
            made = candidate(row, whole, points, stand_of(mouth, row), mouth_opening(mouth), YUV)
            assert made is not None
            return made.reference

        references = tuple(reference(int(index)) for index in golden["references"])
        for index in (0, 10, 20, 30, 40):
            row = face(index)
            # A mouth at rest beside which the frame's own mouth has the golden code.
            rest = pose_free(row.points[geometry.mouth], row.pose) - np.tensordot(
                golden[f"source_code_{index}"], geometry.basis, 1
            )
            uses = (Use(number, share) for number, share in enumerate(golden["shares"][index]) if share)
            person = Person(rest, 0.2, references, cast("Follower", Fixed(*uses)))
            asked = MouthAsked(golden["codes"][index], gain=1.0, closing=0.0, speech_spread=0.0)
            shots[index] = Shot(frames[index], row, asked, (person,))
    return shots


@pytest.fixture(scope="module")
def exact() -> DhBase:
    """The default model with all of its face network in single precision, and one thread."""
    return DhBase(Model(load_bundle("dh-base"), Device("cpu"), 1, "fp32"))


@pytest.fixture(scope="module")
def half() -> DhBase:
    """The default model with its face network in 16 bits, which a CPU widens."""
    return DhBase(Model(load_bundle("dh-base"), Device("cpu"), 1, "fp16"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
@pytest.mark.parametrize("index", [0, 10, 20, 30, 40])
def test_pictures_are_the_references(
    index: int,
    precision: str,
    shots: dict[int, Shot],
    dh_base: DhBase,
    exact: DhBase,
    half: DhBase,
    golden: dict[str, F64],
    as_rgb: Callable[[Frame], U8],
) -> None:
    shot, family = shots[index], {"int8": dh_base, "fp16": half, "fp32": exact}[precision]
    assert family.model.precision == precision
    (new,) = render(family, shot)
    reference = golden[f"frame_{index}"].astype(np.uint8)
    assert psnr(as_rgb(new), reference) >= 45
    if index != 10:  # there the mouth hardly moves
        assert psnr(as_rgb(shot.frame), reference) < 42, "the picture changed at all"


@pytest.mark.parametrize("index", [0, 20, 40])
def test_target_points_are_the_references(
    index: int, shots: dict[int, Shot], dh_base: DhBase, golden: dict[str, F64]
) -> None:
    shot = shots[index]
    goal = wanted(shot.face, shot.profile[0].rest, shot.condition.code, dh_base.geometry)
    assert np.abs(goal.target - golden[f"target_points_{index}"]).max() < 0.5


def test_a_batch_is_its_frames(shots: dict[int, Shot], dh_base: DhBase) -> None:
    some = [shots[0], shots[20], shots[40]]
    together = render(dh_base, *some)
    for shot, one in zip(some, together, strict=True):
        (alone,) = render(dh_base, shot)
        assert np.abs(one.data.astype(int) - alone.data).max() <= 1


def test_a_grey_picture_stays_grey(shots: dict[int, Shot], dh_base: DhBase) -> None:
    frame = shots[0].frame.copy()
    frame.u[:], frame.v[:] = 128, 128
    frame.data.flags.writeable = False
    (grey,) = render(dh_base, dataclasses.replace(shots[0], frame=frame, profile=(unseen(shots[0].profile[0]),)))
    assert (grey.y != frame.y).any()
    assert (grey.u == 128).all()
    assert (grey.v == 128).all()


def test_kept_memory_shows_nothing_of_what_was_in_it(shots: dict[int, Shot], dh_base: DhBase) -> None:
    """Batches of other sizes, another person's reference in the same place, faces of other sizes."""

    def network(feeds: dict[str, F32]) -> Sequence[F32]:
        answers: Sequence[F32] = dh_base._face.run(OUTPUTS, feeds)
        return answers

    first = shots[0]
    (person,) = first.profile
    others = tuple(dataclasses.replace(one, low=255 - one.low) for one in person.references)
    other_person = dataclasses.replace(shots[20], profile=(dataclasses.replace(person, references=others),))
    small, large = (
        dataclasses.replace(
            shots[40],
            face=dataclasses.replace(
                shots[40].face, pose=dataclasses.replace(shots[40].face.pose, scale=shots[40].face.pose.scale * size)
            ),
        )
        for size in (0.4, 1.6)
    )
    kept, blender = Speaker(dh_base._move, dh_base.geometry), Blender()
    for batch in ([first], [other_person, first, small], [first, other_person], [large], [small, first], [first]):
        fresh = Speaker(network, dh_base.geometry).speak(batch, YUV)
        for shot, one, other in zip(batch, kept.speak(batch, YUV), fresh, strict=True):
            new = FlowPatch(one, blender).paste(shot.frame.copy(), 1.0, YUV)
            assert np.array_equal(new.data, FlowPatch(other, Blender()).paste(shot.frame.copy(), 1.0, YUV).data)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least_db"), [("int8", 45), ("fp16", 60)])
def test_narrower_numbers_are_near_single_precision(
    precision: str, least_db: float, shots: dict[int, Shot], dh_base: DhBase, half: DhBase, exact: DhBase
) -> None:
    """Not over the whole frame, most of which stays as it is: in the rectangle of the crop."""
    narrow = {"int8": dh_base, "fp16": half}[precision]
    differ = False
    for shot in shots.values():
        x0, y0, x1, y1 = rectangle(face_crop_matrix(shot.face.pose), 400, 300)
        (one,), (other,) = render(narrow, shot), render(exact, shot)
        near = one.y[y0:y1, x0:x1], other.y[y0:y1, x0:x1]
        assert np.array_equal(*near) or psnr(*near) > least_db
        differ |= not np.array_equal(one.data, other.data)
    assert differ, "they are two networks"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_how_many_threads_there_are_changes_next_to_nothing(precision: Precision, shots: dict[int, Shot]) -> None:
    some = [shots[0], shots[30]]
    x0, y0, x1, y1 = rectangle(face_crop_matrix(some[0].face.pose), 400, 300)
    pictures = {}
    for threads in (1, 2, 3, 4, 8):
        family = DhBase(Model(load_bundle("dh-base"), Device("cpu"), threads, precision))
        pictures[threads] = render(family, *some)
    for threads in (2, 3, 4):
        for one, other in zip(pictures[1], pictures[threads], strict=True):
            assert np.abs(one.data.astype(int) - other.data).max() <= 1
    for one, other in zip(pictures[1], pictures[8], strict=True):
        near = one.y[y0:y1, x0:x1], other.y[y0:y1, x0:x1]
        assert np.array_equal(*near) or psnr(*near) > 50


@pytest.fixture
def busy_cores() -> Iterator[None]:
    """Other programs want the cores as well."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for other in others:
        other.kill()
        other.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("busy_cores")
@pytest.mark.parametrize(("precision", "threads"), [("int8", 2), ("int8", 4), ("fp32", 2)])
def test_who_else_is_busy_changes_nothing(precision: Precision, threads: int, shots: dict[int, Shot]) -> None:
    family = DhBase(Model(load_bundle("dh-base"), Device("cpu"), threads, precision))
    some = list(shots.values())[:4]
    answers = set()
    for _ in range(10):
        mouths = [mouth for patch in family.speak(some, YUV) for _, mouth in patch.spoken.mouths]
        parts = ((mouth.flow, mouth.reference_flow, mouth.colour, mouth.weights, mouth.light) for mouth in mouths)
        answers.add(b"".join(part.tobytes() for mouth in parts for part in mouth))
    assert len(answers) == 1


def test_pixels_outside_the_window_are_the_decoders(shots: dict[int, Shot], dh_base: DhBase) -> None:
    for shot in shots.values():
        before = shot.frame.data.copy()
        (new,) = render(dh_base, shot)
        assert np.array_equal(shot.frame.data, before), "the source may be shown again"
        x0, y0, x1, y1 = rectangle(face_crop_matrix(shot.face.pose), 400, 300)
        for plane, old, k in ((new.y, shot.frame.y, 1), (new.u, shot.frame.u, 2), (new.v, shot.frame.v, 2)):
            outside = np.ones(plane.shape, bool)
            outside[y0 // k : y1 // k, x0 // k : x1 // k] = False
            assert np.array_equal(plane[outside], old[outside])
            assert not np.array_equal(plane, old)


def lender(level: int = 200, size: float = 1.0, luma: U8 | None = None) -> Reference:
    """A reference of one colour, or of these pixels, `size` px for each px of the crop."""
    side = round(CROP_SIDE * size / 2) * 2
    picture = Frame(0, np.full((side * 3 // 2, side), level, np.uint8))
    if luma is not None:
        picture.y[:], picture.data[side:] = luma, 128
    k = CROP_SIDE / side
    matrix = np.array([[k, 0.0, (k - 1) / 2], [0.0, k, (k - 1) / 2]])
    low = np.zeros((CROP_SIDE, CROP_SIDE, 3), np.uint8)
    return Reference(picture, matrix, low, np.zeros((106, 2)), Stand(np.zeros((20, 2)), np.zeros(2)))


def still(side: int = CROP_SIDE, opacity: float = 0.0, share: float = 0.0) -> tuple[Frame, Mouth, F64]:
    """A noisy picture, and a mouth that stands still in the middle of it; `share` is the reference's."""
    noise = np.random.default_rng(5).integers(16, 235, (360, 320), dtype=np.uint8)
    pose = Pose(side / 160 * 50.0, np.eye(3), np.array([160.0, 40.0, 0.0]))
    matrix = face_crop_matrix(pose)
    zero = np.zeros((CROP_SIDE, CROP_SIDE), np.float32)
    flow, black, dark = np.dstack([zero, zero]), np.dstack([zero, zero, zero]), np.zeros((40, 40, 3), np.float32)
    weights = np.dstack([zero + np.float32(opacity), zero + np.float32(share)])
    return Frame(0, noise).read_only(), Mouth(matrix, flow, flow, black, weights, dark, lender()), matrix


def middle(matrix: F64) -> tuple[slice, slice]:
    """20 x 20 px of the picture in the middle of the window."""
    x, y = (round(v) for v in align.apply(align.invert(matrix), np.array([[80.0, 88.0]]))[0])
    return np.s_[y - 10 : y + 10, x - 10 : x + 10]


def test_a_frame_that_is_shown_once_is_written_to_and_one_that_is_shown_again_is_copied() -> None:
    again, mouth, _ = still(opacity=1.0)
    once, before = again.copy(), again.data.copy()
    new = Blender().blend(again, mouth, 1.0, YUV)
    assert np.array_equal(again.data, before)
    assert not np.array_equal(new.data, before)
    assert Blender().blend(once, mouth, 1.0, YUV) is once
    assert np.array_equal(once.data, new.data)


@pytest.mark.parametrize("side", [60, 160, 300])
def test_no_flow_and_no_colour_change_nothing(side: int) -> None:
    frame, mouth, _ = still(side)
    assert np.array_equal(Blender().blend(frame, mouth, 1.0, YUV).data, frame.data)


def test_flow_moves_pixels_by_its_own_length() -> None:
    frame, mouth, matrix = still()
    scale = np.linalg.inv(matrix[:, :2])
    by = np.linalg.solve(scale, [3.0, -2.0]).astype(np.float32)
    new = Blender().blend(frame, dataclasses.replace(mouth, flow=mouth.flow + by), 1.0, YUV)
    rows, columns = middle(matrix)
    from_there = frame.y[rows.start - 2 : rows.stop - 2, columns.start + 3 : columns.stop + 3]
    assert np.abs(new.y[rows, columns].astype(int) - from_there).max() <= 1


def test_colour_replaces_what_is_opaque_and_weight_scales_it() -> None:
    frame, mouth, matrix = still(opacity=1.0)
    assert (Blender().blend(frame, mouth, 1.0, YUV).y[middle(matrix)] == 16).all(), "RGB 0 is Y 16"
    assert np.array_equal(Blender().blend(frame, mouth, 0.0, YUV).data, frame.data)


def test_the_references_pixels_are_taken_with_its_share_and_the_light() -> None:
    frame, mouth, matrix = still(share=1.0)
    new = Blender().blend(frame, mouth, 1.0, YUV)
    assert (new.y[middle(matrix)] == 200).all()
    lit = dataclasses.replace(mouth, light=np.full((40, 40, 3), -20, np.float32))
    assert (Blender().blend(frame, lit, 1.0, YUV).y[middle(matrix)] == round(200 - 20 * 219 / 255)).all()
    _, half, _ = still(opacity=0.5, share=0.5)
    assert (Blender().blend(frame, half, 1.0, YUV).y[middle(matrix)] == 108).all()


@pytest.mark.parametrize("size", [0.5, 1.0, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("side", [100, 160, 260])
def test_a_reference_of_any_size_lies_where_the_crop_says(size: float, side: int) -> None:
    """A bright edge at column 70 of the crop stays there."""
    frame, mouth, matrix = still(side, share=1.0)
    columns = np.arange(round(CROP_SIDE * size / 2) * 2)
    edge = np.where((columns + 0.5) / len(columns) * CROP_SIDE < 70, 40, 220).astype(np.uint8)
    reference = lender(size=size, luma=np.tile(edge, (len(columns), 1)))
    new = Blender().blend(frame, dataclasses.replace(mouth, reference=reference), 1.0, YUV).y.astype(float)
    k = side / CROP_SIDE
    at = align.apply(align.invert(matrix), np.array([[69.5, 88.0]]))[0]
    row = new[round(at[1]), round(at[0] - 8 * k) : round(at[0] + 8 * k)]
    found = round(at[0] - 8 * k) + float(((220 - row) / 180).sum()) - 0.5
    assert found == pytest.approx(at[0], abs=0.6)


def test_noise_of_a_nearer_face_does_not_flicker() -> None:
    """A reference with four times the px is averaged down: its noise goes down to a quarter."""
    frame, mouth, matrix = still(share=1.0)
    noise = np.random.default_rng(1).normal(120, 30, (640, 640)).clip(0, 255).astype(np.uint8)
    near = dataclasses.replace(mouth, reference=lender(size=4.0, luma=noise))
    new = Blender().blend(frame, near, 1.0, YUV)
    assert new.y[middle(matrix)].astype(float).std() < 12


def patch(x0: int, y0: int, x1: int, y1: int, opacity: float = 1.0) -> F32:
    part = np.zeros((CROP_SIDE, CROP_SIDE), np.float32)
    part[y0:y1, x0:x1] = opacity
    return part


@pytest.mark.parametrize("side", [24, 46, 60, 130, 160, 300])
@pytest.mark.parametrize("turned", [0.0, 0.4])
@pytest.mark.parametrize(
    "opacity",
    [
        pytest.param(patch(61, 77, 98, 104), id="the middle"),
        pytest.param(patch(120, 60, 141, 91), id="the side"),
        pytest.param(patch(40, 2, 44, 9), id="the upper end"),
        pytest.param(patch(150, 60, 158, 66), id="the right end"),
        pytest.param((window() <= 1 / 4096).astype(np.float32), id="beyond the window"),
        pytest.param(patch(0, 0, 160, 160, 1 / 70), id="faint"),
        pytest.param(patch(0, 0, 0, 0), id="nowhere"),
    ],
)
def test_colour_is_turned_wherever_it_is_seen(
    side: int, turned: float, opacity: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bright colour over a dark picture."""
    frame = Frame(0, np.full((360, 320), 40, np.uint8)).read_only()
    c, s = np.cos(turned), np.sin(turned)
    pose = Pose(side / 160 * 50.0, np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), np.array([160.0, 40.0, 0.0]))
    colour = np.full((CROP_SIDE, CROP_SIDE, 3), 250, np.float32)
    _, nothing, _ = still()
    soft = np.asarray(cv2.blur(opacity, (3, 3)), np.float32)  # as the network's are
    weights = np.dstack([soft, np.zeros_like(soft)])
    mouth = dataclasses.replace(nothing, matrix=face_crop_matrix(pose), colour=colour, weights=weights)
    new = Blender().blend(frame, mouth, 1.0, YUV).data.astype(int)
    monkeypatch.setattr(blend, "covering", lambda _: (0, 0, CROP_SIDE, CROP_SIDE))
    assert np.abs(new - Blender().blend(frame, mouth, 1.0, YUV).data).max() <= 2  # its coarse grid begins elsewhere


def test_a_face_beyond_the_picture_is_left_alone() -> None:
    frame, mouth, matrix = still()
    away = dataclasses.replace(mouth, matrix=matrix - [[0, 0, 9000], [0, 0, 0]])
    assert np.array_equal(Blender().blend(frame, away, 1.0, YUV).data, frame.data)


@pytest.mark.parametrize("by", [(0, -180), (0, 180), (-190, 0), (190, 0), (-130, -130)])
def test_a_face_whose_mouth_is_beyond_the_picture_does_no_harm(by: tuple[int, int]) -> None:
    frame, mouth, matrix = still()
    weights = mouth.weights.copy()
    weights[77:104, 61:98, 0] = 1
    matrix[:, 2] += by
    away = dataclasses.replace(mouth, matrix=matrix, weights=weights)
    x0, y0, x1, y1 = rectangle(away.matrix, frame.width, frame.height)
    assert 0 <= x0 <= x1 <= frame.width
    assert 0 <= y0 <= y1 <= frame.height
    assert np.abs(Blender().blend(frame, away, 1.0, YUV).data.astype(int) - frame.data).max() <= 1


def test_the_window_is_soft_and_ends_inside_the_crop() -> None:
    soft = window()
    assert soft[88, 80] == pytest.approx(1.0)
    border = np.concatenate([soft[0], soft[-1], soft[:, 0], soft[:, -1]])
    assert not border.any()
    assert max(np.abs(np.diff(soft, axis=axis)).max() for axis in (0, 1)) < 0.15
