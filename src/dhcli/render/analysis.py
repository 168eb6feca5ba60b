"""The analysis of one video: frames through the tracker, settled rows to disk, each person's rest shape and reference.

Streaming: of the whole video only 8 bytes a frame stay in memory. It knows no threads and no ffmpeg; the caller gives
the frames and decides what a missing face means.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import CROP_SIDE, Geometry, face_crop_matrix, mouth_opening, pose_free
from dhcli.families.family import FaceFinder
from dhcli.jobs.options import parse_face
from dhcli.render.track_file import (
    BLOCK,
    BRIDGED,
    RECORD,
    SEEN,
    FaceTrack,
    Person,
    Totals,
    TrackFile,
    read_records,
    record_pose,
)
from dhcli.stages.align import YuvMatrix, apply, crop_corners, crop_yuv, fit_pose, to_rgb, yuv_matrix
from dhcli.stages.appearance import View, view_face
from dhcli.stages.cutout import cut_out
from dhcli.stages.find import DETECTED, PRESENT, find_faces, locate_landmarks, region_from_face
from dhcli.stages.smooth import Settled, Smoother
from dhcli.stages.track import LEAST_EYE_DISTANCE_PX, Observation, Seen, Tracker
from dhcli.types import F64, U8, Colour, Frame, FrameFormat

VERSION = 2
"""Raised where the analysis of the same frames gives something else: what was kept of the old one is not used then."""
CLOSED_SHARE = 0.15
"""Share of the frames, the most closed ones, whose mean is a person's rest shape."""
PROMISING = 0.8
"""Pixels are kept of frames whose mouth is open this much of the widest so far: smoothed, they may be the widest."""
MARGIN_PX = 8
"""Kept around the crop: smoothing moves it by a pixel or two."""


def analyse(
    frames: Iterable[Frame],
    fmt: FrameFormat,
    model: FaceFinder,
    face: str,
    on_frame: Callable[[], None],
    *,
    scratch: Scratch,
    wanted: View | None = None,
    alive: Callable[[], None] = lambda: None,
) -> FaceTrack:
    """Follow the face that the rule `face` means (see `options.parse_face`) through all frames, in order from frame 0.

    The rule `like:` needs `wanted`, which `look_of` makes of its photo. `on_frame` is called after each frame, and
    `alive` now and then after the last one. The track lies in a file of `scratch`. Raises DhError
    face.not_found or face.too_small if no frame can be used, model.* and device.* from the networks, output.disk_full,
    output.not_writable, whatever `frames`, `on_frame` and `alive` raise, and ValueError where `face` is no rule.
    """
    tracker = Tracker(model.detect, model.landmarks, model.geometry, fmt, parse_face(face), wanted)
    file = TrackFile(scratch)
    try:
        people = _People(model.geometry, yuv_matrix(fmt.colour, fmt.height), file)
        smoother = Smoother(float(fmt.fps))
        count, small = 0, 0
        for frame, seen in _sightings(tracker, frames, on_frame):
            people.keep(frame, seen)
            people.settle(smoother.push(seen))
            count, small = count + 1, small + (seen.reason == "small")
        people.settle(smoother.finish())
        if not people.widest:
            raise _nobody(count, small, tracker, face)
        totals = Totals(tracker.searched, tracker.most_faces, tuple(tracker.cuts), tuple(people.missing))
        return file.seal(people.persons(alive), totals, model.geometry)
    finally:
        file.discard()


def _sightings(tracker: Tracker, frames: Iterable[Frame], on_frame: Callable[[], None]) -> Iterator[Seen]:
    for frame in frames:
        yield from tracker.observe(frame)
        on_frame()
    yield from tracker.finish()


def look_of(photo: Frame, colour: Colour, model: FaceFinder) -> View:
    """What the largest face of a photo looks like. Raises DhError face.not_found, model.*, device.*."""
    yuv = yuv_matrix(colour, photo.height)
    faces = find_faces(model.detect, photo, yuv, DETECTED)
    if faces:
        points, presence = locate_landmarks(model.landmarks, photo, region_from_face(faces[0]), yuv)
        if presence > PRESENT:
            stable = model.geometry.stable
            return view_face(photo, fit_pose(model.geometry.canonical[stable], points[stable]))
    raise DhError(
        "face.not_found",
        "No face in the photo that 'face: like:' names.",
        hint="Give a photo that shows the person from the front.",
    )


def _nobody(frames: int, small: int, tracker: Tracker, face: str) -> DhError:
    if small:
        return DhError(
            "face.too_small",
            f"The face is too small in {small} of {frames} frames: less than "
            f"{LEAST_EYE_DISTANCE_PX:g} px between the eyes' outer corners.",
            hint="Give a video with more pixels, or one that shows the person closer.",
        )
    if tracker.most_faces and face.startswith(("index:", "box:")):
        return DhError(
            "face.not_found",
            f"'face: {face}' names none of the faces in the {frames} frames searched; "
            f"there are up to {tracker.most_faces} at once.",
            hint="Set 'face' to one that is in the picture; index:0 is the one farthest left.",
        )
    return DhError(
        "face.not_found",
        f"No face can be followed in any of the {frames} frames; the most face-like spot has {tracker.best_score:.2f} "
        "points of 1, a face 0.5 or more and eyes, nose and mouth in their places.",
        hint="Give a video that shows a person's face from the front or the side.",
    )


