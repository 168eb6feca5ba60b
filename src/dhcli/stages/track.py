"""One face through a video: chosen once a shot, followed, lost and found again; never exchanged for another person's,
but where one dissolves into the other in the same place, over two seconds or more.

Frames come in order, and in order an observation leaves for each: at once, or after the next few frames, where a face
that hardly moves is not looked at in every one of them. Nothing here smooths or fills gaps, and memory does not grow
with the length of the video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dhcli.families.dh_base.geometry import Geometry
from dhcli.jobs.options import FaceChoice
from dhcli.networks.network import Network
from dhcli.stages.align import fit_pose, yuv_matrix
from dhcli.stages.appearance import ALIKE, OTHER, SAME, Looks, View, view_face
from dhcli.stages.choose import choose_face
from dhcli.stages.cuts import Change, ChangeMeter, face_thumbnail, resemblance
from dhcli.stages.find import (
    DETECTED,
    PRESENT,
    SEES_ALL_PX,
    Region,
    eye_distance_px,
    find_faces,
    find_small_faces,
    landmark_box,
    locate_landmarks,
    region_from_face,
    region_from_landmarks,
)
from dhcli.types import F32, F64, Box, Face, Frame, FrameFormat

LEAST_EYE_DISTANCE_PX = 14.0
"""Smaller faces are not touched: at 19 px the mouth code still correlates 0.6 with the full picture's, at 13 px 0.3,
at 10 px not at all."""
CHECK_EVERY = 12
"""Frames between two looks at the whole picture while all is well: 2.5 ms instead of 0.2 ms a frame."""
TILES_EVERY = 5
"""Frames between two searches for small faces: 20 ms each."""
CLEAR, TURNED, CLEARER = 0.8, 0.75, 0.1
"""An upright face scores 0.87 to 0.94 in trial videos, one on its side or upside down 0.57 to 0.77, turned letters up
to 0.7. Below CLEAR the picture is turned, and a face in it that scores TURNED, and CLEARER than before, is believed."""
GHOST_SCORE = 0.1
"""Detections below DETECTED count only for the error message: "nothing like a face" differs from "almost"."""
MOST_PERSONS = 64
"""A person costs 100 kB; a video of more shots than this gives new faces to the most similar person."""
CANDIDATES = 3
"""Faces tried in a frame when the followed one is lost: 6 ms each."""
SAMPLE_S = 0.084
"""Longest time between two looks at a face that hardly moves: two frames at 24 to 30 fps, five at 60. What is faster
the smoothing of SIGMA_S takes away anyway."""
STILL = 0.005
"""How far, in its own sizes, the points of a face move in SAMPLE_S where it hardly does. In eleven clips of people who
talk, up to 27 % of the frames need no look then. The mouth's smoothed points lie 0.06 px of the face network's crop
from where they else do (root mean square of a frame; 0.2 in the worst one): two looks at one face in two regions are
0.1 to 0.6 px apart."""
WAITING_BYTES = 24 << 20
"""Most that frames which wait may take: two at 2160p, none at 4320p, where the network is the least of all costs."""
NEAR = 0.01
"""How far it may have moved for the region to be as good as one of the frame before."""
EVEN = 0.025
"""How far the picture of a face that waited may be from the mean of those before and after it, root mean square, in
standard deviations of the face's own picture. It tells what two looks cannot: a shake in step with them (0.4 for 7 px),
a hand before the mouth for one frame. People who talk have 0.01, nine times of ten less than 0.02."""
STEP = 0.4
"""Farthest that a face moves from one frame to the next, in its own sizes; more is another face."""
GROWTH = 1.5
"""Most that its size changes from one frame to the next."""
FOLLOWED, FOLLOWED_IN_CROWD = 0.25, 0.5
"""Least likeness of a face that moved on steadily: a turning head looks less and less like itself."""
SPEED = 3.0
"""How fast a lost face may wander, in its own sizes a second."""
DISSOLVE_S = 1.0
"""A face lost for longer, in a picture that is another by now: the shot changed without a cut."""
ANOTHER_PICTURE = 0.5
"""Correlation of thumbnails below which the picture is another."""
IN_PLACE_IOU = 0.5
"""A face that overlaps an earlier one this much has stayed where it was from one frame to the next."""
NEAR_PLACE_IOU = 0.2
"""The same over seconds, in which people move."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame shows of the followed face."""

    index: int
    points: F64 | None  # (478, 3) image px
    person: int
    cut: bool
    """A new shot begins with this frame."""
    reason: Literal["", "none", "small"] = ""
    """Why there are no points."""
    looked: bool = True
    """False: the points are those between two frames that were looked at."""


Seen: TypeAlias = tuple[Frame, Observation]


