"""Who is followed, and when nobody is, through the real networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import Geometry
from dhcli.families.dh_base.profile import PersonProfiler, persons_of
from dhcli.jobs.options import FaceChoice
from dhcli.render.analysis import analyse, look_of
from dhcli.render.face_finder import FaceFinder
from dhcli.render.track_file import FaceTrack
from dhcli.stages.align import yuv_matrix
from dhcli.stages.cutout import Cutout
from dhcli.stages.find import DETECTED, find_faces
from dhcli.stages.track import Tracker
from dhcli.types import Colour, FaceRow, Frame, FrameFormat

MAN_X, WOMAN_X = 210, 565
"""Where the faces of `pair` are."""


def mouth_x(track: FaceTrack, index: int) -> float:
    row = track.row(index)
    assert row is not None
    return float(row.points[:, 0].mean())


def weights(track: FaceTrack, first: int, last: int) -> list[float]:
    rows = [track.row(i) for i in range(first, last + 1)]
    return [0.0 if row is None else round(row.weight, 3) for row in rows]


@pytest.mark.parametrize(
    ("face", "x"),
    [
        ("left", MAN_X),
        ("right", WOMAN_X),
        ("index:0", MAN_X),
        ("index:1", WOMAN_X),
        ("box:480,30,150,150", WOMAN_X),
        ("box:0,0,300,300", MAN_X),
        ("largest", MAN_X),
    ],
)
def test_the_rule_names_the_face(follow: Any, pair: list[Frame], face: str, x: int) -> None:
    track = follow(pair[:2], face)
    assert mouth_x(track, 1) == pytest.approx(x, abs=25)
    assert track.totals.most_faces == 2


def test_a_rule_that_names_nobody_says_how_many_there_are(follow: Any, pair: list[Frame]) -> None:
    with pytest.raises(DhError, match=r"index:2.*up to 2 at once") as caught:
        follow(pair[:3], "index:2")
    assert caught.value.code == "face.not_found"


def test_short_gap_is_bridged(follow: Any, pair: list[Frame], paint: Any) -> None:
    frames = [paint(f, until=400) if 10 <= i < 15 else f for i, f in enumerate(pair[:28])]
    track = follow(frames, "left")
    assert (track.totals.missing_ranges, track.totals.cuts) == ((), ())
    assert [mouth_x(track, i) for i in range(28)] == pytest.approx([MAN_X] * 28, abs=12)
    assert track.totals.covered_ranges == ((7, 17),)  # what hides the face hides the mouth
    assert weights(track, 0, 27) == [1, 1, 1, 0.8, 0.6, 0.4, 0.2, *[0] * 11, 0.2, 0.4, 0.6, 0.8, *[1] * 6]


@pytest.mark.slow
def test_long_gap_is_missing_and_the_other_person_is_left_alone(follow: Any, pair: list[Frame], paint: Any) -> None:
    frames = [paint(f, until=400) if 12 <= i < 62 else f for i, f in enumerate(pair[:75])]
    track = follow(frames, "left")
    assert track.totals.missing_ranges == ((12, 61),)
    assert (track.totals.persons, track.totals.cuts) == (1, ())
    assert weights(track, 7, 12) == [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    assert weights(track, 61, 66) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert mouth_x(track, 62) == pytest.approx(MAN_X, abs=12)


def test_a_larger_face_does_not_steal_the_track(follow: Any, pair: list[Frame], paint: Any) -> None:
    frames = [paint(f, until=400) for f in pair[:6]] + pair[6:26]
    track = follow(frames, "largest")
    assert [mouth_x(track, i) for i in range(26)] == pytest.approx([WOMAN_X] * 26, abs=12)


def test_three_shots_of_two_persons(follow: Any, avatar: list[Frame], portrait: Frame) -> None:
    track = follow([*avatar[:15], *[portrait] * 12, *avatar[15:30]], "any")
    assert track.totals.cuts == (15, 27)
    assert track.totals.missing_ranges == ()
    persons = [row.person for i in range(track.frames) if (row := track.row(i)) is not None]
    assert persons == [0] * 15 + [1] * 12 + [0] * 15
    assert weights(track, 0, 41) == [1.0] * 42  # a cut is no reason to fade
    still = track.row(15), track.row(26)
    assert still[0] is not None
    assert still[1] is not None
    assert (
        np.abs((still[0].points - still[1].points)[:, :2]).max() < 1.5
    )  # no smoothing across the cut: the faces are 70 px apart


def test_a_shot_of_somebody_else_stays_as_filmed(follow: Any, avatar: list[Frame], portrait: Frame) -> None:
    track = follow([*avatar[:15], *[portrait] * 12, *avatar[15:30]])
    assert (track.totals.cuts, track.totals.missing_ranges, track.totals.persons) == ((15, 27), ((15, 26),), 1)
    man, woman = track.totals.sightings
    assert (man.taken, man.first, woman.taken, woman.first, woman.last) == (30, 0, 0, 15, 26)
    assert man.last > 26
    assert man.looks + woman.looks <= track.totals.searched
    assert abs(woman.box.centre[0] - 165) < 20


def test_a_poster_beside_a_person_is_told(follow: Any, pair: list[Frame]) -> None:
    """Only one of both is taken, and the result can say which."""
    track = follow(pair[:30], "right")
    persons = sorted(track.totals.sightings, key=lambda one: one.box.x)
    assert [one.taken for one in persons] == [0, 30]
    assert all(one.looks >= 2 for one in persons)


def test_the_photo_names_nobody_else(finder: FaceFinder, avatar: list[Frame], portrait: Frame, tmp_path: Path) -> None:
    frames, fmt = [Frame(i, portrait.data) for i in range(4)], FrameFormat(400, 300, Fraction(25))
    look = look_of(avatar[0], Colour(), finder)
    with pytest.raises(DhError, match=r"Nobody in the 4 frames looks like the photo: .* 0\.\d\d") as caught:
        analyse(frames, fmt, finder, "like:x", lambda: None, scratch=Scratch(tmp_path / "x.mp4"), wanted=look)
    assert caught.value.code == "face.not_found"


@pytest.mark.slow
def test_dissolve_ends_at_the_next_person(
    follow: Any, avatar: list[Frame], portrait: Frame, geometry: Geometry
) -> None:
    mix = [np.rint(a.data * (1 - k / 25) + portrait.data * (k / 25)) for k, a in enumerate(avatar[20:45])]
    profiler = PersonProfiler(geometry, yuv_matrix(Colour(), 300))
    track = follow(
        [*avatar[:20], *[Frame(0, m.astype(np.uint8)) for m in mix], *[portrait] * 40], "any", profiler=profiler
    )
    first, last = track.row(0), track.row(84)
    assert first is not None
    assert last is not None
    assert (first.person, last.person) == (0, 1)
    man, woman = persons_of(profiler.finish(track.rows), track.totals.persons)
    assert np.abs(man.references[0].low.astype(int) - woman.references[0].low).mean() > 20


@pytest.mark.parametrize("luma", [16, 235])
def test_flash_or_black_frame_is_no_cut(follow: Any, avatar: list[Frame], paint: Any, luma: int) -> None:
    frames = [paint(f, luma) if i == 8 else f for i, f in enumerate(avatar[:18])]
    track = follow(frames)
    assert (track.totals.missing_ranges, track.totals.cuts) == ((), ())


def test_black_in_the_middle(follow: Any, avatar: list[Frame], paint: Any) -> None:
    frames = [paint(f) if 10 <= i < 25 else f for i, f in enumerate(avatar[:40])]
    track = follow(frames)
    assert track.totals.missing_ranges == ((10, 24),)
    assert track.totals.cuts == ()
    assert weights(track, 0, 39) == [1.0] * 6 + [0.8, 0.6, 0.4, 0.2] + [0.0] * 15 + [0.2, 0.4, 0.6, 0.8] + [1.0] * 11


def test_search_goes_on_until_a_face_appears(follow: Any, avatar: list[Frame], paint: Any) -> None:
    track = follow([paint(f) if i < 7 else f for i, f in enumerate(avatar[:16])])
    assert track.totals.missing_ranges == ((0, 6),)
    assert weights(track, 6, 11) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_steady_state_does_not_search(follow: Any, avatar: list[Frame]) -> None:
    assert follow(avatar[:48]).totals.searched <= 5


def test_no_face(follow: Any) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (4, 450, 400), np.uint8)
    with pytest.raises(DhError, match=r"any of the 4 frames; the most face-like spot has 0\.\d\d points") as caught:
        follow([Frame(i, data) for i, data in enumerate(noise)])
    assert caught.value.code == "face.not_found"


def test_tiny_face(follow: Any, avatar: list[Frame], shrink: Callable[[Frame, int], Frame]) -> None:
    assert follow([shrink(f, 2) for f in avatar[:3]]).totals.missing_ranges == ()
    with pytest.raises(DhError, match="too small in 3 of 3 frames") as caught:
        follow([shrink(f, 5) for f in avatar[:3]])
    assert caught.value.code == "face.too_small"


def test_small_face_in_a_large_picture(follow: Any, avatar: list[Frame], shrink: Callable[[Frame, int], Frame]) -> None:
    frames = []
    for frame in avatar[:2]:
        wide = Frame(frame.index, np.full((1080 * 3 // 2, 1920), 90, np.uint8))
        small = shrink(frame, 2)
        for name, x, y in (("y", 1100, 500), ("u", 550, 250), ("v", 550, 250)):
            height, width = getattr(small, name).shape
            getattr(wide, name)[y : y + height // 2, x : x + width // 2] = getattr(small, name)[
                : height // 2, : width // 2
            ]
        frames.append(wide)
    track = follow(frames)  # 50 px of 1920: a full figure
    assert track.totals.missing_ranges == ()
    assert mouth_x(track, 0) == pytest.approx(1100 + MAN_X / 2, abs=10)


def test_moving_head_is_followed(finder: FaceFinder, avatar: list[Frame]) -> None:
    tracker = Tracker(finder, FrameFormat(400, 300, Fraction(25)), FaceChoice("largest"))
    for i in range(10):
        step = 12 * (i if i < 5 else 10 - i)  # to and fro, 12 px a frame: an eighth of the face
        frame = Frame(i, np.empty_like(avatar[0].data))
        for name, shift in (("y", step), ("u", step // 2), ("v", step // 2)):
            getattr(frame, name)[:] = np.roll(getattr(avatar[0], name), shift, 1)
        ((_, seen),) = tracker.observe(frame)  # at once: it moves too fast for a frame to wait for the next one
        assert seen.points is not None
        assert seen.points[:, 0].mean() == pytest.approx(MAN_X + step, abs=10)
    assert tracker.search.frames == 1


@pytest.mark.parametrize(
    ("fps", "looks"), [(12, range(12)), (25, [0, 1, 2, 4, 6, 8, 10]), (50, [0, 1, 2, 6, 10]), (60, [0, 1, 2, 7])]
)
def test_a_still_face_is_looked_at_as_often_as_the_track_needs(
    finder: FaceFinder, avatar: list[Frame], fps: int, looks: Sequence[int]
) -> None:
    tracker = Tracker(finder, FrameFormat(400, 300, Fraction(fps)), FaceChoice("largest"))
    runs, looked, seen = finder._landmarks.runs, [], []
    for i in range(12):
        seen += tracker.observe(Frame(i, avatar[0].data))
        if finder._landmarks.runs > runs:
            looked.append(i)
        runs = finder._landmarks.runs
    waiting = 12 - len(seen)
    seen += tracker.finish()
    assert looked == list(looks)
    assert waiting == 11 - looked[-1]
    assert finder._landmarks.runs - runs == waiting
    assert [observation.index for _, observation in seen] == [frame.index for frame, _ in seen] == list(range(12))
    points = np.array([observation.points for _, observation in seen])
    assert np.ptp(points[1:, :, :2], axis=0).max() < 1


def test_frames_that_wait_get_the_points_between(finder: FaceFinder, avatar: list[Frame]) -> None:
    """A head that drifts by a quarter of a pixel a frame needs no look at each, and is found where it is."""
    tracker = Tracker(finder, FrameFormat(400, 300, Fraction(25)), FaceChoice("largest"))
    runs = finder._landmarks.runs
    frames = [shifted(avatar[0], 0.25 * i, i) for i in range(11)]
    seen = [sight for frame in frames for sight in tracker.observe(frame)] + tracker.finish()
    assert finder._landmarks.runs - runs <= 7
    x = [observation.points[:, 0].mean() for _, observation in seen if observation.points is not None]
    assert len(x) == 11
    assert np.diff(x[1:]) == pytest.approx([0.25] * 9, abs=0.12)


def test_a_face_that_goes_while_a_frame_waits_is_missing_there(follow: Any, avatar: list[Frame]) -> None:
    covered = avatar[0].copy()
    for name, size in (("y", 2), ("u", 1), ("v", 1)):
        getattr(covered, name)[40 * size : 145 * size, 70 * size : 145 * size] = 128  # too little for a cut
    track = follow([*[avatar[0]] * 7, *[covered] * 12])
    assert track.totals.cuts == ()
    # Frames 0, 1, 2, 4 and 6 were looked at; frame 7 waits for the next one.
    assert track.totals.missing_ranges == ((7, 18),)


def test_another_face_in_the_same_place_is_not_followed_while_a_frame_waits(
    follow: Any, avatar: list[Frame], portrait: Frame, beside: Any
) -> None:
    """Too little of the picture for a cut: the search of all of it finds out, in frame 12, while frame 11 waits."""
    man = beside(avatar[0], Frame(0, np.full_like(portrait.data, 128)))
    other = man.copy()
    for name, size in (("y", 2), ("u", 1), ("v", 1)):
        face = getattr(portrait, name)[20 * size : 95 * size, 50 * size : 115 * size]
        getattr(other, name)[55 * size : 130 * size, 72 * size : 137 * size] = face
    track = follow([*[man] * 11, *[other] * 13], "left")
    assert track.totals.cuts == ()
    assert track.totals.missing_ranges == ((12, 23),)


def test_a_shake_in_step_with_the_looks_is_noticed(follow: Any, avatar: list[Frame]) -> None:
    """Every second frame is lower: between two looks nothing moves, but the picture of the face does."""
    lower = each_plane(avatar[0], lambda plane: np.roll(plane, 4 * len(plane) // 300, 0))
    frames = [lower if i % 2 else avatar[0] for i in range(30)]
    track = follow([lower] * 7 + frames)  # frames 0, 1, 2, 4 and 6 are looked at before it begins
    y = [row.points[:, 1].mean() for i in range(11, 33) if (row := track.row(i)) is not None]
    assert np.std(y) < 0.5, "smoothing takes the shake away, the mean of both places is left"
    still = follow(frames[:1] * 4).row(2), follow(frames[1:2] * 4).row(2)
    assert still[0] is not None
    assert still[1] is not None
    between = (still[0].points[:, 1].mean() + still[1].points[:, 1].mean()) / 2
    assert np.mean(y) == pytest.approx(between, abs=0.4)


def test_a_frame_that_nobody_looked_at_is_not_shown_to_the_profiler(
    follow: Any, avatar: list[Frame], monkeypatch: pytest.MonkeyPatch, geometry: Geometry
) -> None:
    """Whatever is before the mouth there, a hand or a glitch, would be the mouth's inside in the whole video."""
    shown = set()

    class Watched(PersonProfiler):
        def see(self, face: FaceRow, picture: Cutout) -> None:
            assert picture.frame.index == face.index
            shown.add(face.index)

    for limit in ("STILL", "NEAR", "EVEN"):  # else a mouth that opens is looked at in every frame
        monkeypatch.setattr(f"dhcli.stages.track.{limit}", 1e9)
    track = follow(avatar[:60], profiler=Watched(geometry, yuv_matrix(Colour(), 300)))
    looked = {row.index for row in track.rows() if row.looked}
    assert all(row.seen for row in track.rows())
    assert 20 < len(looked) < 40
    assert shown == looked


