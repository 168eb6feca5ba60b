"""The face track of a planned job, and what its family keeps of the persons: from the store, or made and put there.

A track is kept under a key of everything that decides one bit of it; the family is not part of that. A profile is kept
beside it under a key of the track's key, the model, and where and how that runs.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dhcli import __version__
from dhcli.disk.scratch import Scratch
from dhcli.disk.store import Store, key_of
from dhcli.errors import DhError, WarningCode
from dhcli.families.family import Family, Profiler
from dhcli.families.guard import faults_of, profiler_of
from dhcli.jobs.options import LIKE, parse_face
from dhcli.media.ffmpeg_program import ffmpeg_build, find_ffmpeg
from dhcli.media.info import frame_format
from dhcli.media.probe import probe_video
from dhcli.media.reader import read_frames
from dhcli.networks.network import runtime_version
from dhcli.render.analysis import VERSION, analyse, look_of, profile_again
from dhcli.render.face_finder import FaceFinder
from dhcli.render.plan import Plan
from dhcli.render.trace import Trace
from dhcli.render.track_file import FORMAT, FaceTrack, Ranges, unpack
from dhcli.runtime.scope import Scope, Stopped
from dhcli.stages.appearance import View
from dhcli.stages.census import Sighting
from dhcli.timing import rate_text
from dhcli.types import FaceRow, Frame

TRACK, PROFILE = "track", "profile"
"""Kinds of entries in the store."""
PROFILE_BYTES = 64 << 20
"""A larger profile is not kept: it is read into memory as a whole. With `dh_base` one person takes up to 17 MiB."""
CACHE_UNUSABLE: WarningCode = "cache.unusable"
RANGES_TOLD, PERSONS_TOLD = 8, 3
OTHERS_SIZE, OTHERS_LOOKS = 3, 2
"""A face that is so many times narrower than the chosen one is somebody in the background; one that fewer searches find
may be none."""

Notify = Callable[[str, int, int | None], None]
"""Called with stage, frames done, frames in all."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The analysis of one job's video."""

    plan: Plan
    finder: FaceFinder
    family: Family
    scope: Scope
    trace: Trace
    notify: Notify
    store: Store
    """What is kept of earlier analyses, and of this one."""
    scratch: Scratch
    """Where the track lies meanwhile."""

    def run(self) -> tuple[FaceTrack, Any]:
        """The face in the frames that the job shows, and the profile that the family made of its persons, or None.

        Raises DhError face.*, model.*, input.*, output.*; Stopped.
        """
        try:
            return self._run()
        finally:
            self.finder.close_detector()

    def _run(self) -> tuple[FaceTrack, Any]:
        key = track_key(self.plan, self.finder)
        profiler = profiler_of(self.family, self.plan.format)
        kept = self._kept_track(key)
        self.trace.analysis = "made" if kept is None else "cached"
        track = self._analysed(profiler) if kept is None else kept
        with contextlib.ExitStack() as on_error:
            on_error.enter_context(track)
            if kept is None:
                self._keep_track(key, track)
            profile = None if profiler is None else self._profile(key, track, profiler, has_seen=kept is None)
            if kept is not None:
                with self.scope.waiting("analyse"):
                    self.notify("analyse", track.frames, track.frames)
            if (trouble := self.store.take_trouble()) is not None:
                self.trace.warn(CACHE_UNUSABLE, f"Not kept in the cache: {trouble}.")
            _check_presence(self.plan, track, self.trace)
            _tell_of_others(self.plan, self.trace)
            _tell_of_cover(self.plan, track, self.trace)
            on_error.pop_all()
        return track, profile

    def _kept_track(self, key: str | None) -> FaceTrack | None:
        entry = None if key is None else self.store.get(TRACK, key, self._alive)
        if entry is None:
            return None
        return unpack(entry, self.finder.mesh, self.plan.format, self.plan.analysed_frames, self.scratch, self._alive)

    def _analysed(self, profiler: Profiler | None) -> FaceTrack:
        wanted = self._wanted_face()
        try:
            return analyse(
                self._frames(),
                self.plan.format,
                self.finder,
                self.plan.job.options.face,
                self._progress(),
                scratch=self.scratch,
                wanted=wanted,
                profiler=profiler,
            )
        except DhError as error:
            # What is damaged may be why there is no face.
            self.trace.warnings.extend(self.plan.video_file.remarks.items())
            if error.code.startswith("face."):  # the analysis has pictures, not the file's name
                raise error.about(self.plan.video_file.label) from None
            raise

    def _keep_track(self, key: str | None, track: FaceTrack) -> None:
        if key is not None:
            # The key is of what the inputs were when they were hashed; the analysis has to have seen the same.
            self.plan.check_unchanged(self._alive)
            head, body = track.pack(self._alive)
            self.store.put(TRACK, key, head, body)

    def _profile(self, key: str | None, track: FaceTrack, profiler: Profiler, *, has_seen: bool) -> Any:
        """The family's profile. Where the profiler has not seen the video, it is taken from the store, or shown it."""
        if not has_seen:
            profile = self._kept_profile(key, track)
            if profile is not None:
                return profile
            profile_again(self._frames(), track, profiler, self._progress())
            if key is not None:
                self.plan.check_unchanged(self._alive)
        data = profiler.finish(lambda: self._rows(track))
        if key is not None and len(data) <= PROFILE_BYTES:
            self.store.put(PROFILE, profile_key(key, self.family), b"", lambda: [data])
        with faults_of(self.family):
            return self._profile_in(data, track)

    def _kept_profile(self, key: str | None, track: FaceTrack) -> Any:
        entry = None if key is None else self.store.get(PROFILE, profile_key(key, self.family), self._alive)
        if entry is None:
            return None
        with entry:
            try:
                return None if entry.size > PROFILE_BYTES else self._profile_in(entry.body(), track)
            except (DhError, Stopped):
                raise
            except Exception:  # noqa: BLE001 - whatever a family makes of damaged bytes, it is as good as absent
                return None

    def _profile_in(self, data: bytes, track: FaceTrack) -> Any:
        return self.family.profile(data, track.totals.persons)

    def _rows(self, track: FaceTrack) -> Iterator[FaceRow]:
        for row in track.rows():
            self._alive()  # four hours of video take half a minute here
            yield row

    def _frames(self) -> Iterator[Frame]:
        plan = self.plan
        return read_frames(
            self.scope, plan.video_file, plan.video, plan.format, count=plan.analysed_frames, stage="analyse"
        )

    def _progress(self) -> Callable[[], None]:
        done = itertools.count(1)

        def one_more() -> None:
            self.scope.check()
            with self.scope.waiting("analyse"):
                self.notify("analyse", next(done), self.plan.analysed_frames)

        return one_more

    def _wanted_face(self) -> View | None:
        """What the photo of the rule `like:` shows; None for other rules."""
        file = self.plan.photo_file
        if file is None:
            return None
        info = probe_video(self.scope, file)
        fmt = frame_format(info)
        (picture,) = read_frames(self.scope, file, info, fmt, count=1, stage="analyse")
        try:
            return look_of(picture, fmt.colour, self.finder)
        except DhError as error:
            raise error.about(file.label) from None

    def _alive(self) -> None:
        self.scope.check()
        self.scope.beat("analyse")


