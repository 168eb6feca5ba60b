"""What a finished video shows in a stretch around its loudest part: openings, and mouths beside those of the original.

Bounded: at most `STRETCH_S` seconds and `MOST_PIXELS` pixels of each of the two videos are decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dhcli.errors import DhError
from dhcli.jobs.options import FaceChoice, parse_face
from dhcli.media.info import VideoInfo, frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_video
from dhcli.media.reader import read_frames
from dhcli.picture.mouth import CORNERS, LOWER, UPPER, opening
from dhcli.render.face_finder import FaceFinder
from dhcli.runtime.scope import Scope
from dhcli.sheets.crop import Tile, mouth_tile, small_picture
from dhcli.sheets.loudness import loudest, loudness, part_of
from dhcli.stages.align import YuvMatrix, yuv_matrix
from dhcli.stages.mesh import FaceMesh, pose_free
from dhcli.stages.target import Observation
from dhcli.stages.track import Tracker
from dhcli.timing import Loop, source_index
from dhcli.types import F32, F64, U8, Frame, FrameFormat

STAGE = "look"
STRETCH_S = 6.0
"""Of a video that is longer. Some two sentences."""
MOST_PIXELS = 300_000_000
"""Decoded of each video: 2.2 ns a pixel. Six seconds at 1080p and 25 fps, 1.4 s at 2160p."""
COLUMNS = 5
"""Mouths that are shown: the widest, the most closed one, and those evenly between."""
APART_S = 0.2
"""Least time between two of them, where the stretch allows: neighbours look alike."""
HEARD_S = 900.0
"""A longer sound is not searched for its loudest part."""
SMALL_WIDTH = 176
"""px, of the picture that stands for the video."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a video was made from, and how its frames follow from that."""

    path: Path
    loop: Loop = "pingpong"
    face: str = "largest"
    """The rule of the option `face`."""


@dataclass(frozen=True, slots=True)
class Mouth:
    """One frame of the finished video."""

    time_s: float
    opening: float
    """Widths of the mouth."""
    rendered: U8  # (h, w, 3) BGR
    original: U8 | None
    """The same place of the frame it was made from; None where that cannot be read."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in one finished video."""

    begin_s: float
    end_s: float
    """The stretch that was looked at."""
    duration_s: float
    times_s: F64  # (n,) of the frames with a face
    openings: F64  # (n,)
    loudness: F32  # (m,) 0..1 over the stretch, evenly; empty without sound
    mouths: tuple[Mouth, ...]
    """The widest first; empty where no face was found."""
    small: U8
    """The whole frame with the widest mouth, or the first one where there is no face; BGR."""
    original_missing: str = ""
    """Why there is no original; "" where there is."""


