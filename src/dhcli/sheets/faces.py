"""Who is in a video: the persons, where each is seen, and the values of the option `face` that mean them.

Faces are looked for as a render does, and told apart by the same looks; but only in some frames of each second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dhcli.jobs.options import FaceChoice, Rule
from dhcli.media.info import frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_video
from dhcli.media.reader import read_frames
from dhcli.render.face_finder import FaceFinder
from dhcli.runtime.scope import Scope
from dhcli.sheets.crop import face_tile, small_picture
from dhcli.stages.align import YuvMatrix, yuv_matrix
from dhcli.stages.appearance import SAME, Appearance, View, view_face
from dhcli.stages.choose import choose_face
from dhcli.stages.find import landmarks_in, region_from_face
from dhcli.stages.mesh import eye_distance_px
from dhcli.stages.search import Search
from dhcli.stages.track import FOLLOWED_IN_CROWD, LEAST_EYE_DISTANCE_PX
from dhcli.types import U8, Box, Face, Frame

STAGE = "look"
LOOKS_A_SECOND = 4
MOST_FACES = 12
"""Looked at in one frame, the largest first: 8 ms each."""
IN_PLACE_IOU = 0.3
"""Of a face from one look to the next."""
LEAST_LOOKS, FEW_LOOKS = 2, 8
"""Who is seen in fewer looks is a mistake of the detector, where there are more than a few."""
NAMES: tuple[Rule, ...] = ("largest", "left", "right", "center")
FRAME_WIDTH, TILE_SIDE = 1000, 148
"""px, of what the sheet shows."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person of a video."""

    values: tuple[str, ...]
    """Of the option `face`, the shortest way to say it first; empty for who is not there when the face is chosen."""
    box: Box | None
    """Where the face is then, px of the upright video."""
    width_px: float
    """Of the face, median."""
    usable: bool
    """Whether the face is large enough to work on."""
    seen: tuple[tuple[float, float], ...]
    """From when to when, s."""
    share: float
    """Of the looks, 0 to 1."""
    picture: U8
    """The head in the clearest frame, BGR."""


@dataclass(frozen=True, slots=True)
class Cast:
    """All persons of a video."""

    persons: tuple[Person, ...]
    """Those of the frame in which a face is chosen from left to right, then the others as they come."""
    chosen_at_s: float
    """That frame."""
    duration_s: float
    frame: U8
    """That frame, scaled to `FRAME_WIDTH`, BGR; the first one where nobody is."""
    scale: float
    """Of it."""


@dataclass(slots=True)
class _Somebody:
    looks: Appearance
    at: list[int] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    first: Face | None = None
    """In the frame in which a face is chosen."""
    last: Box | None = None
    last_look: int = -1
    usable: bool = False
    picture: U8 | None = None
    clearest: float = 0.0


@dataclass(frozen=True, slots=True)
class _Seen:
    face: Face
    view: View
    eyes_px: float
    picture: U8


def find_persons(
    scope: Scope, finder: FaceFinder, path: Path, on_frame: Callable[[int, int], None] = lambda *_: None
) -> Cast:
    """Look through a video or a picture. Raises DhError input.*, decode.*, model.*, device.*, env.*; Stopped."""
    with InputFile(path, "video") as file, scope.stage(STAGE):
        info = probe_video(scope, file)
        fmt = frame_format(info)
        yuv, fps, total = yuv_matrix(fmt.colour, fmt.height), float(fmt.fps), info.frames_at(fmt.fps)
        search, watch, step = Search(finder.detect, yuv), _Watch(finder, yuv), max(1, round(fps / LOOKS_A_SECOND))
        chosen, frame_shown = -1, np.zeros((2, 2, 3), np.uint8)
        for frame in read_frames(scope, file, info, fmt, stage=STAGE):
            on_frame(frame.index, total)
            # A render looks at every frame until it finds a face.
            if chosen >= 0 and frame.index % step:
                continue
            found = watch.look(frame, search.upright(frame)[:MOST_FACES], choosing=chosen < 0)
            if chosen < 0 and (found or not frame.index):
                frame_shown = small_picture(frame, yuv, FRAME_WIDTH)
                chosen = frame.index if found else -1
    persons = tuple(watch.persons((fmt.width, fmt.height), step, fps, total / fps))
    at_s = max(0, chosen) / fps
    return Cast(persons, at_s, float(info.duration), frame_shown, FRAME_WIDTH / fmt.width)


