"""A score: the face is followed through all frames of the video, and of the original; a model hears the sound."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from dhcli import __version__
from dhcli.disk.scratch import Scratch
from dhcli.families.family import Manner
from dhcli.families.guard import faults_of
from dhcli.jobs.options import DEFAULT_MODEL, FaceChoice
from dhcli.media.audio import Repeatable, read_waveform
from dhcli.media.info import VideoInfo, frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.reader import read_frames
from dhcli.picture.against import beside, difference_outside
from dhcli.picture.clip import ClipMeter
from dhcli.picture.follow import Following, follow, spread
from dhcli.picture.judge import Judged, verdicts
from dhcli.render.face_finder import FaceFinder
from dhcli.render.models import Models
from dhcli.results.parts import WarningInfo
from dhcli.runtime.interruptible import interruptible
from dhcli.runtime.scope import Scope
from dhcli.score.report import Against, Score
from dhcli.stages.mesh import FaceMesh
from dhcli.stages.track import Tracker
from dhcli.timing import rate_text
from dhcli.types import F64, Frame, FrameFormat, Pose

STAGE = "score"
COMPARED = 24
"""Frames whose pixels outside the mouth are compared, or up to twice as many."""
HIGH = 99.9
"""Percentile that stands for the largest difference: a codec errs far in a few pixels of any frame."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be scored."""

    video: Path
    original: Path | None = None
    audio: Path | None = None
    """What has the sound; None: the video."""
    model: str = DEFAULT_MODEL


@dataclass(slots=True)
class Poses:
    """Poses of some frames, evenly spread among those with a face, however many come."""

    by_frame: dict[int, Pose] = field(default_factory=dict)
    _faces: int = 0
    _step: int = 1

    def add(self, index: int, points: F64, mesh: FaceMesh) -> None:
        """The next frame with a face, and its landmarks."""
        if self._faces % self._step == 0:
            self.by_frame[index] = mesh.pose(points)
        self._faces += 1
        if len(self.by_frame) == 2 * COMPARED:
            self.by_frame = dict(list(self.by_frame.items())[::2])
            self._step *= 2


@dataclass(frozen=True, slots=True)
class _Clip:
    """A video whose frames were all looked at."""

    file: InputFile
    info: VideoInfo
    format: FrameFormat
    meter: ClipMeter
    poses: Poses


