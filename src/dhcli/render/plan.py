"""What a job is going to do, known from probing its inputs, before anything is rendered."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from dhcli.errors import DhError
from dhcli.jobs.formats import EncoderName, ending_of
from dhcli.jobs.options import Job, JobOptions
from dhcli.media.besides import Keeping, keeping, wanted_kinds
from dhcli.media.encoders import chosen
from dhcli.media.ffmpeg_errors import cut_error, damage_message
from dhcli.media.info import AudioInfo, VideoInfo, frame_format
from dhcli.media.input_file import CHEAP_BYTES, InputFile
from dhcli.media.input_limits import MAX_DURATION_S
from dhcli.media.kept import Kept, read_kept
from dhcli.media.playback import Footage, check_length
from dhcli.media.sound_track import OwnSound, Sound
from dhcli.render.probes import Probes
from dhcli.render.trace import Trace
from dhcli.runtime.scope import Scope
from dhcli.timing import frame_count
from dhcli.types import FrameFormat

ANALYSED_S = 30
"""A video of this length is analysed in whole; of a longer one this, twice this, four times this, …"""

RENDERED_SHARE = 32
"""An input is hashed in 0.3 % of the render's time where the rendered frames have so many times more bytes than it."""
MAY_BE_A_CHANGE = ("input.", "decode.", "encode.", "audio.", "face.", "output.mismatch")
"""Codes of errors that an input causes by changing while it is read: half of a copy looks damaged, or has no face."""