class _Watch:
    """Tells the faces of the looks apart."""

    def __init__(self, finder: FaceFinder, yuv: YuvMatrix) -> None:
        self._finder, self._yuv = finder, yuv
        self._people: list[_Somebody] = []
        self._looks = 0

    def look(self, frame: Frame, faces: Sequence[Face], *, choosing: bool) -> bool:
        """The faces of one frame. Gives whether there is one."""
        self._looks += 1
        seen = [one for face in faces if (one := self._seen(frame, face)) is not None]
        pairs = [
            (self._alike(person, one), at, index)
            for at, person in enumerate(self._people)
            for index, one in enumerate(seen)
        ]
        taken_people, taken_faces = set[int](), set[int]()
        for similarity, at, index in sorted(pairs, reverse=True):
            if similarity > 0 and at not in taken_people and index not in taken_faces:
                taken_people.add(at)
                taken_faces.add(index)
                self._learn(self._people[at], frame, seen[index], choosing=choosing)
        for index, one in enumerate(seen):
            if index not in taken_faces:
                person = _Somebody(Appearance([one.view]))
                self._people.append(person)
                self._learn(person, frame, one, choosing=choosing)
        return bool(seen)

    def _seen(self, frame: Frame, face: Face) -> _Seen | None:
        points = landmarks_in(self._finder.locate, frame, region_from_face(face), self._yuv)
        if points is None:
            return None
        pose = self._finder.mesh.pose(points)
        picture = face_tile(frame, pose, self._yuv, TILE_SIDE)
        return _Seen(face, view_face(frame, pose), eye_distance_px(points), picture)

    def _alike(self, person: _Somebody, one: _Seen) -> float:
        """How much they are alike; 0 where they are not the same."""
        similarity = person.looks.similarity(one.view)
        stayed = (
            person.last is not None
            and person.last_look == self._looks - 1
            and person.last.iou(one.face.box) > IN_PLACE_IOU
        )
        return similarity if similarity >= (FOLLOWED_IN_CROWD if stayed else SAME) else 0.0

    def _learn(self, person: _Somebody, frame: Frame, one: _Seen, *, choosing: bool) -> None:
        person.looks.learn(one.view)
        person.at.append(frame.index)
        person.widths.append(one.face.box.width)
        person.last, person.last_look = one.face.box, self._looks
        person.usable |= one.eyes_px >= LEAST_EYE_DISTANCE_PX
        if choosing:
            person.first = one.face
        if one.eyes_px > person.clearest:
            person.clearest, person.picture = one.eyes_px, one.picture

    def persons(self, size: tuple[int, int], step: int, fps: float, end_s: float) -> Iterator[Person]:
        """All of them. `step` is the number of frames from one look to the next, `end_s` the length of the video."""
        faces = sorted((one.first for one in self._people if one.first is not None), key=lambda face: face.box.centre)
        few = self._looks < FEW_LOOKS
        real = [one for one in self._people if few or len(one.at) >= LEAST_LOOKS]
        order = sorted(real, key=lambda one: (one.first is None, one.first.box.centre if one.first else (0.0, 0.0)))
        for one in order:
            assert one.picture is not None
            yield Person(
                values=() if one.first is None else _values(one.first, faces, size),
                box=None if one.first is None else one.first.box,
                width_px=float(np.median(one.widths)),
                usable=one.usable,
                seen=tuple((begin, min(end, end_s)) for begin, end in _stretches(one.at, step, fps)),
                share=min(1.0, len(one.at) / max(1, self._looks)),
                picture=one.picture,
            )


def _values(face: Face, faces: Sequence[Face], size: tuple[int, int]) -> tuple[str, ...]:
    """What `face:` may say for this one of the faces, from the left, of the frame in which one is chosen."""
    index = next(at for at, one in enumerate(faces) if one is face)
    names = [name for name in NAMES if choose_face(faces, FaceChoice(name), *size) is face]
    box = face.box
    left, top = max(0, round(box.x)), max(0, round(box.y))
    return (f"index:{index}", *names, f"box:{left},{top},{math.ceil(box.width)},{math.ceil(box.height)}")


def _stretches(at: Sequence[int], step: int, fps: float) -> Iterator[tuple[float, float]]:
    """The looks as stretches of time; one missing look between two others is none."""
    first = before = at[0]
    for index in (*at[1:], None):
        if index is None or index - before > 2 * step:
            yield first / fps, (before + step) / fps
            first = index if index is not None else first
        before = index if index is not None else before