def score(request: Request, models: Models) -> Score:
    """Score a video. Raises SignalledError; DhError input.*, audio.*, model.*, device.*, decode.*, env.*."""
    with interruptible(STAGE, "the measurement") as scope, contextlib.ExitStack() as files:
        return _Scorer(scope, models, files).score(request)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the sound asks of the mouth, and how that follows."""

    asked: float | None
    following: Following | None


def _faceless(frames: int, with_face: int) -> tuple[WarningInfo, ...]:
    """A warning where not all frames show a face."""
    if with_face == frames:
        return ()
    message = f"No face was found in {frames - with_face} of {frames} frames; the figures are of the others."
    return (WarningInfo(code="face.missing", message=message),)


class _Scorer:
    def __init__(self, scope: Scope, models: Models, files: contextlib.ExitStack) -> None:
        self._scope, self._models, self._files = scope, models, files

    def score(self, request: Request) -> Score:
        finder = self._models.finder
        clip = self._clip(request.video, "video", finder)
        heard = self._heard(request, clip)
        against = self._against(request.original, clip, finder)
        figures, following = clip.meter.figures(), None if heard is None else heard.following
        asked = None if heard is None else heard.asked
        softer = None if against is None else against.sharpness
        judged = Judged(asked, figures.opening, figures.face_px, softer, None if softer is None else 1.0)
        return Score(
            dh=__version__,
            path=str(request.video.absolute()),
            width=clip.info.width,
            height=clip.info.height,
            fps=rate_text(clip.format.fps),
            frames=clip.meter.frames,
            with_face=figures.looked / clip.meter.frames,
            face_px=figures.face_px,
            face_px_least=figures.face_px_least,
            yaw_deg=figures.yaw_deg,
            yaw_deg_most=figures.yaw_deg_most,
            opening=figures.opening,
            sharpness=figures.sharpness,
            audio=None if heard is None else str((request.audio or request.video).absolute()),
            model=None if heard is None else request.model,
            asked=asked,
            correlation=None if following is None else following.correlation,
            lag_ms=None if following is None else following.lag_ms,
            against=against,
            warnings=(
                *_faceless(clip.meter.frames, figures.looked),
                *(WarningInfo(code=code, message=text) for code, text in verdicts(judged)),
            ),
        )

    def _clip(self, path: Path, role: str, finder: FaceFinder, fps: Fraction | None = None) -> _Clip:
        """Look at all frames of a video, at another rate where one is given."""
        scope = self._scope
        file = self._files.enter_context(InputFile(path, role))
        with scope.stage(STAGE):
            info = probe_video(scope, file)
            fmt = frame_format(info, fps)
            clip = _Clip(file, info, fmt, ClipMeter(finder.mesh), Poses())
            tracker = Tracker(finder, fmt, FaceChoice("largest"))
            for frame in read_frames(scope, file, info, fmt, stage=STAGE):
                for seen, observed in tracker.observe(frame):
                    self._see(clip, seen, observed.points)
            for seen, observed in tracker.finish():
                self._see(clip, seen, observed.points)
        return clip

    def _see(self, clip: _Clip, frame: Frame, points: F64 | None) -> None:
        self._scope.check()
        clip.meter.see(frame, points)
        if points is not None:
            clip.poses.add(frame.index, points, clip.meter.mesh)

    def _heard(self, request: Request, clip: _Clip) -> _Heard | None:
        """None where there is no sound, or nobody speaks in it."""
        if request.audio is None and not clip.info.audio_streams:
            return None
        file = clip.file
        if request.audio is not None:
            file = self._files.enter_context(InputFile(request.audio, "audio"))
        with self._scope.stage(STAGE):
            family = self._models.family(request.model)
            sound = probe_audio(self._scope, file)
            rate, channel = family.sample_rate, sound.louder
            speech = Repeatable(
                lambda: read_waveform(self._scope, file, sound, rate=rate, channel=channel, stage=STAGE)
            )
            fps = clip.format.fps
            with faults_of(family):
                conditions = family.listen(speech, Manner(fps, Scratch(Path(tempfile.gettempdir(), "score")), gain=1.0))
                if conditions.silent:
                    return None
                count = math.ceil(sound.duration * fps)
                asked = [family.asked(conditions.at(index / fps)) for index in range(count)]
        openings = np.array([math.nan if one is None else one for one in asked])
        at, shown = clip.meter.openings()
        # Sound and picture of a file have one clock; a sound of its own begins with the first frame.
        begin_s = 0.0 if request.audio is not None else float(int(clip.info.pts[0]) * clip.info.time_base)
        following = follow(at / float(fps) + begin_s, shown, np.arange(count) / float(fps), openings)
        return _Heard(spread(openings), following)

    def _against(self, path: Path | None, clip: _Clip, finder: FaceFinder) -> Against | None:
        if path is None:
            return None
        original = self._clip(path, "original", finder, clip.format.fps)
        same_size = (clip.format.width, clip.format.height) == (original.format.width, original.format.height)
        figures = beside(clip.meter, original.meter, same_size=same_size)
        frames = min(clip.meter.frames, original.meter.frames)
        mean, most = self._outside(clip, original, frames) if same_size else (None, None)
        return Against(
            path=str(path.absolute()),
            frames=frames,
            **dataclasses.asdict(figures),
            outside_mean=mean,
            outside_most=most,
        )

    def _outside(self, clip: _Clip, original: _Clip, frames: int) -> tuple[float | None, float | None]:
        """Mean and highest difference of the luma outside the mouth, over some of the frames that both have."""
        means, highest = list[float](), list[float]()
        with self._scope.stage(STAGE):
            for new, old in zip(self._frames(clip, frames), self._frames(original, frames), strict=True):
                if (pose := clip.poses.by_frame.get(new.index)) is not None:
                    different = difference_outside(new, old, pose)
                    means += [float(different.mean())] if len(different) else []
                    highest += [float(np.percentile(different, HIGH))] if len(different) else []
        return (float(np.mean(means)), float(np.mean(highest))) if means else (None, None)

    def _frames(self, clip: _Clip, count: int) -> Iterator[Frame]:
        return read_frames(self._scope, clip.file, clip.info, clip.format, count=count, stage=STAGE)
