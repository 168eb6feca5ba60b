"""A planned job to a finished file: listen, analyse, then reader thread, networks here, writer thread.

    video ─ decode ─▶ [reader] ─▶ channel ─▶ speak, paste ─▶ channel ─▶ [writer] ─▶ encode ─▶ part file

The job's `Trace` has what was done so far, also after a failure.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, assert_never

from dhcli.disk.part import PartFile
from dhcli.disk.scratch import Scratch
from dhcli.disk.store import Store
from dhcli.errors import DhError
from dhcli.families.face_crop.enhance import Enhancer
from dhcli.families.family import Conditions, Family, Manner, Patch, Shot
from dhcli.families.guard import faults_of
from dhcli.jobs.formats import ending_of
from dhcli.media.audio import Repeatable, read_waveform
from dhcli.media.kept import Kept
from dhcli.media.playback import Footage, play
from dhcli.media.verify import Expected, VerifiedOutput, verify_output
from dhcli.media.writer import Encoding, VideoWriter
from dhcli.picture.figures import KeptWhy
from dhcli.render.face_finder import FaceFinder
from dhcli.render.face_track import Analysis, Notify
from dhcli.render.left import left_frames
from dhcli.render.picture import Finished, PictureLog
from dhcli.render.plan import Plan, kept_of, unchanged
from dhcli.render.trace import Trace
from dhcli.render.track_file import FaceTrack
from dhcli.runtime.channel import Channel, EndOfStream
from dhcli.runtime.scope import TICK_S, Scope
from dhcli.runtime.threads import start_thread
from dhcli.stages.align import YuvMatrix, yuv_matrix
from dhcli.types import Frame

SLOW_DISK_BYTES_S = 5 << 20
"""Flushing a file shows no progress; a disk slower than this counts as stuck."""
NOISY_DB = -15.0
"""Loudness of the pauses, relative to the speech, from which noise spoils the mouth: with pink, white or street noise
there, the opening of `dh-base` correlates by 0.86 to 0.91 with the clean one's; by 0.94 at -20 dB, 0.75 at -10 dB."""
CHANNEL_FRAMES = 4
"""Bound of each channel, unless a batch is larger; 8 render no more frames a second."""
CHANNEL_BYTES = 24 << 20
"""Bound of each channel, and of a batch: fewer frames where those would be larger than this, 2 at 2160p."""