@dataclass(frozen=True, slots=True)
class Contents:
    """SHA-256 of the inputs' contents; None where it is unknown until the input is read."""

    video: str | None = None
    audio: str | None = None
    photo: str | None = None
    """Of the photo that the option `face` names."""


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """The inputs of a job, open."""

    video: InputFile
    audio: InputFile
    photo: InputFile | None = None
    """The photo that the option `face` names."""
    contents: Contents = field(default_factory=Contents)


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """Limits of a run that change what a job renders, or whether it does."""

    frames: int | None = None
    """Most frames of an output; None: as many as the sound has."""
    max_duration_s: float = MAX_DURATION_S
    """Longest input, s."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be rendered."""

    job: Job
    video_file: InputFile
    audio_file: InputFile
    photo_file: InputFile | None
    """Of the photo that the option `face` names."""
    video: VideoInfo
    audio: AudioInfo
    format: FrameFormat
    frames: int
    """Frames of the output."""
    source_frames: int
    """Frames of the video that are needed for it."""
    analysed_frames: int
    """Frames of it in which the face is followed: at least those, often more, so that other jobs share the analysis."""
    duration: Fraction
    """Length of the output, s."""
    contents: Contents
    channel: int | None = None
    """Of the sound, from 0, which the mouth follows; None: the mix of all."""
    encoder: EncoderName = "libx264"
    """The one that encodes it."""
    own: OwnSound | None = None
    """The video's own sound where it is to be heard."""
    keeping: Keeping = field(default_factory=Keeping)
    """What of the video besides pictures is kept."""

    @property
    def sound(self) -> Sound:
        """The output's sound."""
        options, ending = self.job.options, ending_of(self.job.save_path)
        lead = exact_s(options.lead)
        return Sound(
            self.audio_file, self.audio, options.audio_codec, options.trim, self.duration, ending, lead, self.own
        )

    @property
    def speech(self) -> tuple[Fraction, Fraction]:
        """Where the speech begins and ends in the output, s."""
        lead = exact_s(self.job.options.lead)
        return lead, lead + self.audio.used(self.job.options.trim)

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """All files that the output is made from."""
        photo = () if self.photo_file is None else (self.photo_file,)
        return (self.video_file, self.audio_file, *photo)

    def check_unchanged(self, alive: Callable[[], None]) -> None:
        """Raise DhError input.changed where an input is not what was hashed. `alive` is called after every MiB read."""
        cheap_bytes = max(CHEAP_BYTES, self.frames * self.format.frame_bytes // RENDERED_SHARE)
        for file in self.inputs:
            file.check_unchanged(alive, cheap_bytes=cheap_bytes)


def plan_job(
    job: Job, inputs: PlanInputs, scope: Scope, trace: Trace, probes: Probes, limits: PlanLimits | None = None
) -> Plan:
    """Probe both inputs, as far as `probes` has not kept it, and say what the output will be.

    Raises DhError input.*, audio.too_short.
    """
    limits, contents = limits or PlanLimits(), inputs.contents
    with trace.timed("probe"), scope.stage("probe"), unchanged(scope, "probe", inputs.video, inputs.audio):
        video = trace.video = probes.video(scope, inputs.video, contents.video, limits.max_duration_s)
        track = job.options.audio_track or ""
        audio = trace.audio = probes.audio(scope, inputs.audio, contents.audio, limits.max_duration_s, track)
        trace.channel = heard_channel(inputs.audio, audio, job.options.channel)
    trace.warnings.extend(video.warnings)
    options = job.options
    encoder, note = chosen(options.encoder, ending_of(job.save_path))
    if note:
        trace.warn("encoder.fallback", note)
    _tell_damage(inputs.video, video, options, trace)
    _tell_damage(inputs.audio, audio, options, trace)
    fmt = frame_format(video, options.fps)
    available = video.frames_at(fmt.fps)
    duration = audio.used(options.trim)
    lead, tail = exact_s(options.lead), exact_s(options.tail)
    _refuse_short(job, duration, fmt)
    _tell_trim(inputs.audio, audio, options, fmt, trace)
    duration += lead + tail
    _tell_stretches(options, duration, trace)
    frames = frame_count(duration, fmt.fps)
    own = _own_sound(job, inputs, scope, trace, probes, limits, is_longer=frames > available)
    is_limited = limits.frames is not None and limits.frames < frames
    if limits.frames is not None and is_limited:
        frames, duration = limits.frames, limits.frames / fmt.fps
    check_length(Footage(inputs.video, video, fmt), frames, options.loop)
    trace.planned = frames
    needed = min(available, frames)
    return Plan(
        job=job,
        video_file=inputs.video,
        audio_file=inputs.audio,
        photo_file=inputs.photo,
        video=video,
        audio=audio,
        format=fmt,
        frames=frames,
        source_frames=needed,
        analysed_frames=needed if is_limited else analysed_frames(available, needed, fmt.fps),
        duration=duration,
        contents=contents,
        channel=trace.channel,
        encoder=encoder,
        own=own,
        keeping=_keeping(inputs.video, video, options, fmt, trace),
    )


def _refuse_short(job: Job, duration: Fraction, fmt: FrameFormat) -> None:
    """Raise DhError audio.too_short where so much sound, s, is less than a frame."""
    if duration * fmt.fps < 1:
        raise DhError(
            "audio.too_short",
            f"audio {job.audio}: {float(duration) * 1000:.1f} ms of sound is less than one video frame "
            f"({1000 / float(fmt.fps):.1f} ms).",
            hint="Give a longer sound" + (", or widen 'trim'." if job.options.trim else "."),
            stage="probe",
        )


def exact_s(seconds: float) -> Fraction:
    """The seconds as they were written: 0.1 is a tenth."""
    return Fraction(str(seconds))


def _keeping(file: InputFile, video: VideoInfo, options: JobOptions, fmt: FrameFormat, trace: Trace) -> Keeping:
    as_filmed = fmt.fps == video.fps and not video.vfr
    kept = keeping(video.besides, wanted_kinds(options.keep), fmt.fps, as_filmed=as_filmed)
    if kept.dropped:
        trace.warn("input.dropped", f"{file.label}: the output cannot keep {kept.dropped}.")
    return kept


def kept_of(plan: Plan, scope: Scope, trace: Trace) -> Kept:
    """What the output keeps of its video besides pictures, which belongs to the first lap through the video.

    Raises DhError input.changed, env.*; Stopped.
    """
    shown = min(plan.duration, plan.source_frames / plan.format.fps)
    with trace.timed("probe"), scope.stage("probe"), unchanged(scope, "probe", plan.video_file):
        kept, lost = read_kept(scope, plan.video_file, plan.video, plan.keeping, shown)
    if lost:
        trace.warn("input.dropped", f"{plan.video_file.label}: the output cannot keep {lost}.")
    return kept


def _own_sound(
    job: Job,
    inputs: PlanInputs,
    scope: Scope,
    trace: Trace,
    probes: Probes,
    limits: PlanLimits,
    *,
    is_longer: bool,
) -> OwnSound | None:
    """The video's own sound, where the job wants it and it can be used. `is_longer`: the output than the video."""
    options = job.options
    if options.own_sound == "drop":
        return None
    try:
        with trace.timed("probe"), scope.stage("probe"), unchanged(scope, "probe", inputs.video):
            info = probes.audio(scope, inputs.video, inputs.contents.video, limits.max_duration_s)
    except DhError as error:
        if not error.code.startswith(("input.", "audio.")) or error.code == "input.changed":
            raise
        trace.warn("audio.own_missing", f"own_sound is {options.own_sound}, but {error.message}")
        return None
    repeats = is_longer and options.loop in ("pingpong", "restart")
    return OwnSound(inputs.video, info, options.own_sound, options.own_level, repeats)


def heard_channel(file: InputFile, audio: AudioInfo, wanted: str) -> int | None:
    """The channel, from 0, that the option `channel` means; None: the mix of all. Raises DhError input.unsupported."""
    if wanted == "auto":
        return audio.louder
    number = {"left": 1, "right": 2}.get(wanted) or int(wanted)
    if number > audio.channels:
        finding = f"has no channel {number} ({audio.channels} of them)"
        raise file.error("input.unsupported", finding, hint="Set channel: auto, or the number of one that it has.")
    return number - 1


def _tell_damage(file: InputFile, info: VideoInfo | AudioInfo, options: JobOptions, trace: Trace) -> None:
    """Warn of damage. Raises DhError input.truncated where the file ends early and the job does not want it so."""
    if info.cut and options.on_damage != "use":
        raise cut_error(file, info.cut).at("probe")
    if info.cut:
        trace.warn("input.damaged", f"{file.label}: it ends early: {info.cut}. What is there is used.")
    if info.damage:
        trace.warn("input.damaged", damage_message(file, info.damage))


def _tell_trim(file: InputFile, audio: AudioInfo, options: JobOptions, fmt: FrameFormat, trace: Trace) -> None:
    """Warn where the sound ends more than a frame before the end of `trim`: a slip in a time, or in the file."""
    end = options.trim.end if options.trim is not None else None
    if end is not None and (end - audio.duration) * fmt.fps > 1:
        text = f"trim goes to {float(end):g} s, but the sound has {float(audio.duration):.3f} s."
        trace.warn("audio.short", f"{file.label}: {text} What is there is used.")


def _tell_stretches(options: JobOptions, duration: Fraction, trace: Trace) -> None:
    """Warn of stretches of `leave` and `speak` that begin at the output's end, or after it."""
    for name, stretches in (("leave", options.leave), ("speak", options.speak)):
        beyond = [start for start, _ in (stretches.parts if stretches is not None else ()) if start >= duration]
        if beyond:
            text = (
                f"{name} has a stretch from {float(beyond[0]):g} s on, but the output ends at {float(duration):.3f} s."
            )
            trace.warn("audio.short", f"{text} It is left out.")


def analysed_frames(available: int, needed: int, fps: Fraction) -> int:
    """How many of a video's `available` frames are analysed where `needed` are shown.

    The number changes pixels, since a person's rest shape and reference come from all analysed frames. So it may not
    depend on a cache, and only coarsely on the speech: speeches of any length over one video share a few analyses.
    """
    enough = ANALYSED_S * fps
    while enough < needed:
        enough *= 2
    return min(available, math.ceil(enough))


@contextlib.contextmanager
def unchanged(scope: Scope, stage: str, *files: InputFile) -> Iterator[None]:
    """Replace the block's error by DhError input.changed where an input has changed, which may be the real cause."""
    try:
        yield
    except DhError as error:
        if error.code.startswith(MAY_BE_A_CHANGE) and error.code != "input.changed":
            for file in files:
                file.check_unchanged(lambda: scope.alive(stage))
        raise
