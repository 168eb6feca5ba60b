"""The one error tree and the one table of codes: what can go wrong, what it stops, and how a run ends.

Every failure that a person or a program can see is a `DhError` whose code stands in `CODES`. Foreign exceptions are
translated where the foreign library is called; what nobody foresaw becomes `internal.bug` with its traceback.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Stops = Literal["run", "job"]


@dataclass(frozen=True, slots=True)
class Code:
    """One line of the table in docs/results.md."""

    name: str
    meaning: str
    stops: Stops
    exit_code: int
    """Exit code of a run that ends because of this error."""
    transient: bool = False
    """Another attempt can succeed without anybody changing anything."""


TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""What any call that opens something may say, wherever it stands: never the fault of that file."""
NONE_LEFT = TOO_MANY_FILES | {errno.EAGAIN, errno.ENOMEM}
"""What the system says where it has no process, no memory or no descriptor left to start a program with."""
NO_THREAD = "can't start new thread"
"""What Python says where it has no thread left."""

OK, FAILED, USAGE = 0, 1, 2
DATA_INVALID, NO_INPUT, UNAVAILABLE, BUG, RESULTS_LOST, TRY_LATER = 65, 66, 69, 70, 74, 75

EXIT_CODES: dict[int, str] = {
    OK: "every selected job succeeded or was up to date",
    FAILED: "the batch reached its end; at least one job failed for good",
    USAGE: "the command line is wrong",
    DATA_INVALID: "the manifest is invalid; nothing was rendered",
    NO_INPUT: "the manifest is missing or unreadable; nothing was rendered",
    UNAVAILABLE: "ffmpeg, the model or the device is missing or unfit; nothing was rendered",
    BUG: "a bug in dh",
    RESULTS_LOST: "results could not be written",
    TRY_LATER: "try again later: locked, device lost, disk full or not answering, or every failure left is transient",
}
"""Exit codes of `dh`, besides 128+N for a run ended by signal N."""


def _table(*codes: Code) -> dict[str, Code]:
    return {code.name: code for code in codes}


CODES: dict[str, Code] = _table(
    Code("manifest.unreadable", "the manifest is missing or cannot be read", "run", NO_INPUT),
    Code("manifest.syntax", "the manifest is not YAML as dh reads it", "run", DATA_INVALID),
    Code("manifest.limit", "the manifest is larger or deeper than the limits", "run", DATA_INVALID),
    Code("manifest.invalid", "a key, type or value is wrong", "run", DATA_INVALID),
    Code(
        "manifest.conflict",
        "a job would write a file that another job writes, or that the run reads",
        "run",
        DATA_INVALID,
    ),
    Code("env.ffmpeg_missing", "there is no ffmpeg to run", "run", UNAVAILABLE),
    Code("env.ffmpeg_unusable", "ffmpeg does not start, or lacks what dh needs", "run", UNAVAILABLE),
    Code("env.device_unavailable", "the device asked for cannot be used", "run", UNAVAILABLE),
    Code("env.no_proc", "/proc is not mounted, so that open files cannot be handed to ffmpeg", "run", UNAVAILABLE),
    Code("env.locked", "another dh is writing this output, or holds the run lock", "job", TRY_LATER, transient=True),
    Code("env.lock_unusable", "the file of --run-lock cannot be a lock", "run", UNAVAILABLE),
    Code("env.disk_full", "the disk has too little room to go on", "run", TRY_LATER, transient=True),
    Code("env.limits", "a limit of the system (open files, processes, memory) is too low", "run", UNAVAILABLE),
    Code("model.missing", "a model file is not there", "run", UNAVAILABLE),
    Code("model.corrupt", "a model file is damaged, or not the one its descriptor names", "run", UNAVAILABLE),
    Code("model.incompatible", "a model's names, shapes or types differ from its descriptor", "run", UNAVAILABLE),
    Code("model.failed", "a network raised an error", "job", FAILED, transient=True),
    Code("model.bad_output", "a network gave NaN, infinity or a constant", "job", FAILED, transient=True),
    Code("device.out_of_memory", "the device has too little memory", "job", FAILED, transient=True),
    Code("device.lost", "the device failed; its context cannot be used again", "run", TRY_LATER, transient=True),
    Code("input.missing", "an input is not there", "job", FAILED),
    Code("input.not_regular", "an input is a folder, pipe or device", "job", FAILED),
    Code("input.unreadable", "an input may not be read", "job", FAILED),
    Code("input.empty", "an input has no bytes", "job", FAILED),
    Code("input.not_media", "an input is no audio, video or image that ffmpeg reads", "job", FAILED),
    Code("input.no_video", "a video has no video stream", "job", FAILED),
    Code("input.no_audio", "an audio has no audio stream", "job", FAILED),
    Code("input.no_frames", "a video stream has no frame", "job", FAILED),
    Code("input.corrupt", "an input has damaged data", "job", FAILED),
    Code("input.truncated", "an input ends before its own promise", "job", FAILED),
    Code("input.unsupported", "an input is of a kind that dh does not render", "job", FAILED),
    Code("input.too_large", "a picture has more pixels than the limit", "job", FAILED),
    Code("input.too_short", "a video is shorter than the speech, and the job says not to loop it", "job", FAILED),
    Code("input.too_long", "an input is longer than the limit", "job", FAILED),
    Code("input.changed", "an input changed while it was read", "job", FAILED, transient=True),
    Code("audio.too_short", "the audio is shorter than one video frame", "job", FAILED),
    Code("audio.invalid", "the audio has samples that are not numbers", "job", FAILED),
    Code("face.not_found", "no frame shows a face", "job", FAILED),
    Code("face.lost", "the face is missing in more frames than the limit", "job", FAILED),
    Code("face.too_small", "the face has too few pixels to work on", "job", FAILED),
    Code("decode.failed", "the decoder died", "job", FAILED, transient=True),
    Code("encode.failed", "the encoder died", "job", FAILED, transient=True),
    Code(
        "stalled",
        "a stage made no progress for the stall timeout, or a disk gave no answer",
        "job",
        FAILED,
        transient=True,
    ),
    Code(
        "output.exists",
        "a file with the name of the output or of its result exists and may not be replaced",
        "job",
        FAILED,
    ),
    Code("output.not_writable", "the output's folder is missing or cannot be written", "job", FAILED),
    Code("output.disk_full", "the output's disk is full", "run", TRY_LATER),
    Code("output.mismatch", "what was written is not what was planned", "job", FAILED, transient=True),
    Code("job.timeout", "the job took longer than --timeout", "job", FAILED),
    Code("job.cancelled", "a signal ended the job", "job", FAILED),
    Code("job.out_of_memory", "the machine or its memory limit has too little memory", "job", FAILED, transient=True),
    Code("job.poison", "the job killed the process before and is not tried again", "job", FAILED),
    Code("internal.bug", "something unforeseen; please report it", "job", BUG),
)