def track_key(plan: Plan, finder: FaceFinder) -> str | None:
    """The key of the job's track; None where the hash of an input is unknown until it is read."""
    contents, fmt, face = plan.contents, plan.format, plan.job.options.face
    if parse_face(face).photo is not None:
        if contents.photo is None:
            return None
        face = LIKE + contents.photo
    if contents.video is None:
        return None
    return key_of(
        {
            "format": FORMAT,
            "analysis": VERSION,
            "dh": __version__,
            "content": contents.video,
            "frames": plan.analysed_frames,
            "fps": rate_text(fmt.fps),  # all else of the frames' format follows from the content
            "face": face,
            "finder": finder.bundle.sha256,
            "providers": finder.providers,
            "ffmpeg": ffmpeg_build(find_ffmpeg()),  # these four may round in another way in another version
            "onnxruntime": runtime_version(),
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        }
    )


def profile_key(track: str, family: Family) -> str:
    """The key of what the family keeps of the persons in the track with the key `track`."""
    model = family.model
    return key_of(
        {
            "track": track,
            "family": family.name,
            "version": family.version,
            "model": model.bundle.sha256,
            "provider": model.provider,  # a profiler may have a network, and that rounds in another way elsewhere
            "precision": model.precision,
        }
    )


def _check_presence(plan: Plan, track: FaceTrack, trace: Trace) -> None:
    """Whether the frames that are shown have the face often enough; those that were only analysed do not count."""
    job, options, frames = plan.job, plan.job.options, plan.source_frames
    stretches = track.missing_among(frames)
    missing = sum(last - first + 1 for first, last in stretches)
    trace.sightings = track.totals.sightings
    trace.face_missing, trace.face_missing_ranges = missing, list(stretches)
    if missing == frames:
        raise DhError(
            "face.not_found",
            f"video {job.video}: the chosen face was not found in any of the {frames} frames that are shown; "
            "it is there later on.",
            hint="Cut off the beginning without the face.",
            stage="analyse",
        )
    others = options.face != "any" and any(not one.taken for one in trace.sightings)
    any_face = ", set face: any to take whoever is there" if others else ""
    limit = 0.0 if options.on_no_face == "fail" else options.max_face_missing
    if missing > limit * frames:
        raise DhError(
            "face.lost",
            f"video {job.video}: the chosen face was not found in {missing} of {frames} frames "
            f"(limit {limit * 100:g} %): {_in_words(stretches)}.",
            hint=f"Trim the clip{any_face}, or raise max_face_missing.",
            stage="analyse",
            frame=stretches[0][0],
        )
    if missing:
        found = f"The chosen face was not found in {missing} of {frames} frames; they stay as they are: "
        somebody = " Somebody else is in the video; face: any takes whoever is there." if others else ""
        trace.warn("face.missing", f"{found}{_in_words(stretches)}.{somebody}")