@pytest.mark.slow
@pytest.mark.parametrize("at", [11, 12, 13])
def test_a_cut_to_another_person_in_the_same_place(
    follow: Any, avatar: list[Frame], portrait: Frame, beside: Any, at: int
) -> None:
    """Also in the frame whose whole picture is searched anyway: the faces before it decide, not its own."""
    moved = Frame(0, np.empty_like(portrait.data))
    for name, size in (("y", 2), ("u", 1), ("v", 1)):
        getattr(moved, name)[:] = np.roll(getattr(portrait, name), (35 * size, 22 * size), (0, 1))
    nobody = Frame(0, np.full_like(portrait.data, 128))
    track = follow([*[beside(avatar[0], nobody)] * at, *[beside(moved, portrait)] * 20], "left")
    assert track.totals.cuts == (at,)
    assert (track.totals.missing_ranges, track.totals.persons) == (((at, at + 19),), 1)


@pytest.mark.slow
def test_face_that_leaves_for_good(follow: Any, avatar: list[Frame], scenery: list[Frame], paint: Any) -> None:
    track = follow([*avatar[:60], paint(avatar[60]), *scenery])
    assert track.totals.cuts == (61,)  # frame 60 is black
    assert track.totals.missing_ranges == ((60, track.frames - 1),)
    assert weights(track, 50, 60) == [1.0] * 6 + [0.8, 0.6, 0.4, 0.2, 0.0]


