"""Which frames of a person lend the inside of the mouth, and which of them each frame of the output uses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dhcli.families.dh_base import references
from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.follow import FADE, Follower
from dhcli.families.dh_base.geometry import INNER, LOWER_LIP, MOUTH_POINTS, UPPER_LIP
from dhcli.families.dh_base.profile import PersonProfiler, persons_of
from dhcli.families.dh_base.references import (
    CANDIDATES,
    MOST,
    WIDE,
    Candidate,
    Candidates,
    Reference,
    Stand,
    Stands,
    all_grin,
    visible,
)
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.stages.align import yuv_matrix
from dhcli.stages.cutout import Cutout
from dhcli.stages.mesh import FaceMesh, landmark_box, posed
from dhcli.types import Colour, FaceRow, Frame, Pose

SIDE = 16


def stand(gap: float, yaw: float = 0.0) -> Stand:
    """Lips on an ellipse, the lower one `gap` canonical units below the upper one."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    shape = np.column_stack([0.5 * np.cos(angle), gap / 2 * np.sin(angle)])
    shape[LOWER_LIP - INNER.start] = 0, gap / 2
    shape[UPPER_LIP - INNER.start] = 0, -gap / 2
    return Stand(shape, np.array([yaw, 0.0]))


def lender(gap: float, yaw: float = 0.0, side: int = SIDE) -> Reference:
    picture = Frame(0, np.full((side * 3 // 2, side), round(100 * gap), np.uint8))
    low = np.zeros((160, 160, 3), np.uint8)
    return Reference(picture, np.eye(2, 3), low, np.full((MOUTH_POINTS, 2), gap), stand(gap, yaw))


def seen(
    gap: float, yaw: float = 0.0, sharpness: float = 1.0, brightness: float = 100.0, side: int = SIDE
) -> Candidate:
    return Candidate(lender(gap, yaw, side), gap, sharpness, brightness)


def shown(*gaps: float) -> list[tuple[Stand, float]]:
    return [(stand(gap), gap) for gap in gaps]


def gaps_of(chosen: list[Reference]) -> list[float]:
    return [round(float(gap), 3) for gap in Stands.of(one.stand for one in chosen).gaps]


def test_whoever_opens_the_mouth_further_is_always_held() -> None:
    held = Candidates()
    for gap in (0.01, 0.02, 0.5):
        assert held.wants(stand(gap), gap)
        held.add(seen(gap))
    assert not held.wants(stand(0.03), 0.03), "a closed mouth"
    assert not held.wants(stand(0.495), 0.495), "as good as held already"
    assert held.wants(stand(0.4), 0.4)
    assert held.wants(stand(0.5, yaw=0.3), 0.5), "the head is turned"
    assert gaps_of(held.chosen(shown(0.5, 0.3))) == [0.5], "the closed ones went with the first open one"


def test_of_two_that_are_alike_the_sharper_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "CANDIDATES", MOST)
    for first, second, stays in ((1.0, 2.0, 0.32), (2.0, 1.0, 0.3)):
        held = Candidates()
        for gap in (0.9, 0.8, 0.7, 0.6, 0.5):
            held.add(seen(gap))
        held.add(seen(0.3, sharpness=first))
        held.add(seen(0.32, sharpness=second))
        there = gaps_of([one.reference for one in held._held])
        assert (0.3 in there, 0.32 in there) == (stays == 0.3, stays == 0.32)


@given(st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(-0.5, 0.5), st.floats(0.1, 9)), min_size=1, max_size=60))
def test_there_are_never_too_many_and_the_widest_is_among_them(frames: list[tuple[float, float, float]]) -> None:
    held = Candidates()
    for gap, yaw, sharpness in frames:
        if held.wants(stand(gap, yaw), gap):
            held.add(seen(gap, yaw, sharpness))
        assert 1 <= len(held._held) <= CANDIDATES
    chosen = held.chosen([(stand(gap, yaw), gap) for gap, yaw, _ in frames])
    assert 1 <= len(chosen) <= MOST
    widest = max(gap for gap, _, _ in frames)
    assert min(gaps_of(chosen)) >= WIDE * max(gaps_of([one.reference for one in held._held])) - 0.001
    assert max(one.opening for one in held._held) > 0.5 * widest