def see(scope: Scope, finder: FaceFinder, video: Path, source: Source | None, tile: Tile) -> Seen:
    """Look at a finished video. Raises DhError input.*, decode.*, model.*, device.*, env.*, Stopped."""
    with InputFile(video, "video") as file, scope.stage(STAGE):
        info = probe_video(scope, file)
        fmt = frame_format(info)
        loud = _loudness(scope, file, info)
        first, count = _stretch(info.frames_at(fmt.fps), fmt, loud)
        stretch = _Stretch(finder.mesh, yuv_matrix(fmt.colour, fmt.height), tile)
        tracker = Tracker(finder, fmt, _choice(source))
        for frame in read_frames(scope, file, info, fmt, first=first, count=count, stage=STAGE):
            stretch.see(tracker.observe(frame))
        stretch.see(tracker.finish())
    assert stretch.small is not None  # a video has at least one frame
    chosen = _chosen(stretch.looks, fmt.fps)
    originals, missing = _originals(scope, chosen, source, fmt, tile)
    fps = float(fmt.fps)
    return Seen(
        begin_s=first / fps,
        end_s=(first + count) / fps,
        duration_s=float(info.duration),
        times_s=np.array([one.index for one in stretch.looks], np.float64) / fps,
        openings=np.array([one.opening for one in stretch.looks], np.float64),
        loudness=part_of(loud, first / fps, (first + count) / fps),
        mouths=tuple(Mouth(one.index / fps, one.opening, one.rendered, originals.get(one.index)) for one in chosen),
        small=stretch.small,
        original_missing=missing,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    index: int
    opening: float
    matrix: F64
    rendered: U8


class _Stretch:
    """The looks at the frames of the stretch, each with the crops that it may give."""

    def __init__(self, mesh: FaceMesh, yuv: YuvMatrix, tile: Tile) -> None:
        self._mesh, self._yuv, self._tile = mesh, yuv, tile
        self.looks: list[_Look] = []
        self.small: U8 | None = None
        """The frame with the widest mouth so far; the first one as long as there is no face."""
        self._widest = -1.0

    def see(self, observed: Sequence[tuple[Frame, Observation]]) -> None:
        for frame, observation in observed:
            if self.small is None:
                self.small = small_picture(frame, self._yuv, SMALL_WIDTH)
            if observation.points is None:
                continue
            pose = self._mesh.pose(observation.points)
            shape = pose_free(observation.points, pose)
            matrix = self._tile.matrix(pose)
            gap = opening(shape[UPPER], shape[LOWER], shape[CORNERS[0]], shape[CORNERS[1]])
            rendered = mouth_tile(frame, matrix, self._yuv, self._tile)
            self.looks.append(_Look(frame.index, gap, matrix, rendered))
            if gap > self._widest:
                self._widest, self.small = gap, small_picture(frame, self._yuv, SMALL_WIDTH)


def _choice(source: Source | None) -> FaceChoice:
    choice = parse_face(source.face) if source is not None else FaceChoice("largest")
    return FaceChoice("largest") if choice.rule == "like" else choice  # the photo may be gone


def _loudness(scope: Scope, file: InputFile, info: VideoInfo) -> F32:
    """Empty where there is no sound, or a very long one."""
    if not info.audio_streams or info.duration > HEARD_S:
        return np.zeros(0, np.float32)
    return loudness(scope, file, stage=STAGE)


def _stretch(frames: int, fmt: FrameFormat, loud: F32) -> tuple[int, int]:
    """First frame and number of those to look at: the loudest part, or the middle where nothing is heard."""
    most = min(math.ceil(STRETCH_S * fmt.fps), max(COLUMNS, MOST_PIXELS // (fmt.width * fmt.height)))
    if frames <= most:
        return 0, frames
    at = loudest(loud, float(most / fmt.fps))
    first = (frames - most) // 2 if at is None else round(at * float(fmt.fps))
    return min(max(0, first), frames - most), most


def _chosen(looks: Sequence[_Look], fps: Fraction) -> list[_Look]:
    """The widest, the most closed, and those whose openings lie evenly between."""
    if not looks:
        return []
    openings = np.array([one.opening for one in looks])
    wanted = np.linspace(openings.max(), openings.min(), COLUMNS)
    apart, chosen = APART_S * float(fps), list[_Look]()
    for target in wanted[[0, -1, *range(1, COLUMNS - 1)]]:  # the ends first: they must be what they are called
        free = [one for one in looks if all(abs(one.index - other.index) >= apart for other in chosen)]
        rest = free or [one for one in looks if one not in chosen]
        if rest:
            chosen.append(min(rest, key=lambda one: abs(one.opening - target)))
    return sorted(chosen, key=lambda one: -one.opening)


def _originals(
    scope: Scope, chosen: Sequence[_Look], source: Source | None, fmt: FrameFormat, tile: Tile
) -> tuple[dict[int, U8], str]:
    """The same crops of the frames that the chosen ones were made from, by index; and why there are none."""
    if source is None or not chosen:
        return {}, ""
    try:
        return _of_source(scope, chosen, source, fmt, tile), ""
    except DhError as error:
        return {}, error.message


def _of_source(scope: Scope, chosen: Sequence[_Look], source: Source, fmt: FrameFormat, tile: Tile) -> dict[int, U8]:
    with InputFile(source.path, "video") as file, scope.stage(STAGE):
        info = probe_video(scope, file)
        own = frame_format(info, fmt.fps)
        if (own.width, own.height) != (fmt.width, fmt.height):
            finding = f"has {own.width}x{own.height} px and the output {fmt.width}x{fmt.height}"
            raise file.error("input.changed", finding, hint="It is another file than the one that was rendered.")
        frames, yuv = info.frames_at(fmt.fps), yuv_matrix(own.colour, own.height)
        wanted = {one.index: source_index(one.index, frames, source.loop) for one in chosen}
        first, last = min(wanted.values()), max(wanted.values())
        # Where that costs little, from the start: a seek lands late in some containers, as in MPEG program streams.
        first = 0 if (last + 1) * fmt.width * fmt.height <= MOST_PIXELS else first
        crops = dict[int, U8]()
        for frame in read_frames(scope, file, info, own, first=first, count=last - first + 1, stage=STAGE):
            for one in chosen:
                if wanted[one.index] == frame.index:
                    crops[one.index] = mouth_tile(frame, one.matrix, yuv, tile)
        return crops
