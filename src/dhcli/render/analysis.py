"""The analysis of one video: frames through the tracker, settled faces to disk, and to the family's profiler.

Streaming: of the whole video only the stretches without a face stay in memory.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.family import Profiler
from dhcli.jobs.options import parse_face
from dhcli.render.track_file import FaceTrack, Totals, TrackFile
from dhcli.stages.align import yuv_matrix
from dhcli.stages.appearance import ALIKE, View, view_face
from dhcli.stages.cover import CoverWatch
from dhcli.stages.cutout import Cutout, cut_out
from dhcli.stages.find import DETECTED, PRESENT, FaceNetworks, find_faces, locate_landmarks, region_from_face
from dhcli.stages.mesh import FaceMesh, landmark_box
from dhcli.stages.smooth import Settled, Smoother
from dhcli.stages.target import Observation
from dhcli.stages.track import LEAST_EYE_DISTANCE_PX, Observed, Tracker
from dhcli.types import F64, Colour, FaceRow, Frame, FrameFormat

VERSION = 6
"""Raised where the analysis of the same frames gives something else: what was kept of the old one is not used then."""
EDGE_SHARE = 0.02
"""Of a face's size; one that is nearer than this to the picture's edge is cut by it."""
CLOSE_SHARE = 0.8
GREY = 128
CUTOUT_GRID = 120
"""px. Large faces are averaged down in blocks that are counted from the picture's edge. A cutout's edge has to be the
edge of a block of 1 to 5 px, in the planes of half the size, too."""


def analyse(
    frames: Iterable[Frame],
    fmt: FrameFormat,
    finder: FaceNetworks,
    face: str,
    on_frame: Callable[[], None],
    *,
    scratch: Scratch,
    wanted: View | None = None,
    profiler: Profiler | None = None,
) -> FaceTrack:
    """Follow the face that the rule `face` means (see `options.parse_face`) through all frames, in order from frame 0.

    The rule `like:` needs `wanted`, which `look_of` makes of its photo. `on_frame` is called after each frame. The
    track lies in a file of `scratch`. `profiler` sees each face. Raises DhError face.not_found or face.too_small where
    no frame can be used, model.* and device.* from the networks, output.disk_full, output.not_writable, whatever
    `frames` and `on_frame` raise, and ValueError where `face` is no rule.
    """
    tracker = Tracker(finder, fmt, parse_face(face), wanted)
    file = TrackFile(scratch, finder.mesh)
    try:
        faces = _Faces(finder.mesh, file, profiler)
        smoother, watch = Smoother(float(fmt.fps)), CoverWatch(finder.mesh, float(fmt.fps))
        count, small = 0, 0
        first: Frame | None = None
        for frame, observation in _observed(tracker, frames, on_frame):
            first = first or frame
            seen = watch.look(frame, observation)
            faces.keep(frame, seen)
            faces.settle(smoother.push(seen))
            count, small = count + 1, small + (seen.reason == "small")
        faces.settle(smoother.finish())
        if not faces.persons:
            raise _nobody(count, small, tracker, face) or _cut_off(first, fmt, finder) or _unlike(count, tracker)
        return file.finish(faces.totals(tracker))
    finally:
        file.discard()


def profile_again(frames: Iterable[Frame], track: FaceTrack, profiler: Profiler, on_frame: Callable[[], None]) -> None:
    """Show a profiler all faces of a track that was made without it. Raises what `frames` and `on_frame` raise."""
    for frame in frames:
        row = track.row(frame.index)
        if row is not None and row.looked:
            profiler.see(row, _cutout(frame, row, profiler))
        on_frame()


def look_of(photo: Frame, colour: Colour, finder: FaceNetworks) -> View:
    """What the largest face of a photo looks like. Raises DhError face.not_found, model.*, device.*."""
    yuv = yuv_matrix(colour, photo.height)
    faces = find_faces(finder.detect, photo, yuv, DETECTED)
    if faces:
        points, presence = locate_landmarks(finder.locate, photo, region_from_face(faces[0]), yuv)
        if presence > PRESENT:
            return view_face(photo, finder.mesh.pose(points))
    raise DhError(
        "face.not_found",
        "No face in the photo that 'face: like:' names.",
        hint="Give a photo that shows the person from the front.",
    )


def _observed(tracker: Tracker, frames: Iterable[Frame], on_frame: Callable[[], None]) -> Iterator[Observed]:
    for frame in frames:
        yield from tracker.observe(frame)
        on_frame()
    yield from tracker.finish()


def _cut_off(frame: Frame | None, fmt: FrameFormat, finder: FaceNetworks) -> DhError | None:
    """The error for a face that is too close to the camera, or cut by the picture's edge; None where there is none.

    With grey around the picture the detector finds such faces, too.
    """
    if frame is None:
        return None
    wide, left, top = _surrounded(frame)
    for one in find_faces(finder.detect, wide, yuv_matrix(fmt.colour, fmt.height), DETECTED):
        box, slack = one.box, EDGE_SHARE * max(one.box.width, one.box.height)
        x, y = box.x - left, box.y - top
        edges = {
            "left": x < slack,
            "right": x + box.width > frame.width - slack,
            "upper": y < slack,
            "lower": y + box.height > frame.height - slack,
        }
        cut = [edge for edge, is_cut in edges.items() if is_cut]
        if len(cut) > 1 and max(box.width / frame.width, box.height / frame.height) > CLOSE_SHARE:
            what = "The face is too close: it fills the picture"
        elif cut:
            what = f"The face is cut by the {cut[0]} edge of the picture"
        else:
            continue
        hint = "Give a video that shows the whole face, with some room around it."
        return DhError("face.not_found", f"{what}.", hint=hint)
    return None


def _surrounded(frame: Frame) -> tuple[Frame, int, int]:
    """The frame in the middle of grey of twice its size, and how far it lies from the left and the top, px."""
    height, width = frame.height, frame.width
    top, left = height // 4 * 2, width // 4 * 2
    wide = Frame(frame.index, np.full((height * 3, width * 2), GREY, np.uint8))
    for plane, small, part in ((wide.y, frame.y, 1), (wide.u, frame.u, 2), (wide.v, frame.v, 2)):
        rows, columns = small.shape
        plane[top // part : top // part + rows, left // part : left // part + columns] = small
    return wide, left, top


def _nobody(frames: int, small: int, tracker: Tracker, face: str) -> DhError | None:
    """The error where the faces that there are cannot be used; None where there is none."""
    if small:
        return DhError(
            "face.too_small",
            f"The face is too small in {small} of {frames} frames: less than "
            f"{LEAST_EYE_DISTANCE_PX:g} px between the eyes' outer corners.",
            hint="Give a video with more pixels, or one that shows the person closer.",
        )
    search = tracker.search
    if search.most_faces and face.startswith(("index:", "box:")):
        return DhError(
            "face.not_found",
            f"'face: {face}' names none of the faces in the {frames} frames searched; "
            f"there are up to {search.most_faces} at once.",
            hint="Set 'face' to one that is in the picture; index:0 is the one farthest left.",
        )
    return None


def _unlike(frames: int, tracker: Tracker) -> DhError:
    search = tracker.search
    if tracker.most_alike > -1:
        return DhError(
            "face.not_found",
            f"Nobody in the {frames} frames looks like the photo: the most similar face has {tracker.most_alike:.2f} "
            f"points of 1, and {ALIKE:g} are needed.",
            hint="Give a still of this video as photo, or name the face by its place: `dh schema options` lists how.",
        )
    spot = f"the most face-like spot has {search.best_score:.2f} points of 1, and a face has {DETECTED:g} or more"
    if search.best_score > DETECTED:
        spot = "what looks like a face from afar has no eyes, nose and mouth in their places"
    return DhError(
        "face.not_found",
        f"No face can be followed in any of the {frames} frames; {spot}.",
        hint="Give a video that shows a person's face from the front or the side.",
    )


class _Faces:
    """Settled faces to the track, and with their pixels to the profiler."""

    def __init__(self, mesh: FaceMesh, file: TrackFile, profiler: Profiler | None) -> None:
        self._mesh, self._file, self._profiler = mesh, file, profiler
        self._cutouts: deque[Cutout] = deque()
        """Of the frames that are not settled yet."""
        self._ids: dict[int, int] = {}
        """The tracker's persons to ours: one that never had a usable frame gets no number."""
        self._frames: dict[int, int] = {}
        """How many frames each of the tracker's persons has."""
        self._missing: list[tuple[int, int]] = []
        self._covered: list[tuple[int, int]] = []

    @property
    def persons(self) -> int:
        return len(self._ids)

    def totals(self, tracker: Tracker) -> Totals:
        """What is known at the video's end."""
        search, cuts = tracker.search, tuple(tracker.cuts)
        missing, covered = tuple(self._missing), tuple(self._covered)
        everybody = tracker.census.sightings(lambda person: self._frames.get(person, 0))
        return Totals(self.persons, search.frames, search.most_faces, cuts, missing, covered, everybody)

    def keep(self, frame: Frame, seen: Observation) -> None:
        """Keep the face's pixels until its place is settled."""
        if self._profiler is not None and seen.points is not None and seen.looked and not seen.covered:
            self._cutouts.append(_cutout(frame, self._row(frame.index, 0, 1.0, seen.points), self._profiler))

    def settle(self, settled: Iterator[Settled]) -> None:
        """Write settled frames, in order."""
        for one in settled:
            while self._cutouts and self._cutouts[0].frame.index < one.index:
                self._cutouts.popleft()
            if one.points is None:
                _count(self._missing, one.index)
                self._file.append(None)
                continue
            person = self._ids.setdefault(one.person, len(self._ids))
            self._frames[one.person] = self._frames.get(one.person, 0) + 1
            face = self._row(one.index, person, one.weight, one.points)
            if one.covered:
                _count(self._covered, one.index)
            row = self._file.append(dataclasses.replace(face, seen=one.seen, looked=one.looked, covered=one.covered))
            if row is not None and row.looked:
                self._show(row)

    def _row(self, index: int, person: int, weight: float, points: F64) -> FaceRow:
        return FaceRow(index, person, weight, self._mesh.pose(points), landmark_box(points), points)

    def _show(self, row: FaceRow) -> None:
        """Show it to the profiler, as the track keeps it: then a track that was made before gives the same profile."""
        if self._profiler is not None and self._cutouts and self._cutouts[0].frame.index == row.index:
            self._profiler.see(row, self._cutouts.popleft())


def _count(ranges: list[tuple[int, int]], index: int) -> None:
    """Put a frame into the last range, or into a new one."""
    first = ranges.pop()[0] if ranges and ranges[-1][1] == index - 1 else index
    ranges.append((first, index))


def _cutout(frame: Frame, row: FaceRow, profiler: Profiler) -> Cutout:
    x0, y0, x1, y1 = profiler.area(row)
    return cut_out(frame, np.array([x0, y0], np.float64), np.array([x1, y1], np.float64), CUTOUT_GRID)