WARNINGS: dict[str, str] = {
    "input.vfr": "the frame rate varies; frames are repeated or left out to make it constant",
    "input.interlaced": "the video is interlaced and is deinterlaced",
    "input.alpha": "the transparency is dropped",
    "input.hdr": "the video is HDR and is tone-mapped",
    "input.high_bit_depth": "the video has more than 8 bits a sample and becomes 8",
    "input.padded": "the size is odd; one column or row is repeated",
    "audio.silent": "nobody speaks in the audio; the mouth stays closed",
    "face.missing": "some frames show no face and stay as they are",
    "cache.unusable": "something could not be kept in the cache; a later job works it out again",
    "device.fallback": "the device asked for cannot be used; the CPU is",
    "result.unreadable": "the earlier result file is damaged and is replaced",
    "run.stopped": "the run starts no more jobs; the message says why",
    "result.lost": "the result file could not be written; it stands in the message",
    "events.lost": "stdout could not be written; the rest of the events of --json is missing",
    "report.lost": "the log, metrics or JUnit file could not be written",
    "on_finish.failed": "the command of --on-finish did not start, failed or took too long",
    "monitor.failed": "a part of what the job uses could not be measured",
}
"""What a job may remark on without failing."""


class DhError(Exception):
    """A failure with its code, one sentence of what was found where, and what to do about it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        stage: str | None = None,
        frame: int | None = None,
        stderr_tail: Iterable[str] = (),
    ) -> None:
        if code not in CODES:
            raise KeyError(f"unknown error code {code!r}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.stage = stage
        self.frame = frame
        self.stderr_tail = tuple(stderr_tail)

    @property
    def info(self) -> Code:
        return CODES[self.code]

    def at(self, stage: str, frame: int | None = None) -> DhError:
        """The same error with stage and frame filled in where they were not known yet."""
        self.stage = self.stage or stage
        self.frame = frame if self.frame is None else self.frame
        return self

    def about(self, subject: str) -> DhError:
        """The same error with its subject in front: `video /in/a.mp4: …`."""
        self.message = f"{subject}: {self.message}"
        self.args = (self.message,)
        return self


UNMAPPED = re.compile(r"failed to map segment|cannot allocate memory", re.IGNORECASE)
"""What the loader of shared libraries says at a limit of addresses."""
MORE_THREADS = "Raise the limits of processes or memory (ulimit -u, -v; pids.max of a container)."
MORE_MEMORY = "Raise the limits of memory and of threads: ulimit -v unlimited, ulimit -u 4096"


class ManifestError(DhError):
    """Everything that is wrong with a manifest, one line a problem, so that one run shows it all."""

    def __init__(self, code: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(code, "\n".join(self.problems), stage="manifest")


def describe(error: BaseException) -> str:
    """Type and text of any exception; never empty, since `str(queue.Empty())` and its like are ''."""
    text = str(error).strip()
    if text:
        return f"{type(error).__name__}: {text}"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" in {last[0].name}, {last[0].filename}:{last[0].lineno}" if last else ""
    return f"{type(error).__name__} (no text){where}"


def causes(error: BaseException) -> list[str]:
    """The chain of exceptions behind `error`, nearest first."""
    chain: list[str] = []
    seen = {id(error)}
    at = error.__cause__ or error.__context__
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        chain.append(describe(at))
        at = at.__cause__ or at.__context__
    return chain


def as_dh_error(error: BaseException, stage: str) -> DhError:
    """`error` itself, what a machine at its limits means, or the `internal.bug` that wraps what nobody foresaw."""
    if isinstance(error, DhError):
        return error.at(stage)
    if isinstance(error, MemoryError):
        found = DhError(
            "job.out_of_memory",
            f"Python found too little memory: {describe(error)}",
            hint="End other programs, raise the memory limit, or render smaller pictures.",
            stage=stage,
        )
    elif isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
        found = DhError(
            "env.limits",
            f"A limit of the system is too low: {describe(error)}",
            hint="Raise the limit of open files: ulimit -n 1024",
            stage=stage,
        )
    elif isinstance(error, RuntimeError) and str(error) == NO_THREAD:
        found = DhError("env.limits", f"A thread could not be started: {error}.", hint=MORE_THREADS, stage=stage)
    elif isinstance(error, ImportError) and UNMAPPED.search(str(error)):
        found = DhError("env.limits", f"A library does not fit into the memory: {error}", hint=MORE_MEMORY, stage=stage)
    else:
        found = DhError("internal.bug", describe(error), hint="Please report this with the result file.", stage=stage)
    found.__cause__ = error
    return found
