"""The new mouth in the frame: the reference's pictures, and nothing touched outside the window."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from dhcli.disk.scratch import Scratch
from dhcli.families.dh_base import blend
from dhcli.families.dh_base.blend import Blender, rectangle, window
from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.geometry import CROP_SIDE, face_crop_matrix
from dhcli.families.dh_base.profile import Person
from dhcli.families.dh_base.speak import Mouth, Speaker, target_points
from dhcli.families.family import Shot
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model, Precision
from dhcli.networks.network import Device
from dhcli.render import face_finder
from dhcli.render.analysis import analyse
from dhcli.render.face_finder import FaceFinder
from dhcli.stages import align
from dhcli.stages.mesh import pose_free
from dhcli.types import F32, F64, U8, Colour, Frame, FrameFormat, Pose

YUV = align.yuv_matrix(Colour(), 300)


def render(family: DhBase, *shots: Shot) -> list[Frame]:
    """The frames with their new mouths, all asked for at once."""
    patches = family.speak(shots, YUV)
    return [patch.paste(shot.frame, shot.face.weight, YUV) for shot, patch in zip(shots, patches, strict=True)]


def psnr(a: U8, b: U8) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.fixture(scope="module")
def shots(
    dh_base: DhBase,
    avatar_frames: list[Frame],
    avatar_format: FrameFormat,
    golden: dict[str, F64],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[int, Shot]:
    """The golden frames, with this program's own track and the golden codes."""
    found: dict[int, Shot] = {}
    with analyse(
        iter(avatar_frames),
        avatar_format,
        FaceFinder(load_bundle(face_finder.NAME), Device("cpu")),
        "largest",
        lambda: None,
        scratch=Scratch(tmp_path_factory.mktemp("out") / "x.mp4"),
    ) as track:
        for index in (0, 10, 20, 30, 40):
            row = track.row(index)
            assert row is not None
            # A mouth at rest beside which the frame's own mouth has the golden code.
            mouth = pose_free(row.points[dh_base.geometry.mouth], row.pose)
            rest = mouth - np.tensordot(golden[f"source_code_{index}"], dh_base.geometry.basis, 1)
            person = Person(rest, golden["reference"].astype(np.uint8))
            found[index] = Shot(avatar_frames[index], row, golden["codes"][index], (person,))
    return found


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
    matrix = face_crop_matrix(shot.face.pose)
    rest = shot.profile[0].rest
    _, target = target_points(shot.face, rest, matrix, shot.condition, dh_base.geometry)
    assert np.abs(target - golden[f"target_points_{index}"]).max() < 0.5


def test_a_batch_is_its_frames(shots: dict[int, Shot], dh_base: DhBase) -> None:
    some = [shots[0], shots[20], shots[40]]
    together = render(dh_base, *some)
    for shot, one in zip(some, together, strict=True):
        (alone,) = render(dh_base, shot)
        assert np.abs(one.data.astype(int) - alone.data).max() <= 1


def test_kept_memory_shows_nothing_of_what_was_in_it(shots: dict[int, Shot], dh_base: DhBase) -> None:
    """Batches of other sizes, another person's reference in the same place, faces of other sizes."""

    def asked(speaker: Speaker, batch: Sequence[Shot]) -> list[tuple[Mouth, Frame]]:
        mouths = speaker.speak(batch, YUV)
        return [
            (dataclasses.replace(m, flow=m.flow.copy(), opacity=m.opacity.copy()), s.frame)
            for m, s in zip(mouths, batch, strict=True)
        ]

    def network(feeds: dict[str, F32]) -> tuple[F32, F32, F32]:
        flow, colour, opacity = dh_base._face.run(["flow", "rgb", "alpha"], feeds)
        return flow, colour, opacity

    first = shots[0]
    (person,) = first.profile
    other_person = dataclasses.replace(shots[20], profile=(Person(person.rest, 255 - person.reference),))
    small, large = (
        dataclasses.replace(
            shots[40],
            face=dataclasses.replace(
                shots[40].face, pose=dataclasses.replace(shots[40].face.pose, scale=shots[40].face.pose.scale * size)
            ),
        )
        for size in (0.4, 1.6)
    )
    geometry = dh_base.geometry
    kept, blender = Speaker(dh_base._move, geometry), Blender()
    for batch in ([first], [other_person, first, small], [first, other_person], [large], [small, first], [first]):
        fresh = asked(Speaker(network, geometry), batch)
        for (one, frame), (other, _) in zip(asked(kept, batch), fresh, strict=True):
            assert all(
                np.array_equal(getattr(one, name), getattr(other, name)) for name in ("flow", "colour", "opacity")
            )
            new = blender.blend(frame.copy(), one, 1.0, YUV)
            assert np.array_equal(new.data, Blender().blend(frame.copy(), other, 1.0, YUV).data)


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
        mouths = [patch.mouth for patch in family.speak(some, YUV)]
        answers.add(
            b"".join(mouth.flow.tobytes() + mouth.colour.tobytes() + mouth.opacity.tobytes() for mouth in mouths)
        )
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