def _tell_of_others(plan: Plan, trace: Trace) -> None:
    """Warn where `largest` took one of several persons: it may be a poster, or the one who only listens."""
    taken = max(trace.sightings, key=lambda one: one.taken, default=None)
    if plan.job.options.face != "largest" or taken is None:
        return
    others = [
        one
        for one in trace.sightings
        if not one.taken and one.looks >= OTHERS_LOOKS and one.box.width * OTHERS_SIZE >= taken.box.width
    ]
    if others:
        where = "; ".join(map(_place, others[:PERSONS_TOLD])) + ("; …" if others[PERSONS_TOLD:] else "")
        trace.warn(
            "face.several",
            f"The video shows {1 + len(others)} persons. The mouth is that of the one {_place(taken)}. "
            f"Stays as filmed: {where}. If another one is meant, set face, as face: box:{_box(others[0])}.",
        )


def _place(one: Sighting) -> str:
    x, y = one.box.centre
    return f"at {x:.0f},{y:.0f} from frame {one.first} to {one.last}"


def _box(one: Sighting) -> str:
    box = one.box
    return ",".join(str(max(0, round(side))) for side in (box.x, box.y, box.width, box.height))


def _tell_of_cover(plan: Plan, track: FaceTrack, trace: Trace) -> None:
    """Warn of frames that are shown with something in front of the mouth."""
    stretches = track.covered_among(plan.source_frames)
    trace.mouth_covered_ranges = list(stretches)
    if stretches:
        covered = sum(last - first + 1 for first, last in stretches)
        found = (
            f"Something is in front of the mouth in {covered} of {plan.source_frames} frames; they stay as they are: "
        )
        trace.warn("mouth.covered", f"{found}{_in_words(stretches)}.")


def _in_words(ranges: Ranges) -> str:
    told = ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in ranges[:RANGES_TOLD])
    return told + (", …" if len(ranges) > RANGES_TOLD else "")
