"""One face through a video: chosen when it first appears, followed, lost and found again, across cuts, too. It is never
exchanged for another person's, but where one dissolves into the other in the same place, over two seconds or more; by
the rule `any` each shot chooses anew.

Frames come in order, and in order an observation leaves for each: at once, or after the next few frames, where a face
that hardly moves is not looked at in every one of them. Nothing here smooths or fills gaps, and memory does not grow
with the length of the video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from dhcli.jobs.options import FaceChoice
from dhcli.stages.align import yuv_matrix
from dhcli.stages.appearance import ALIKE, BACK, OTHER, SAME, Appearance, View, view_face
from dhcli.stages.census import Census, Taken
from dhcli.stages.choose import choose_face
from dhcli.stages.cuts import ChangeMeter, face_thumbnail, resemblance
from dhcli.stages.find import FaceNetworks, landmarks_in, region_from_face, region_from_landmarks
from dhcli.stages.mesh import eye_distance_px, landmark_box
from dhcli.stages.search import Search, Spot
from dhcli.stages.target import Incoming, Landmarks, Observation, Target, continues
from dhcli.types import F32, F64, Face, Frame, FrameFormat

LEAST_EYE_DISTANCE_PX = 14.0
"""Smaller faces are not touched: at 19 px the mouth code still correlates 0.6 with the full picture's, at 13 px 0.3,
at 10 px not at all."""
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
FOLLOWED, FOLLOWED_IN_CROWD = 0.25, 0.5
"""Least similarity of a face that moved on steadily: a turning head looks less and less like itself."""
ELSEWHERE = 0.7
"""Least similarity of a face that is farther from its last place than it can have wandered: after a cut within a room,
or in its fast flight. One person has 0.76 or more within a recording."""
MOST_COMPARED = 6
"""Faces of a new shot, the largest first, that are compared with the persons met before: 6 ms each."""
DISSOLVE_S = 1.0
"""A face lost for longer, in a picture that is another by now: the shot changed without a cut."""
ANOTHER_PICTURE = 0.5
"""Correlation of thumbnails below which the picture is another."""
IN_PLACE_IOU = 0.5
"""A face that overlaps an earlier one this much has stayed where it was from one frame to the next."""
NEAR_PLACE_IOU = 0.2
"""The same over seconds, in which people move."""
SAME_PLACE_LOOKS = 0.75
"""Least correlation of its thumbnails where the picture changed in between. One person has 0.9 or more half a second
later, two in one place 0.7 at most."""


Observed: TypeAlias = tuple[Frame, Observation]


class Tracker:
    """Follows one face; call `observe` with every frame, in order, and `finish` after the last one."""

    def __init__(self, finder: FaceNetworks, fmt: FrameFormat, choice: FaceChoice, wanted: View | None = None) -> None:
        """`wanted` is what the face of the rule `like:` looks like; other rules need none."""
        self._finder, self._choice, self._wanted, self._fps = finder, choice, wanted, float(fmt.fps)
        self._same = SAME if choice.rule == "any" else BACK
        self._yuv = yuv_matrix(fmt.colour, fmt.height)
        self._meter = ChangeMeter()
        self.search = Search(finder.detect, self._yuv)
        self.census = Census(self._look)
        self.most_alike = -1.0
        """To the photo of the rule `like:`, of all faces in shots without the person."""
        self._stride = max(1, min(int(SAMPLE_S * self._fps), 1 + WAITING_BYTES // fmt.frame_bytes))
        """Frames from one look at a still face to the next."""
        self._waiting: list[tuple[Incoming, F32]] = []
        """The frames since then, fewer than `_stride`, and thumbnails of the box that the face was in before them."""
        self._target: Target | None = None
        self.people: list[Appearance] = []
        self.cuts: list[int] = []

    def observe(self, frame: Frame) -> list[Observed]:
        """What is known now of this frame and of those that waited for it. Raises what the networks raise."""
        due, faces = self.search.is_due(frame.index), self.search.spots
        incoming, target = Incoming(frame, self._meter.measure(frame), due, faces), self._target
        if target is not None and self._may_wait(incoming, target):
            self._waiting.append((incoming, face_thumbnail(frame, target.box)))
            return []
        located = self._follow(incoming) if self._waiting else None
        if target is None or located is None:
            return [*self.finish(), (frame, self._observe(incoming))]
        moved = self._motion(target, located)
        even = moved <= STILL and self._is_even(target, frame)
        before = self._between(target, frame.index, located) if even else self.finish()
        return [*before, (frame, self._observe(incoming, located if moved <= NEAR else None))]

    def finish(self) -> list[Observed]:
        """Look at each of the frames that wait; for the end of the video."""
        waiting, self._waiting = self._waiting, []
        return [(incoming.frame, self._observe(incoming)) for incoming, _ in waiting]

    def _may_wait(self, incoming: Incoming, target: Target) -> bool:
        """Whether this frame's points can perhaps be taken from those before and after it."""
        return (
            target.luma is not None
            and target.seen_at == incoming.frame.index - 1 - len(self._waiting)
            and len(self._waiting) < self._stride - 1
            and not (incoming.change.sudden or incoming.change.flat or incoming.due)
        )

    def _motion(self, target: Target, located: Landmarks) -> float:
        """How far the points that decide the picture have moved, root of the mean square, in the face's own sizes."""
        return self._finder.mesh.motion(target.points, located.points) / target.size

    def _is_even(self, target: Target, frame: Frame) -> bool:
        """Whether the face's picture went straight from how it was to how it is in `frame`."""
        if target.luma is None:
            return False
        step = (face_thumbnail(frame, target.box) - target.luma) / (frame.index - target.seen_at)
        most = EVEN * float(target.luma.std())
        return all(
            np.sqrt(np.mean((luma - target.luma - step * (incoming.frame.index - target.seen_at)) ** 2)) <= most
            for incoming, luma in self._waiting
        )

    def _between(self, target: Target, index: int, located: Landmarks) -> list[Observed]:
        """The frames that waited: their points on the way from where the face was to where it is in frame `index`."""
        waiting, self._waiting = self._waiting, []
        step = (located.points - target.points) / (index - target.seen_at)
        return [
            (frame, self._observation(frame, points, target.person, looked=False))
            for frame, points in (
                (incoming.frame, target.points + step * (incoming.frame.index - target.seen_at))
                for incoming, _ in waiting
            )
        ]

    def _observation(
        self, frame: Frame, points: F64, person: int, *, cut: bool = False, looked: bool = True
    ) -> Observation:
        if eye_distance_px(points) < LEAST_EYE_DISTANCE_PX:
            return Observation(frame.index, None, -1, cut, "small")
        return Observation(frame.index, points, person, cut, looked=looked)

    def _observe(self, incoming: Incoming, located: Landmarks | None = None) -> Observation:
        """Look at one frame; `located` is the followed face, where it was found already."""
        frame = incoming.frame
        located = located or self._follow(incoming)
        cut = self._is_cut(incoming, located)
        if cut:
            self._target = located = None
            self.search.begin_shot(frame.index)
        if located is None and self._target is None:
            located = self._choose(incoming)
        elif located is None and self._target is not None:
            located = self._find_again(incoming, self._target)
            cut = located is not None and self._target.leaps(located, self._lost_s(self._target, frame))
        if cut:
            self.cuts.append(frame.index)
            self.census.begin_shot()
        seen = self._observed(incoming, located, cut=cut)
        if self.search.at == frame.index:
            points, person = seen.points, seen.person
            taken = None if points is None else Taken(person, landmark_box(points), self.people[person])
            self.census.see(frame, self.search.faces, taken)
        return seen

    def _observed(self, incoming: Incoming, located: Landmarks | None, *, cut: bool) -> Observation:
        if located is None or self._target is None:
            return Observation(incoming.frame.index, None, -1, cut, "none")
        self._advance(incoming, self._target, located)
        return self._observation(incoming.frame, located.points, self._target.person, cut=cut)

    def _follow(self, incoming: Incoming) -> Landmarks | None:
        """The target where it must be after one frame, or after those that wait; None if it is not there."""
        target, frame, change = self._target, incoming.frame, incoming.change
        if target is None or target.seen_at != frame.index - 1 - len(self._waiting) or change.flat:
            return None
        points = landmarks_in(self._finder.locate, frame, target.region, self._yuv)
        if points is None or not continues(target.box, landmark_box(points)):
            return None
        if not (incoming.due or change.sudden):
            return Landmarks(points)
        if incoming.due:
            self.search.around(frame)
        view = self._view(frame, points)
        similarity = self.people[target.person].similarity(view)
        least = SAME if change.sudden else FOLLOWED_IN_CROWD if self.search.crowd > 1 else FOLLOWED
        return Landmarks(points, view) if similarity >= least else None

    def _is_cut(self, incoming: Incoming, located: Landmarks | None) -> bool:
        """Whether a new shot begins: the picture changed and neither the followed face nor another one stayed."""
        target, frame, change = self._target, incoming.frame, incoming.change
        if located is not None or change.flat:
            return False
        if change.sudden:
            return not self._stayed(frame, self._others(incoming.faces, target), IN_PLACE_IOU, SAME_PLACE_LOOKS)
        if target is None or change.picture is None or frame.index - target.seen_at < DISSOLVE_S * self._fps:
            return False
        scene = target.later_scene if target.scene is None else target.scene
        if scene is not None and resemblance(scene, change.picture) >= ANOTHER_PICTURE:
            return False
        return not self._stayed(frame, target.others, NEAR_PLACE_IOU)

    def _others(self, faces: Sequence[Spot], target: Target | None) -> tuple[Spot, ...]:
        """The faces except the followed one."""
        return tuple(f for f in faces if target is None or f.box.iou(target.box) < NEAR_PLACE_IOU)

    def _stayed(self, frame: Frame, before: Sequence[Spot], overlap: float, alike: float = -1.0) -> bool:
        """Whether one of these faces is still where it was, and looks so much as it did."""
        self.search.around(frame)
        return any(
            now.box.iou(one.box) > overlap and resemblance(now.luma, one.luma) >= alike
            for now in self.search.spots
            for one in before
        )

    def _choose(self, incoming: Incoming) -> Landmarks | None:
        """The face that is asked for, as this shot's target."""
        if incoming.change.flat:
            return None
        frame = incoming.frame
        faces = self.search.upright(frame)
        if self.people and self._choice.rule != "any":
            found = self._met_before(frame, faces)
        elif self._wanted is not None:
            found = self._like_the_photo(frame, faces, self._wanted)
        elif (found := self._met_before(frame, faces)) is None:
            face = choose_face(faces, self._choice, frame.width, frame.height)
            found = None if face is None else self._landmarks_of(frame, face)
        if found is None or found.view is None:
            return None
        region, box = region_from_landmarks(found.points), landmark_box(found.points)
        person = self._recognise(found.view)
        self._target = Target(person, found.points, region, box, frame.index, None, None, ())
        return found

    def _like_the_photo(self, frame: Frame, faces: Sequence[Face], photo: View) -> Landmarks | None:
        """The face that looks most like the photo, where it looks enough like it."""
        found = self._most_alike(frame, faces, [photo], -1.0)
        if found is None or found.view is None:
            return None
        likeness = photo.similarity(found.view)
        self.most_alike = max(self.most_alike, likeness)
        return found if likeness >= ALIKE else None

    def _met_before(self, frame: Frame, faces: Sequence[Face]) -> Landmarks | None:
        """Of these faces the one of a person who was chosen before, of two such the first."""
        if self._choice.rule == "any" and len(faces) < 2:
            return None
        found = [self._landmarks_of(frame, face) for face in faces[:MOST_COMPARED] if self.people]
        for person in self.people:
            alike = [(person.similarity(one.view), one) for one in found if one is not None and one.view is not None]
            similarity, best = max(alike, key=lambda pair: pair[0], default=(-1.0, None))
            if similarity >= self._same:
                return best
        return None

    def _find_again(self, incoming: Incoming, target: Target) -> Landmarks | None:
        """The lost target: near its last place, the nearer the sooner, or elsewhere, and not somebody else."""
        if incoming.change.flat:
            return None
        frame, lost_s = incoming.frame, self._lost_s(target, incoming.frame)
        faces = sorted(self.search.around(frame), key=lambda f: math.dist(f.box.centre, target.box.centre))
        near = [face for face in faces if target.reaches(face.box, lost_s)]
        least, views = SAME if self.search.crowd > 1 else OTHER, self.people[target.person].views
        found = self._most_alike(frame, near[:CANDIDATES], views, least)
        return found or self._most_alike(frame, faces[len(near) :][:CANDIDATES], views, ELSEWHERE)

    def _lost_s(self, target: Target, frame: Frame) -> float:
        return (frame.index - target.seen_at) / self._fps

    def _most_alike(self, frame: Frame, faces: Sequence[Face], views: list[View], least: float) -> Landmarks | None:
        """The face that looks most like one of the views, if at least `least` alike."""
        looks, best = Appearance(views), None
        for face in faces:
            found = self._landmarks_of(frame, face)
            if found is None or found.view is None:
                continue
            similarity = looks.similarity(found.view)
            if similarity >= least:
                best, least = found, similarity
        return best

    def _landmarks_of(self, frame: Frame, face: Face) -> Landmarks | None:
        points = landmarks_in(self._finder.locate, frame, region_from_face(face), self._yuv)
        return None if points is None else Landmarks(points, self._view(frame, points))

    def _look(self, frame: Frame, face: Face) -> View | None:
        found = self._landmarks_of(frame, face)
        return None if found is None else found.view

    def _advance(self, incoming: Incoming, target: Target, located: Landmarks) -> None:
        frame = incoming.frame
        frames = frame.index - target.seen_at
        near = self._stride > 1 and frames > 0 and self._motion(target, located) * self._stride <= NEAR * frames
        target.points, target.region = located.points, region_from_landmarks(located.points)
        target.box, target.seen_at = landmark_box(located.points), frame.index
        target.luma = face_thumbnail(frame, target.box) if near else None
        if self.search.at == frame.index:
            target.others = self._others(self.search.spots, target)
            target.scene, target.later_scene = target.later_scene, incoming.change.picture
        if located.view is not None:
            self.people[target.person].learn(located.view)

    def _recognise(self, view: View) -> int:
        """The person of this view: one met before, or a new one."""
        similarity = [person.similarity(view) for person in self.people]
        best = max(range(len(similarity)), key=similarity.__getitem__, default=-1)
        if best >= 0 and (similarity[best] >= self._same or len(similarity) >= MOST_PERSONS):
            return best
        self.people.append(Appearance([view]))
        return len(self.people) - 1

    def _view(self, frame: Frame, points: F64) -> View:
        return view_face(frame, self._finder.mesh.pose(points))