def still(side: int = CROP_SIDE, opacity: float = 0.0) -> tuple[Frame, Mouth, F64]:
    """A noisy picture, and a mouth that stands still in the middle of it."""
    noise = np.random.default_rng(5).integers(16, 235, (360, 320), dtype=np.uint8)
    pose = Pose(side / 160 * 50.0, np.eye(3), np.array([160.0, 40.0, 0.0]))
    matrix = face_crop_matrix(pose)
    zero = np.zeros((CROP_SIDE, CROP_SIDE), np.float32)
    mouth = Mouth(matrix, np.dstack([zero, zero]), np.dstack([zero, zero, zero]), zero + np.float32(opacity))
    return Frame(0, noise).read_only(), mouth, matrix


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
    moved = Mouth(matrix, mouth.flow + np.linalg.solve(scale, [3.0, -2.0]).astype(np.float32), *_layers(mouth))
    new = Blender().blend(frame, moved, 1.0, YUV)
    x, y = (round(v) for v in align.apply(align.invert(matrix), np.array([[80.0, 88.0]]))[0])
    area = (slice(y - 20, y + 20), slice(x - 20, x + 20))
    assert np.abs(new.y[area].astype(int) - frame.y[y - 22 : y + 18, x - 17 : x + 23]).max() <= 1


def test_colour_replaces_what_is_opaque_and_weight_scales_it() -> None:
    frame, mouth, matrix = still(opacity=1.0)
    x, y = (round(v) for v in align.apply(align.invert(matrix), np.array([[80.0, 88.0]]))[0])
    assert (Blender().blend(frame, mouth, 1.0, YUV).y[y - 10 : y + 10, x - 10 : x + 10] == 16).all(), "RGB 0 is Y 16"
    assert np.array_equal(Blender().blend(frame, mouth, 0.0, YUV).data, frame.data)


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
    """A bright colour with hard edges over a dark picture."""
    frame = Frame(0, np.full((360, 320), 40, np.uint8)).read_only()
    c, s = np.cos(turned), np.sin(turned)
    pose = Pose(side / 160 * 50.0, np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), np.array([160.0, 40.0, 0.0]))
    colour = np.full((CROP_SIDE, CROP_SIDE, 3), 250, np.float32)
    mouth = Mouth(face_crop_matrix(pose), np.zeros((CROP_SIDE, CROP_SIDE, 2), np.float32), colour, opacity)
    new = Blender().blend(frame, mouth, 1.0, YUV).data.astype(int)
    monkeypatch.setattr(blend, "coloured", lambda _: (0, 0, CROP_SIDE, CROP_SIDE))
    assert np.abs(new - Blender().blend(frame, mouth, 1.0, YUV).data).max() <= 1


def test_a_face_beyond_the_picture_is_left_alone() -> None:
    frame, mouth, matrix = still()
    away = Mouth(matrix - [[0, 0, 9000], [0, 0, 0]], mouth.flow, *_layers(mouth))
    assert np.array_equal(Blender().blend(frame, away, 1.0, YUV).data, frame.data)


@pytest.mark.parametrize("by", [(0, -180), (0, 180), (-190, 0), (190, 0), (-130, -130)])
def test_a_face_whose_mouth_is_beyond_the_picture_does_no_harm(by: tuple[int, int]) -> None:
    frame, mouth, matrix = still()
    opacity = mouth.opacity.copy()
    opacity[77:104, 61:98] = 1
    matrix[:, 2] += by
    away = Mouth(matrix, mouth.flow, mouth.colour, opacity)
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


def _layers(mouth: Mouth) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], ...]:
    return mouth.colour, mouth.opacity