class _Cutout:
    """The pixels around a face, with the way from image px to them."""

    def __init__(self, frame: Frame, matrix: F64) -> None:
        xy = crop_corners(matrix, (0, 0, CROP_SIDE, CROP_SIDE))
        self.frame, self._origin = cut_out(frame, xy.min(0) - MARGIN_PX, xy.max(0) + MARGIN_PX)

    def crop(self, matrix: F64, yuv: YuvMatrix) -> U8:
        """The face network's crop, (160, 160, 3) RGB."""
        shifted = np.column_stack([matrix[:, :2], apply(matrix, self._origin[None])[0]])
        return np.rint(to_rgb(crop_yuv(self.frame, shifted, CROP_SIDE), yuv)).astype(np.uint8)


class _People:
    """Settled frames to records, and what all of them together say about each person."""

    def __init__(self, geometry: Geometry, yuv: YuvMatrix, file: TrackFile) -> None:
        self._geometry, self._yuv, self._file = geometry, yuv, file
        self._cutouts: deque[_Cutout] = deque()
        self._ids: dict[int, int] = {}
        """The tracker's persons to ours: one that never had a usable frame gets no number."""
        self._openings: list[array[float]] = []
        self.widest: list[tuple[float, U8]] = []
        self.missing: list[tuple[int, int]] = []

    def keep(self, frame: Frame, seen: Observation) -> None:
        """Keep the frame's face if it may become the person's reference picture: nobody else knows what it shows."""
        if seen.points is None or not seen.looked:
            return
        pose = fit_pose(self._geometry.canonical[self._geometry.stable], seen.points[self._geometry.stable])
        person = self._ids.get(seen.person)
        widest = 0.0 if person is None else self.widest[person][0]
        if mouth_opening(pose_free(seen.points[self._geometry.mouth], pose)) >= PROMISING * widest:
            self._cutouts.append(_Cutout(frame, face_crop_matrix(pose)))

    def settle(self, rows: Iterator[Settled]) -> None:
        """Write settled frames, in order."""
        for row in rows:
            while self._cutouts and self._cutouts[0].frame.index < row.index:
                self._cutouts.popleft()
            self._file.append(self._record(row))

    def _record(self, row: Settled) -> np.typing.NDArray[np.void]:
        record = np.zeros(1, RECORD)
        if row.points is None:
            self._miss(row.index)
            return record
        pose = fit_pose(self._geometry.canonical[self._geometry.stable], row.points[self._geometry.stable])
        mouth = row.points[self._geometry.mouth]
        opening = mouth_opening(pose_free(mouth, pose))
        person = self._ids.setdefault(row.person, len(self._ids))
        record["state"] = SEEN if row.seen else BRIDGED
        record["person"], record["weight"], record["opening"] = person, row.weight, opening
        record["scale"], record["rotation"], record["translation"] = pose.scale, pose.rotation, pose.translation
        record["mouth"] = mouth
        if row.seen:
            self._remember(row.index, person, opening, face_crop_matrix(pose))
        return record

    def _remember(self, index: int, person: int, opening: float, matrix: F64) -> None:
        if person == len(self.widest):
            self.widest.append((-math.inf, np.zeros((CROP_SIDE, CROP_SIDE, 3), np.uint8)))
            self._openings.append(array("d"))
        self._openings[person].append(opening)
        if opening > self.widest[person][0] and self._cutouts and self._cutouts[0].frame.index == index:
            self.widest[person] = opening, self._cutouts[0].crop(matrix, self._yuv)

    def _miss(self, index: int) -> None:
        if self.missing and self.missing[-1][1] == index - 1:
            self.missing[-1] = self.missing[-1][0], index
        else:
            self.missing.append((index, index))

    def persons(self, alive: Callable[[], None]) -> tuple[Person, ...]:
        """Every person's rest shape and reference picture, once all frames are settled."""
        limits = np.array([np.quantile(o, CLOSED_SHARE) for o in self._openings])
        total, count = np.zeros((len(limits), 106, 3)), np.zeros(len(limits))
        self._file.flush()
        for first in range(0, self._file.frames, BLOCK):
            alive()  # four hours of video take half a minute here
            for record in read_records(self._file.file.fd, first, min(BLOCK, self._file.frames - first)):
                person = int(record["person"])
                if record["state"] == SEEN and record["opening"] <= limits[person]:
                    total[person] += pose_free(record["mouth"].astype(np.float64), record_pose(record))
                    count[person] += 1
        rests = total / count[:, None, None]
        return tuple(
            Person(self._geometry.closed(rest), picture) for rest, (_, picture) in zip(rests, self.widest, strict=True)
        )
