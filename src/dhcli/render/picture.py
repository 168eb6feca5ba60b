"""The picture of a render, measured: what each frame asks for, and what the finished video shows of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dhcli.disk.part import PartFile
from dhcli.families.family import Patch
from dhcli.media.excerpt import read_excerpt
from dhcli.media.verify import VerifiedOutput
from dhcli.picture.clip import clip_figures, face_figures
from dhcli.picture.figures import KeptWhy, PictureFigures
from dhcli.picture.follow import follow, spread
from dhcli.picture.judge import Judged, verdicts
from dhcli.picture.mouth import OPEN_GAP, Look, face_width_px, gap, inside_sharpness, look, yaw_deg
from dhcli.picture.sample import choose_frames, choose_spans
from dhcli.render.face_finder import FaceFinder
from dhcli.render.plan import Plan
from dhcli.render.trace import Trace
from dhcli.render.track_file import FaceTrack
from dhcli.runtime.scope import Scope
from dhcli.stages.align import yuv_matrix
from dhcli.stages.find import PRESENT, locate_landmarks, region_from_landmarks
from dhcli.stages.mesh import FaceMesh, pose_free
from dhcli.types import F64, FaceRow, Frame

NAN = float("nan")
FILMED_LOOKS = 120
"""Frames of the source whose mouth is looked into, where it is open: 0.1 ms each."""


@dataclass(slots=True)
class PictureLog:
    """What a render films and asks for, frame by frame: 16 bytes each."""

    mesh: FaceMesh
    frames: int
    """Of the video, as many as the output shows."""
    noise_db: float | None = None
    """Of the speech, where the family tells it."""
    source: array[int] = field(default_factory=lambda: array("i"))
    """The frame of the video that each frame of the output shows; -1 where it stays as filmed."""
    face_px: array[float] = field(default_factory=lambda: array("f"))
    yaw_deg: array[float] = field(default_factory=lambda: array("f"))
    asked: array[float] = field(default_factory=lambda: array("f"))
    """The opening that it was asked for, in widths of the mouth; NaN where nothing was asked, or nothing tells it."""
    kept: dict[KeptWhy, int] = field(default_factory=lambda: {"missing": 0, "covered": 0, "left": 0})
    switches: int | None = None
    """How often the patches changed their reference; None where they tell of none."""
    sharpness: list[float] = field(default_factory=list)
    """Of the source, inside the mouth."""
    _reference: int | None = None

    @property
    def asked_openings(self) -> F64:  # (frames,)
        return np.frombuffer(self.asked, np.float32).astype(np.float64)

    @property
    def asked_of_faces(self) -> F64:  # (frames,)
        """The same; NaN only where there is no face, and 0 where there is one that nothing was asked of."""
        has_face = np.frombuffer(self.source, np.int32) >= 0
        return np.where(has_face, np.nan_to_num(self.asked_openings), NAN)

    def film(self, frame: Frame, row: FaceRow | None) -> None:
        """The next frame, before its mouth is moved."""
        if row is None:
            self.source.append(-1)
            self.face_px.append(NAN)
            self.yaw_deg.append(NAN)
            return
        at = len(self.source)
        self.source.append(frame.index)
        self.face_px.append(face_width_px(row.pose))
        self.yaw_deg.append(yaw_deg(row.pose))
        wanted = at % max(1, self.frames // FILMED_LOOKS) == 0 and at == frame.index  # not shown before
        if wanted and row.seen and gap(pose_free(row.points, row.pose)) > OPEN_GAP:
            sharp = inside_sharpness(frame.y, row.points)
            self.sharpness += [] if sharp is None else [sharp]

    def keep(self, why: KeptWhy) -> None:
        """The next frame stays as it was filmed, and need not be looked at."""
        self.kept[why] += 1
        self.source[len(self.asked)] = -1
        self.asked.append(NAN)

    def ask(self, patch: Patch) -> None:
        """The next frame gets this mouth. A patch of another package may tell neither of the two."""
        opening: float | None = getattr(patch, "opening", None)
        self.asked.append(NAN if opening is None else opening)
        reference: int | None = getattr(patch, "reference", None)
        if reference is not None:
            if self.switches is None:
                self.switches = 0
            elif reference != self._reference:
                self.switches += 1
            self._reference = reference


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished output that is not put in place yet, and what its measure needs."""

    scope: Scope
    plan: Plan
    part: PartFile
    finder: FaceFinder
    track: FaceTrack
    log: PictureLog

    def wanted(self) -> tuple[int, ...]:
        """The frames to look at, where reading back decodes all frames."""
        return choose_frames(self.log.asked_of_faces, self._pixels)

    def measure(self, verified: VerifiedOutput, trace: Trace) -> None:
        """Look at some frames, and tell the trace the figures, and warnings about them.

        Raises output.mismatch, decode.failed, env.*, model.*, device.*, Stopped.
        """
        frames = self._decoded(verified) if verified.wanted is None else iter(verified.wanted)
        looks = list(self._looks(frames))
        figures = trace.picture = self._figures(looks)
        judged = Judged(figures.asked, figures.shown, figures.face_px, figures.sharpness, figures.source_sharpness)
        trace.warnings.extend(verdicts(judged))

    @property
    def _pixels(self) -> int:
        return self.plan.format.width * self.plan.format.height

    def _decoded(self, verified: VerifiedOutput) -> Iterator[Frame]:
        """The frames to look at of an output that is too large to decode it all."""
        plan, part = self.plan, self.part
        size, fps = verified.bytes / plan.frames, float(plan.format.fps)
        for span in choose_spans(self.log.asked_of_faces, verified.keys, self._pixels, size, fps):
            for frame in read_excerpt(
                self.scope,
                part.path,
                folder=part.folder,
                fmt=plan.format,
                frames=plan.frames,
                first=span.first,
                count=span.count,
            ):
                if frame.index in span.looked:
                    yield frame

    def _looks(self, frames: Iterator[Frame]) -> Iterator[Look]:
        """The figures of those that show the face. It is where the source has it."""
        yuv = yuv_matrix(self.plan.format.colour, self.plan.format.height)
        for frame in frames:
            self.scope.check()
            row = self.track.row(self.log.source[frame.index])
            assert row is not None
            points, presence = locate_landmarks(self.finder.locate, frame, region_from_landmarks(row.points), yuv)
            self.scope.beat("verify")
            if presence > PRESENT:
                yield look(frame, points, self.finder.mesh)

    def _figures(self, looks: Sequence[Look]) -> PictureFigures:
        log, fps, asked = self.log, float(self.plan.format.fps), self.log.asked_openings
        at = np.array([one.index for one in looks], np.intp)
        shown = np.array([one.opening for one in looks], np.float64)
        clip = clip_figures(looks)
        following = follow(at / fps, shown, np.arange(len(asked)) / fps, asked) if len(looks) else None
        known = np.isfinite(asked[at])
        faces = face_figures(np.frombuffer(log.face_px, np.float32), np.frombuffer(log.yaw_deg, np.float32))
        return PictureFigures(
            *faces,
            len(looks),
            spread(asked[at]),
            spread(shown[known]) if known.any() else clip.opening,
            None if following is None else following.correlation,
            None if following is None else following.lag_ms,
            clip.sharpness,
            float(np.median(log.sharpness)) if log.sharpness else None,
            {why: count / len(asked) for why, count in log.kept.items()},
            log.switches,
            log.noise_db,
        )