def channel_frames(frame_bytes: int, batch: int) -> int:
    """Frames that may wait in a channel: at least a batch, except where `CHANNEL_BYTES` allows fewer."""
    return max(1, min(max(CHANNEL_FRAMES, batch), CHANNEL_BYTES // frame_bytes))


@dataclass(frozen=True, slots=True)
class Rendering:
    """What one render works with."""

    plan: Plan
    finder: FaceFinder
    family: Family
    enhancer: Enhancer | None
    """What sharpens the new face."""
    scope: Scope
    trace: Trace
    """Filled in while the job runs."""
    part: PartFile
    """What the output is written into."""
    notify: Notify
    scratch: Scratch
    """Where the face track and frames that are shown again may lie."""
    store: Store = field(default_factory=lambda: Store(None, 0))
    """Earlier analyses."""
    batch: int | None = None
    """Most frames that go through the main network at once; None: as many as the model is fastest with."""


def render_job(rendering: Rendering) -> VerifiedOutput:
    """Render a planned job into its part and read it back. The caller commits the part.

    Raises the DhError that ended the job; Stopped where that error stands in the scope.
    """
    plan, scope, trace, part = rendering.plan, rendering.scope, rendering.trace, rendering.part
    inputs = plan.inputs
    with trace.timed("listen"), scope.stage("listen"), unchanged(scope, "listen", *inputs):
        with scope.waiting("listen"):
            rendering.notify("listen", 0, None)
        conditions = _listen(rendering)
    with trace.timed("analyse"), scope.stage("analyse"), unchanged(scope, "analyse", *inputs):
        analysis = Analysis(
            plan=plan,
            finder=rendering.finder,
            family=rendering.family,
            scope=scope,
            trace=trace,
            notify=rendering.notify,
            store=rendering.store,
            scratch=rendering.scratch,
        )
        track, profile = analysis.run()
    kept = kept_of(plan, scope, trace)
    with track:
        with trace.timed("render"):
            render = _Render(rendering, track, profile, conditions, kept)
            thumbnails = render.run()
        for file in inputs:
            trace.warnings.extend(file.remarks.items())
        with scope.stage("commit", limit_s=os.fstat(part.fd).st_size / SLOW_DISK_BYTES_S):
            part.flush()  # it may take minutes; what is read back afterwards is what will be renamed
        with trace.timed("verify"), scope.stage("verify"), unchanged(scope, "verify", *inputs):
            finished = Finished(scope, plan, part, rendering.finder, track, render.log)
            verified = _verified(rendering, kept, thumbnails, finished.wanted())
        with trace.timed("measure"), scope.stage("verify"):
            finished.measure(verified, trace)
        return verified


def manner_of(plan: Plan, scratch: Scratch) -> Manner:
    """How a planned job wants its model to be used."""
    options = plan.job.options
    return Manner(
        fps=plan.format.fps,
        scratch=scratch,
        gain=None if options.gain == "auto" else options.gain,
        silence=options.silence,
        smoothing_ms=options.smoothing,
        detail=options.detail,
        faithful=options.faithful,
    )


def _listen(rendering: Rendering) -> Conditions:
    plan, family, trim = rendering.plan, rendering.family, rendering.plan.job.options.trim
    waveform = Repeatable(
        lambda: read_waveform(
            rendering.scope, plan.audio_file, plan.audio, rate=family.sample_rate, trim=trim, channel=plan.channel
        )
    )
    with faults_of(family):
        conditions = family.listen(waveform, manner_of(plan, rendering.scratch))
        silent, noise_db = conditions.silent, conditions.noise_db
    if noise_db is not None and noise_db > NOISY_DB:
        noise = f"its pauses are only {-noise_db:.0f} dB quieter than the speech"
        if noise_db >= 0:
            noise = "noise, music or singing is heard in it, and no speech"
        message = (
            f"audio {plan.job.audio}: {noise}; the mouth may follow it badly. A recording without the noise helps."
        )
        rendering.trace.warn("audio.noisy", message)
    if silent:
        message = f"audio {plan.job.audio}: nobody speaks in it; the mouth stays closed."
        rendering.trace.warn("audio.silent", message)
    return conditions


def _verified(rendering: Rendering, kept: Kept, thumbnails: bytes, wanted: Sequence[int]) -> VerifiedOutput:
    plan, scope, part = rendering.plan, rendering.scope, rendering.part
    with scope.waiting("verify"):
        rendering.notify("verify", 0, None)
    expected = Expected(plan.format, plan.frames, plan.sound.end, plan.encoder, thumbnails, kept.has)
    verified = verify_output(scope, part.path, expected, folder=part.folder, wanted=wanted)
    plan.check_unchanged(lambda: scope.alive("verify"))
    return verified


class _Render:
    """Rendering itself: a thread that reads, a thread that writes, and the networks between them."""

    def __init__(
        self, rendering: Rendering, track: FaceTrack, profile: Any, conditions: Conditions, kept: Kept
    ) -> None:
        self._rendering, self._plan, self._family = rendering, rendering.plan, rendering.family
        self._scope, self._trace = rendering.scope, rendering.trace
        self._track, self._profile, self._conditions = track, profile, conditions
        plan, batch = rendering.plan, rendering.batch or rendering.family.model.batch
        noise_db: float | None = getattr(conditions, "noise_db", None)  # a foreign family may not tell it
        self.log = PictureLog(rendering.finder.mesh, plan.source_frames, noise_db)
        self._kept = kept
        self._offset = Fraction(plan.job.options.offset_ms) / 1000 + plan.speech[0]
        self._yuv: YuvMatrix = yuv_matrix(plan.format.colour, plan.format.height)
        capacity = channel_frames(plan.format.frame_bytes, batch)
        self._batch = min(batch, capacity)
        self._decoded: Channel[Frame] = Channel(capacity, self._scope)
        self._rendered: Channel[Frame] = Channel(capacity, self._scope)
        self._thumbnails = b""
        self._left = left_frames(plan.job.options, plan.frames, plan.format.fps, plan.speech)
        self._trace.left_ranges = list(self._left.ranges)

    def run(self) -> bytes:
        """The frames' thumbnails. Raises the job's error, or Stopped where another thread has put it into the scope."""
        threads = [self._thread("decode", self._read), self._thread("encode", self._write)]
        try:
            for thread in threads:
                start_thread(thread)
            with self._scope.stage("speak"):
                self._speak()
                self._scope.idle("speak")
                while threads[1].is_alive():
                    self._scope.check()
                    threads[1].join(TICK_S)
            self._scope.check()
        except BaseException as error:
            self._scope.fail(error, "speak")
            raise
        finally:
            # No time limit: the scope's watchdog ends the process where a failed job does not end.
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            self._trace.reader_wait_s = self._decoded.put_wait_s
            self._trace.writer_wait_s = self._rendered.get_wait_s
        return self._thumbnails

    def _thread(self, stage: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                with self._scope.stage(stage), unchanged(self._scope, stage, *self._plan.inputs):
                    work()
            except BaseException as error:  # noqa: BLE001 - a thread must not die without a word
                self._scope.fail(error, stage)

        return threading.Thread(target=guarded, name=stage, daemon=True)

    def _read(self) -> None:
        plan, job = self._plan, self._plan.job
        footage = Footage(plan.video_file, plan.video, plan.format)
        for frame in play(self._scope, footage, plan.frames, job.options.loop, scratch=self._rendering.scratch):
            self._decoded.put(frame, "decode")
            self._trace.decoded += 1
        self._decoded.end("decode")

    def _speak(self) -> None:
        """Pass every decoded frame on, in order, with its mouth moved where it shows the face."""
        pending: list[tuple[Frame, Shot | KeptWhy]] = []
        for index in itertools.count():
            item = self._decoded.get("speak")
            match item:
                case Frame():
                    pending.append((item, self._shot(index, item)))
                    if len(pending) == self._batch:
                        self._flush(pending)
                case EndOfStream():
                    self._flush(pending)
                    self._expect(item.count, index, "speak")
                    break
                case _:
                    assert_never(item)
        self._rendered.end("speak")

    def _shot(self, index: int, frame: Frame) -> Shot | KeptWhy:
        """What the output's frame `index` is to say, or why it stays as it was filmed."""
        row = self._track.row(frame.index)
        shown = None if row is None or not row.weight else row
        self.log.film(frame, shown)
        weight = self._left.weight(index)
        if not weight:
            return "left"
        if shown is None:
            return "missing" if row is None else "covered"
        with faults_of(self._family):
            condition = self._conditions.at(max(Fraction(0), index / self._plan.format.fps - self._offset))
        face = dataclasses.replace(shown, weight=min(shown.weight, weight))
        return Shot(frame, face, condition, self._profile)

    def _flush(self, pending: list[tuple[Frame, Shot | KeptWhy]]) -> None:
        shots = [shot for _, shot in pending if isinstance(shot, Shot)]
        self._trace.batch = max(self._trace.batch or 0, len(shots)) or None
        began = time.monotonic()
        patches = iter(self._patches(shots) if shots else [])
        self._spent("speak", began)
        for frame, shot in pending:
            began = time.monotonic()
            if isinstance(shot, Shot):
                new = self._pasted(next(patches), shot)
            else:
                new = frame
                self.log.keep(shot)
            self._spent("blend", began)
            self._rendered.put(new, "speak")
            self._trace.rendered += 1
        pending.clear()

    def _patches(self, shots: Sequence[Shot]) -> Sequence[Patch]:
        with faults_of(self._family):
            patches = self._family.speak(shots, self._yuv)
            if len(patches) != len(shots):
                raise ValueError(f"{len(patches)} patches for {len(shots)} shots")
            return patches

    def _pasted(self, patch: Patch, shot: Shot) -> Frame:
        """The frame with the new mouth in it."""
        frame = shot.frame
        with faults_of(self._family):
            self.log.ask(patch)
            new: Frame = patch.paste(frame, shot.face.weight, self._yuv)
            if (enhancer := self._rendering.enhancer) is not None:
                new = enhancer.enhance(new, shot.face, self._yuv)
            if (new.index, new.data.shape, new.data.dtype) != (frame.index, frame.data.shape, frame.data.dtype):
                raise ValueError(f"a frame of shape {new.data.shape} and type {new.data.dtype}, not {frame.data.shape}")
            return new

    def _spent(self, stage: str, began: float) -> None:
        stages = self._trace.stages_s
        stages[stage] = stages.get(stage, 0.0) + time.monotonic() - began

    def _write(self) -> None:
        plan, part, options = self._plan, self._rendering.part, self._plan.job.options
        ending = ending_of(plan.job.save_path)
        encoding = Encoding(plan.encoder, options.crf, options.preset, ending=ending)
        writer = VideoWriter(self._scope, part.path, part.fd, plan.format, encoding, plan.sound, kept=self._kept)
        with writer:
            while isinstance(item := self._rendered.get("encode"), Frame):
                writer.write(item)
                self._trace.encoded += 1
                with self._scope.waiting("encode"):
                    self._rendering.notify("render", self._trace.encoded, plan.frames)
            self._expect(self._trace.encoded, item.count, "encode")
            writer.finish()
        self._thumbnails = bytes(writer.thumbnails)

    def _expect(self, count: int, planned: int, stage: str) -> None:
        if count != planned:
            raise DhError(
                "output.mismatch",
                f"The stage '{stage}' had {count} frames where {planned} were planned.",
                hint="Render again; if it comes back, report it with the result file.",
                stage=stage,
            )