def test_large_faces_are_held_in_smaller_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "HELD_BYTES", 10 * 64 * 64 * 3 // 2)
    monkeypatch.setattr(references, "KEPT_BYTES", 3 * 64 * 64 * 3 // 2)
    held = Candidates()
    for gap in np.linspace(0.3, 0.9, 25):
        held.add(seen(float(gap), side=64))
    assert len(held._held) == 10
    everywhere = shown(*np.linspace(0.0, 0.9, 40))
    assert len(held.chosen(everywhere)) == 3
    monkeypatch.setattr(references, "ALL_KEPT_BYTES", 8 * 64 * 64 * 3 // 2)
    assert len(held.chosen(everywhere, persons=4)) == 2
    monkeypatch.setattr(references, "HELD_BYTES", 16 * 64 * 64 * 3 // 2)
    held.add(seen(0.95, side=64), persons=2)
    assert len(held._held) == 8


def test_mouths_that_are_blurred_or_in_shadow_are_left_out() -> None:
    held = Candidates()
    for gap in (0.5, 0.6, 0.7, 0.8):
        held.add(seen(gap))
    held.add(seen(0.9, sharpness=0.1))
    held.add(seen(0.65, brightness=30.0))
    assert not {0.9, 0.65} & set(gaps_of(held.chosen(shown(0.9, 0.65, 0.5, 0.1))))


def test_a_grin_is_wider_than_the_mouth_at_rest() -> None:
    """All these mouths are 1 wide."""
    assert all_grin([lender(0.2), lender(0.3)], 0.7)
    assert not all_grin([lender(0.2), lender(0.3)], 0.85)


def test_nobody_to_choose_from() -> None:
    assert Candidates().chosen(shown(0.1)) == []


def test_lips_that_are_nearly_closed_show_nothing_of_a_wide_mouth() -> None:
    lent, wanted = Stands.of([stand(0.05), stand(0.2), stand(0.4)]), Stands.of([stand(0.04), stand(0.4)])
    assert visible(lent, wanted).round(2).tolist() == [[1, 0], [1, 0.75], [1, 1]]


def test_a_reference_gives_way_over_some_frames_and_then_stays() -> None:
    follower = Follower([lender(0.3), lender(0.8)])
    wanted = [0.3] * 5 + [0.75] * 30
    uses = [follower.follow(i, stand(gap)) for i, gap in enumerate(wanted)]
    shares = [{use.number: use.share for use in one} for one in uses]
    assert shares[:5] == [{0: 1.0}] * 5
    change = next(i for i, share in enumerate(shares) if 1 in share)
    assert [share[1] for share in shares[change : change + FADE + 1]] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert all(share == {1: 1.0} for share in shares[change + FADE :])


@given(st.lists(st.floats(0.0, 0.9), min_size=1, max_size=80))
@example([0.0, 0.875, *[0.0] * 12, 0.875])
def test_shares_add_up_and_no_reference_flickers(gaps: list[float]) -> None:
    follower = Follower([lender(0.5), lender(0.6, 0.1), lender(0.9)])
    main, since, last = -1, FADE, None
    for i, gap in enumerate(gaps):
        uses = follower.follow(i, stand(gap))
        assert sum(use.share for use in uses) == pytest.approx(1)
        newest = uses[-1].number
        if newest != main and last is not None:
            assert since >= FADE, "it changed again while it was changing"
        at_once = len(uses) == 1  # the first one, or while the lips are shut
        since = since + 1 if newest == main else FADE if at_once else 1
        main = last = newest


def test_at_a_cut_it_changes_at_once() -> None:
    follower = Follower([lender(0.3), lender(0.8)])
    assert [use.number for use in follower.follow(10, stand(0.3))] == [0]
    assert [(use.number, use.share) for use in follower.follow(90, stand(0.8))] == [(1, 1.0)]


def test_while_the_lips_are_shut_it_changes_sooner_and_at_once() -> None:
    """The turn of the head makes the second one nearer by 0.02 units: not enough in an open mouth."""
    for gap, changes in ((0.3, False), (0.0, True)):
        follower = Follower([lender(0.3, 0.0), lender(0.3, 0.1)])
        follower.follow(0, stand(gap, 0.0))
        later = [follower.follow(i, stand(gap, 0.075)) for i in range(1, 30)]
        assert (later[-1][0].number == 1) == changes
        assert all(len(uses) == 1 for uses in later), "no fade where nobody sees the change"


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return Models((), Device("cpu")).finder.mesh


def row(mesh: FaceMesh, index: int, person: int, **state: bool) -> FaceRow:
    """A face whose lips are the farther apart, the higher its index is; from 0.3 canonical units on."""
    pose = Pose(40.0, np.eye(3), np.array([120.0, 80.0, 0.0]))
    points = posed(mesh.canonical, pose)
    points[14, 1] += 12 + index
    return FaceRow(index, person, 1.0, pose, landmark_box(points), points, **state)


def test_each_person_has_its_own_references_also_where_the_first_frames_are_covered(
    dh_base: DhBase, mesh: FaceMesh
) -> None:
    """Person 0 is seen after person 1, and person 2 never."""
    hidden = {"seen": False, "looked": False, "covered": True}
    faces = [row(mesh, 0, 0, **hidden), *(row(mesh, i, 1) for i in (1, 2)), *(row(mesh, i, 0) for i in (5, 6))]
    faces.append(row(mesh, 7, 2, **hidden))
    profiler = PersonProfiler(dh_base.geometry, yuv_matrix(Colour(), 300))
    for face in faces:
        if face.looked:
            level = np.full((450, 300), 100 + face.person, np.uint8)
            profiler.see(face, Cutout(Frame(face.index, level), np.zeros(2)))
    first, second, never = persons_of(profiler.finish(lambda: faces), 3)
    for number, person in enumerate((first, second)):
        assert {int(one.picture.y[0, 0]) for one in person.references} == {100 + number}
    assert never.references == ()


def test_landmarks_far_from_a_face_make_no_reference(dh_base: DhBase, mesh: FaceMesh) -> None:
    strayed = row(mesh, 0, 0)
    strayed.points[dh_base.geometry.mouth, 0] += 4 * strayed.pose.scale
    profiler = PersonProfiler(dh_base.geometry, yuv_matrix(Colour(), 300))
    profiler.see(strayed, Cutout(Frame(0, np.full((450, 300), 100, np.uint8)), np.zeros(2)))
    (person,) = persons_of(profiler.finish(lambda: [strayed]), 1)
    assert person.references == ()


def test_damaged_profiles_are_told(dh_base: DhBase) -> None:
    profiler = PersonProfiler(dh_base.geometry, yuv_matrix(Colour(), 300))
    assert persons_of(profiler.finish(list), 0) == ()
    for bad in (b"x", b"\0" * 99):
        with pytest.raises(ValueError, match=r"."):
            persons_of(bad, 1)