@pytest.mark.slow
def test_face_that_comes_late(follow: Any, avatar: list[Frame], scenery: list[Frame]) -> None:
    track = follow([*scenery, *avatar[:20]])
    assert track.totals.cuts == (50,)
    assert track.totals.missing_ranges == ((0, 49),)
    assert (track.frames, track.totals.persons) == (70, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "size", "turns"), [("8X", 26, 0), ("ME\nTOO", 4, 3)], ids=["upright", "turned"])
def test_title_letters_are_no_face(
    follow: Any, finder: FaceFinder, title: Any, text: str, size: int, turns: int
) -> None:
    """The detector takes them for one, upright or lying on their side."""
    frames = title(text, size)
    seen = find_faces(finder.detect, frames[0], yuv_matrix(Colour(), 270), turns=turns)
    assert max((face.score for face in seen), default=0) > DETECTED, "otherwise these letters show nothing"
    with pytest.raises(DhError) as caught:
        follow(frames)
    assert caught.value.code == "face.not_found"


def test_people_of_one_studio_are_told_apart(
    finder: FaceFinder, avatar: list[Frame], portrait: Frame, shrink: Callable[[Frame, int], Frame]
) -> None:
    tracker = Tracker(finder, FrameFormat(400, 300, Fraction(25)), FaceChoice("any"))
    twin = each_plane(portrait, np.fliplr)
    blue = avatar[0].copy()
    blue.u[:], blue.v[:] = avatar[0].v, avatar[0].u
    brighter = each_plane(avatar[150], lambda plane: plane * 0.9 + 12)
    shots = [avatar[0], portrait, twin, blue, shrink(portrait, 2), brighter]
    frames = [Frame(i, frame.data) for i, frame in enumerate(shot for shot in shots for _ in range(3))]
    seen = [sight for frame in frames for sight in tracker.observe(frame)] + tracker.finish()
    persons = [observation.person for _, observation in seen]
    assert persons[::3] == [0, 1, 2, 3, 1, 0]  # the last two were there before, nearer and in another light
    assert persons == [one for one in persons[::3] for _ in range(3)]


def shifted(frame: Frame, by: float, index: int) -> Frame:
    """The picture, moved to the right by a part of a pixel."""
    moved = Frame(index, np.empty_like(frame.data))
    for name, scale in (("y", 1.0), ("u", 0.5), ("v", 0.5)):
        plane = getattr(frame, name)
        matrix = np.array([[1.0, 0.0, by * scale], [0.0, 1.0, 0.0]])
        getattr(moved, name)[:] = cv2.warpAffine(plane, matrix, plane.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    return moved


def each_plane(frame: Frame, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Frame:
    changed = frame.copy()
    for name in "yuv":
        getattr(changed, name)[:] = np.rint(change(getattr(frame, name)))
    return changed
