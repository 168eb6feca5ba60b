"""The avatar of a planned job, its face track: from the store, or made and put there, and whether it is good enough.

It owns the key under which a track is kept: everything that decides one bit of it. How a face is followed is not known
here, and neither is what is rendered with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np

from dhcli import __version__
from dhcli.disk.scratch import Scratch
from dhcli.disk.store import Store, key_of
from dhcli.errors import DhError
from dhcli.families.family import Family
from dhcli.jobs.options import LIKE, parse_face
from dhcli.media.ffmpeg import ffmpeg_build, find_ffmpeg
from dhcli.media.info import frame_format
from dhcli.media.probe import probe_video
from dhcli.media.reader import read_frames
from dhcli.networks.network import runtime_version
from dhcli.render.analysis import VERSION, analyse, look_of
from dhcli.render.plan import Plan, Trace
from dhcli.render.track_file import FORMAT, FaceTrack, unpack
from dhcli.runtime.scope import Scope
from dhcli.stages.appearance import View
from dhcli.timing import rate_text

KIND = "track"
NETWORKS = ("detect", "landmarks", "geometry")
"""The files of a model that the analysis uses; another voice or mouth needs no other analysis."""
CACHE_UNUSABLE = "cache.unusable"
RANGES_TOLD = 8

Notify = Callable[[str, int, int | None], None]
"""Called with stage, frames done, frames in all."""


def face_track(
    plan: Plan, family: Family, scope: Scope, trace: Trace, notify: Notify, store: Store, scratch: Scratch
) -> FaceTrack:
    """The face in the frames that the job shows, kept in a file of `scratch`.

    Raises DhError face.*, model.*, input.*, output.*; Stopped.
    """

    def alive() -> None:
        scope.check()
        scope.beat("analyse")

    key = track_key(plan, family)
    kept = _kept(plan, family, store, key, scratch, alive) if key is not None else None
    trace.analysis = "made" if kept is None else "cached"
    track = kept if kept is not None else _made(plan, family, scope, notify, scratch, alive)
    try:
        if kept is not None:
            with scope.waiting("analyse"):
                notify("analyse", kept.frames, kept.frames)
        elif key is not None:
            _keep(plan, track, store, key, alive)
        if (trouble := store.take_trouble()) is not None:
            trace.warn(CACHE_UNUSABLE, f"Not kept in the cache: {trouble}.")
        _check_presence(plan, track, trace)
    except BaseException:
        track.close()
        raise
    return track


def track_key(plan: Plan, family: Family) -> str | None:
    """The key of the job's track; None where a content is not known."""
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
            "networks": [family.bundle.files[role].sha256 for role in NETWORKS],
            "providers": family.face_finders,
            "ffmpeg": ffmpeg_build(find_ffmpeg()),  # these four may round in another way in another version
            "onnxruntime": runtime_version(),
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        }
    )


def _kept(
    plan: Plan, family: Family, store: Store, key: str, scratch: Scratch, alive: Callable[[], None]
) -> FaceTrack | None:
    entry = store.get(KIND, key, alive)
    if entry is None:
        return None
    return unpack(entry, family.geometry, plan.format, plan.analysed_frames, scratch, alive)


def _keep(plan: Plan, track: FaceTrack, store: Store, key: str, alive: Callable[[], None]) -> None:
    """The key tells what the inputs were when they were hashed; it has to be what the analysis saw, too."""
    plan.check_unchanged(alive)
    head, body = track.pack(alive)
    store.put(KIND, key, head, body)


def _made(
    plan: Plan, family: Family, scope: Scope, notify: Notify, scratch: Scratch, alive: Callable[[], None]
) -> FaceTrack:
    wanted = _wanted_face(plan, family, scope)
    frames = read_frames(scope, plan.video_file, plan.video, plan.format, count=plan.analysed_frames, stage="analyse")
    done = itertools.count(1)

    def progress() -> None:
        scope.check()
        with scope.waiting("analyse"):
            notify("analyse", next(done), plan.analysed_frames)

    try:
        face = plan.job.options.face
        return analyse(frames, plan.format, family, face, progress, scratch=scratch, wanted=wanted, alive=alive)
    except DhError as error:
        if error.code.startswith("face."):  # the analysis sees pictures and does not know whose they are
            raise error.about(plan.video_file.label) from None
        raise
    finally:
        family.close_finders()


def _wanted_face(plan: Plan, family: Family, scope: Scope) -> View | None:
    """What the photo of the rule `like:` shows; None for other rules."""
    file = plan.photo_file
    if file is None:
        return None
    info = probe_video(scope, file)
    fmt = frame_format(info)
    (picture,) = read_frames(scope, file, info, fmt, count=1, stage="analyse")
    try:
        return look_of(picture, fmt.colour, family)
    except DhError as error:
        raise error.about(file.label) from None


def _check_presence(plan: Plan, track: FaceTrack, trace: Trace) -> None:
    """Whether the frames that are shown have the face often enough; those that were only analysed do not count."""
    job, options, frames = plan.job, plan.job.options, plan.source_frames
    stretches = track.missing_among(frames)
    missing = sum(last - first + 1 for first, last in stretches)
    trace.face_missing, trace.face_missing_ranges = missing, list(stretches)
    if missing == frames:
        raise DhError(
            "face.not_found",
            f"video {job.video}: no face in any of the {frames} frames that are shown; it has one later on.",
            hint="Cut off the beginning without the face.",
            stage="analyse",
        )
    limit = 0.0 if options.on_no_face == "fail" else options.max_face_missing
    if missing > limit * frames:
        ranges = ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in stretches[:RANGES_TOLD])
        more = ", …" if len(stretches) > RANGES_TOLD else ""
        raise DhError(
            "face.lost",
            f"video {job.video}: no face in {missing} of {frames} frames (limit {limit * 100:g} %): {ranges}{more}.",
            hint="Trim the clip, or raise max_face_missing.",
            stage="analyse",
            frame=stretches[0][0],
        )
    if missing:
        trace.warn("face.missing", f"{missing} of {frames} frames show no face and stay as they are.")