@dataclass(slots=True)
class _Target:
    """The face of this shot."""

    person: int
    points: F64
    region: Region
    box: Box
    seen_at: int
    scene: F32 | None
    """Thumbnail of the picture one to two checks before it was seen last; the last one may be half dissolved."""
    later_scene: F32 | None
    others: tuple[Box, ...]
    """The other faces at the last check."""
    luma: F32 | None = None
    """Thumbnail of `box` when it was seen last; None where it moved so much that in SAMPLE_S it does not stay near."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A frame as it comes in, before anybody looks for faces in it."""

    frame: Frame
    change: Change
    due: bool
    """The whole picture is to be searched, and the followed face has to look like itself."""
    faces: tuple[Face, ...]
    """Those in sight when the whole picture was looked at last."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """Landmarks found in the current frame."""

    points: F64
    view: View | None = None


class Tracker:
    """Follows one face; call `observe` with every frame, in order, and `finish` after the last one."""

    def __init__(
        self,
        detector: Network,
        landmarks: Network,
        geometry: Geometry,
        fmt: FrameFormat,
        choice: FaceChoice,
        wanted: View | None = None,
    ) -> None:
        """`wanted` is what the face of the rule `like:` looks like; other rules need none."""
        self._detector, self._landmarks, self._geometry = detector, landmarks, geometry
        self._choice, self._wanted, self._fps = choice, wanted, float(fmt.fps)
        self._yuv = yuv_matrix(fmt.colour, fmt.height)
        self._meter = ChangeMeter()
        self._stride = max(1, min(int(SAMPLE_S * self._fps), 1 + WAITING_BYTES // fmt.frame_bytes))
        """Frames from one look at a still face to the next."""
        self._waiting: list[tuple[_Look, F32]] = []
        """The frames since then, fewer than `_stride`, and thumbnails of the box that the face was in before them."""
        self._target: _Target | None = None
        self._faces: tuple[Face, ...] = ()
        """Faces in sight when the whole picture was looked at last."""
        self._looked_at = -CHECK_EVERY
        self._tiled_at = self._turned_at = -TILES_EVERY
        self._turns = 0
        """Quarter turns, counter-clockwise, that set this shot upright."""
        self._crowd = 0
        """Most faces that this shot had at once."""
        self.people: list[Looks] = []
        self.cuts: list[int] = []
        self.searched = 0
        """Frames that were searched for faces as a whole."""
        self.best_score = 0.0
        """The detector's best score in all of them."""
        self.most_faces = 0

    def observe(self, frame: Frame) -> list[Seen]:
        """What is known now of this frame and of those that waited for it. Raises what the networks raise."""
        due = frame.index - self._looked_at >= CHECK_EVERY
        look, target = _Look(frame, self._meter.measure(frame), due, self._faces), self._target
        if target is not None and self._may_wait(look, target):
            self._waiting.append((look, face_thumbnail(frame, target.box)))
            return []
        sight = self._follow(look) if self._waiting else None
        if target is None or sight is None:
            return [*self.finish(), (frame, self._observe(look))]
        moved = self._motion(target, sight)
        even = moved <= STILL and self._is_even(target, frame)
        before = self._between(target, frame.index, sight) if even else self.finish()
        return [*before, (frame, self._observe(look, sight if moved <= NEAR else None))]

    def finish(self) -> list[Seen]:
        """Look at each of the frames that wait; for the end of the video."""
        waiting, self._waiting = self._waiting, []
        return [(look.frame, self._observe(look)) for look, _ in waiting]

    def _may_wait(self, look: _Look, target: _Target) -> bool:
        """Whether this frame's points can perhaps be taken from those before and after it."""
        return (
            target.luma is not None
            and target.seen_at == look.frame.index - 1 - len(self._waiting)
            and len(self._waiting) < self._stride - 1
            and not (look.change.sudden or look.change.flat or look.due)
        )

    def _motion(self, target: _Target, sight: _Sight) -> float:
        """How far the points that decide the picture have moved, root of the mean square, in the face's own sizes."""
        used = (self._geometry.stable, self._geometry.mouth)
        moved = np.concatenate([sight.points[rows, :2] - target.points[rows, :2] for rows in used])
        return math.sqrt(float((moved**2).sum(1).mean())) / max(target.box.width, target.box.height)

    def _is_even(self, target: _Target, frame: Frame) -> bool:
        """Whether the face's picture went straight from how it was to how it is in `frame`."""
        if target.luma is None:
            return False
        step = (face_thumbnail(frame, target.box) - target.luma) / (frame.index - target.seen_at)
        most = EVEN * float(target.luma.std())
        return all(
            np.sqrt(np.mean((luma - target.luma - step * (look.frame.index - target.seen_at)) ** 2)) <= most
            for look, luma in self._waiting
        )

    def _between(self, target: _Target, index: int, sight: _Sight) -> list[Seen]:
        """The frames that waited: their points on the way from where the face was to where it is in frame `index`."""
        waiting, self._waiting = self._waiting, []
        step = (sight.points - target.points) / (index - target.seen_at)
        return [
            (frame, self._observation(frame, points, target.person, looked=False))
            for frame, points in (
                (look.frame, target.points + step * (look.frame.index - target.seen_at)) for look, _ in waiting
            )
        ]

    def _observation(
        self, frame: Frame, points: F64, person: int, *, cut: bool = False, looked: bool = True
    ) -> Observation:
        if eye_distance_px(points) < LEAST_EYE_DISTANCE_PX:
            return Observation(frame.index, None, -1, cut, "small")
        return Observation(frame.index, points, person, cut, looked=looked)

    def _observe(self, look: _Look, sight: _Sight | None = None) -> Observation:
        """Look at one frame; `sight` is the followed face, where it was found already."""
        frame = look.frame
        sight = sight or self._follow(look)
        cut = self._is_cut(look, sight)
        if cut:
            self._target, self._crowd, self._turns, sight = None, 0, 0, None
            self._turned_at = frame.index - TILES_EVERY
            self.cuts.append(frame.index)
            self._tiled_at = frame.index - TILES_EVERY
            if not self._faces:
                self._looked_at = -CHECK_EVERY  # a new shot deserves the closer look at once
        if sight is None:
            target = self._target
            sight = self._choose(look) if target is None else self._find_again(look, target)
        if sight is None or self._target is None:
            return Observation(frame.index, None, -1, cut, "none")
        self._advance(look, self._target, sight)
        return self._observation(frame, sight.points, self._target.person, cut=cut)

    def _follow(self, look: _Look) -> _Sight | None:
        """The target where it must be after one frame, or after those that wait; None if it is not there."""
        target, frame, change = self._target, look.frame, look.change
        if target is None or target.seen_at != frame.index - 1 - len(self._waiting) or change.flat:
            return None
        points = self._locate(frame, target.region)
        if points is None or not _continues(target.box, landmark_box(points)):
            return None
        if not (look.due or change.sudden):
            return _Sight(points)
        if look.due:
            self._look_around(frame)
        view = self._view(frame, points)
        likeness = self.people[target.person].likeness(view)
        least = SAME if change.sudden else FOLLOWED_IN_CROWD if self._crowd > 1 else FOLLOWED
        return _Sight(points, view) if likeness >= least else None

    def _is_cut(self, look: _Look, sight: _Sight | None) -> bool:
        """Whether a new shot begins: the picture changed and neither the followed face nor another one stayed."""
        target, frame, change = self._target, look.frame, look.change
        if sight is not None or change.flat:
            return False
        if change.sudden:
            return not self._stayed(frame, self._others(look.faces, target), IN_PLACE_IOU)
        if target is None or change.picture is None or frame.index - target.seen_at < DISSOLVE_S * self._fps:
            return False
        scene = target.later_scene if target.scene is None else target.scene
        if scene is not None and resemblance(scene, change.picture) >= ANOTHER_PICTURE:
            return False
        return not self._stayed(frame, target.others, NEAR_PLACE_IOU)

    def _others(self, faces: Sequence[Face], target: _Target | None) -> tuple[Box, ...]:
        """The faces except the followed one."""
        return tuple(f.box for f in faces if target is None or f.box.iou(target.box) < NEAR_PLACE_IOU)

    def _stayed(self, frame: Frame, before: Sequence[Box], overlap: float) -> bool:
        """Whether one of these faces is still where it was."""
        return any(face.box.iou(box) > overlap for face in self._look_around(frame) for box in before)

    def _choose(self, look: _Look) -> _Sight | None:
        """The face that is asked for, as this shot's target."""
        if look.change.flat:
            return None
        frame = look.frame
        faces = self._upright(frame, self._look_around(frame))
        if self._wanted is not None:
            found = self._most_alike(frame, faces, [self._wanted], ALIKE)
        else:
            face = choose_face(faces, self._choice, frame.width, frame.height)
            found = None if face is None else self._sight(frame, face)
        if found is None or found.view is None:
            return None
        region, box = region_from_landmarks(found.points), landmark_box(found.points)
        person = self._recognise(found.view)
        self._target = _Target(person, found.points, region, box, frame.index, None, None, ())
        return found

    def _upright(self, frame: Frame, faces: Sequence[Face]) -> Sequence[Face]:
        """The faces, or those of the turned picture where it shows one much more clearly: then the shot is turned."""
        best = max((face.score for face in faces), default=0.0)
        if best >= CLEAR or frame.index - self._turned_at < TILES_EVERY:
            return faces
        self._turned_at = frame.index
        for turns in (1, 3, 2):
            found = find_faces(self._detector, frame, self._yuv, max(best + CLEARER, TURNED), turns=turns)
            if found:
                best, self._turns, faces = max(face.score for face in found), turns, found
        self._faces = tuple(faces)
        self._crowd = max(self._crowd, len(faces))
        self.most_faces = max(self.most_faces, len(faces))
        return faces

    def _find_again(self, look: _Look, target: _Target) -> _Sight | None:
        """The lost target: near its last place, the nearer the sooner, and not somebody else."""
        if look.change.flat:
            return None
        frame = look.frame
        lost_s = (frame.index - target.seen_at) / self._fps
        centre, size = target.box.centre, max(target.box.width, target.box.height)
        reach = size * (STEP + SPEED * lost_s)
        near = [f for f in self._look_around(frame) if math.dist(f.box.centre, centre) <= reach]
        near.sort(key=lambda f: math.dist(f.box.centre, centre))
        least = SAME if self._crowd > 1 else OTHER
        return self._most_alike(frame, near[:CANDIDATES], self.people[target.person].views, least)

    def _most_alike(self, frame: Frame, faces: Sequence[Face], views: list[View], least: float) -> _Sight | None:
        """The face that looks most like one of the views, if at least `least` alike."""
        looks, best = Looks(views), None
        for face in faces:
            found = self._sight(frame, face)
            if found is None or found.view is None:
                continue
            likeness = looks.likeness(found.view)
            if likeness >= least:
                best, least = found, likeness
        return best

    def _sight(self, frame: Frame, face: Face) -> _Sight | None:
        points = self._locate(frame, region_from_face(face))
        return None if points is None else _Sight(points, self._view(frame, points))

    def _advance(self, look: _Look, target: _Target, sight: _Sight) -> None:
        frame = look.frame
        frames = frame.index - target.seen_at
        near = self._stride > 1 and frames > 0 and self._motion(target, sight) * self._stride <= NEAR * frames
        target.points, target.region = sight.points, region_from_landmarks(sight.points)
        target.box, target.seen_at = landmark_box(sight.points), frame.index
        target.luma = face_thumbnail(frame, target.box) if near else None
        if self._looked_at == frame.index:
            target.others = self._others(self._faces, target)
            target.scene, target.later_scene = target.later_scene, look.change.picture
        if sight.view is not None:
            self.people[target.person].learn(sight.view)

    def _recognise(self, view: View) -> int:
        """The person of this view: one met before, or a new one."""
        likeness = [person.likeness(view) for person in self.people]
        best = max(range(len(likeness)), key=likeness.__getitem__, default=-1)
        if best >= 0 and (likeness[best] >= SAME or len(likeness) >= MOST_PERSONS):
            return best
        self.people.append(Looks([view]))
        return len(self.people) - 1

    def _look_around(self, frame: Frame) -> Sequence[Face]:
        """All faces of the frame; asked for twice in one frame, it answers from memory."""
        if self._looked_at != frame.index:
            found = self._detect(frame)
            self.best_score = max([self.best_score, *(face.score for face in found)])
            self._faces = tuple(face for face in found if face.score > DETECTED)
            self._looked_at = frame.index
            self.searched += 1
        self._crowd = max(self._crowd, len(self._faces))
        self.most_faces = max(self.most_faces, len(self._faces))
        return self._faces

    def _detect(self, frame: Frame) -> list[Face]:
        """Every face-like spot; a closer look every few frames where the picture as a whole shows no face."""
        found = find_faces(self._detector, frame, self._yuv, GHOST_SCORE, turns=self._turns)
        close = max(frame.width, frame.height) > SEES_ALL_PX and frame.index - self._tiled_at >= TILES_EVERY
        if not close or any(face.score > DETECTED for face in found):
            return found
        self._tiled_at = frame.index
        return find_small_faces(self._detector, frame, self._yuv, GHOST_SCORE)

    def _locate(self, frame: Frame, region: Region) -> F64 | None:
        points, presence = locate_landmarks(self._landmarks, frame, region, self._yuv)
        return points if presence > PRESENT else None

    def _view(self, frame: Frame, points: F64) -> View:
        stable = self._geometry.stable
        return view_face(frame, fit_pose(self._geometry.canonical[stable], points[stable]))


def _continues(before: Box, now: Box) -> bool:
    """Whether `now` can be the same face one frame later."""
    size, new = max(before.width, before.height), max(now.width, now.height)
    return math.dist(before.centre, now.centre) < STEP * size and 1 / GROWTH < new / size < GROWTH
