"""All errors of dh: one class tree, and one table that gives each code its meaning and its exit code.

Every failure that a person or a program sees is a `DhError`, and its code has a line in `CODES`. Where dh calls a
library, it turns that library's exceptions into a `DhError`. An exception that no code describes becomes
`internal.bug`, with its traceback.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Stops = Literal["run", "job"]

ManifestCode = Literal[
    "manifest.unreadable", "manifest.syntax", "manifest.limit", "manifest.invalid", "manifest.conflict"
]
MachineCode = Literal[
    "env.ffmpeg_missing",
    "env.ffmpeg_unusable",
    "env.device_unavailable",
    "env.no_proc",
    "env.locked",
    "env.lock_unusable",
    "env.disk_full",
    "env.limits",
    "device.out_of_memory",
    "device.lost",
]
ModelCode = Literal["model.missing", "model.corrupt", "model.incompatible", "model.failed", "model.bad_output"]
InputCode = Literal[
    "input.missing",
    "input.not_regular",
    "input.unreadable",
    "input.empty",
    "input.not_media",
    "input.no_video",
    "input.no_audio",
    "input.no_frames",
    "input.corrupt",
    "input.truncated",
    "input.unsupported",
    "input.too_large",
    "input.too_short",
    "input.too_long",
    "input.changed",
    "input.unreachable",
    "audio.too_short",
    "audio.invalid",
    "face.not_found",
    "face.lost",
    "face.too_small",
]
OutputCode = Literal["output.exists", "output.not_writable", "output.disk_full", "output.mismatch"]
WorkCode = Literal[
    "decode.failed", "encode.failed", "stalled", "job.timeout", "job.cancelled", "job.out_of_memory", "job.poison",
    "job.strict", "internal.bug",
]  # fmt: skip
Code: TypeAlias = ManifestCode | MachineCode | ModelCode | InputCode | OutputCode | WorkCode
"""The code of an error. A type, so that mypy finds a misspelt code."""
InputWarning = Literal[
    "input.vfr", "input.interlaced", "input.alpha", "input.hdr", "input.high_bit_depth", "input.padded",
    "input.reshaped", "input.damaged", "input.dropped", "audio.short", "audio.own_missing",
]  # fmt: skip
PictureWarning = Literal[
    "audio.silent", "audio.noisy", "face.missing", "face.several", "mouth.covered", "face.small", "mouth.still",
    "picture.soft",
]  # fmt: skip
RunWarning = Literal[
    "cache.unusable", "device.fallback", "encoder.fallback", "result.unreadable", "run.stopped", "result.lost",
    "events.lost", "report.lost", "on_finish.failed", "monitor.failed",
]  # fmt: skip
WarningCode: TypeAlias = InputWarning | PictureWarning | RunWarning
"""The code of a warning."""


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What an error code means; one line of the table in docs/results.md."""

    meaning: str
    stops: Stops
    """What ends with this error: the whole run or one job."""
    exit_code: int
    """Exit code of a call that ends because of this error."""
    transient: bool = False
    """Another attempt can succeed although nobody changed anything."""


TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""Any call that opens a file may fail with these. The process is at its limit; the file is not to blame."""
NONE_LEFT = TOO_MANY_FILES | {errno.EAGAIN, errno.ENOMEM}
"""A program cannot be started: the system has no process, no memory or no file descriptor left for it."""
NO_THREAD = "can't start new thread"
"""Python's message where the system gives it no further thread."""

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


CODES: dict[Code, CodeInfo] = {
    "manifest.unreadable": CodeInfo("the manifest is missing or cannot be read", "run", NO_INPUT),
    "manifest.syntax": CodeInfo("the manifest is not YAML as dh reads it", "run", DATA_INVALID),
    "manifest.limit": CodeInfo("the manifest is larger or deeper than the limits", "run", DATA_INVALID),
    "manifest.invalid": CodeInfo("a key, type or value is wrong", "run", DATA_INVALID),
    "manifest.conflict": CodeInfo(
        "a job would write a file that another job writes, or that the run reads", "run", DATA_INVALID
    ),
    "env.ffmpeg_missing": CodeInfo("there is no ffmpeg to run", "run", UNAVAILABLE),
    "env.ffmpeg_unusable": CodeInfo("ffmpeg does not start, or lacks what dh needs", "run", UNAVAILABLE),
    "env.device_unavailable": CodeInfo("the device asked for cannot be used", "run", UNAVAILABLE),
    "env.no_proc": CodeInfo("/proc is not mounted, so that open files cannot be handed to ffmpeg", "run", UNAVAILABLE),
    "env.locked": CodeInfo(
        "another dh is writing this output, or holds the run lock", "job", TRY_LATER, transient=True
    ),
    "env.lock_unusable": CodeInfo("the file of --run-lock cannot be a lock", "run", UNAVAILABLE),
    "env.disk_full": CodeInfo("the disk has too little room to go on", "run", TRY_LATER, transient=True),
    "env.limits": CodeInfo("a limit of the system (open files, processes, memory) is too low", "run", UNAVAILABLE),
    "model.missing": CodeInfo("a model file is not there", "job", UNAVAILABLE),
    "model.corrupt": CodeInfo("a model file is damaged, or not the one its descriptor names", "job", UNAVAILABLE),
    "model.incompatible": CodeInfo(
        "a model does not fit its descriptor, or its family cannot be loaded", "job", UNAVAILABLE
    ),
    "model.failed": CodeInfo("a network raised an error", "job", FAILED, transient=True),
    "model.bad_output": CodeInfo("a network gave NaN, infinity or a constant", "job", FAILED, transient=True),
    "device.out_of_memory": CodeInfo("the device has too little memory", "job", FAILED, transient=True),
    "device.lost": CodeInfo("the device failed; its context cannot be used again", "run", TRY_LATER, transient=True),
    "input.missing": CodeInfo("an input is not there", "job", FAILED),
    "input.not_regular": CodeInfo("an input is a folder, pipe or device", "job", FAILED),
    "input.unreadable": CodeInfo("an input may not be read", "job", FAILED),
    "input.empty": CodeInfo("an input has no bytes", "job", FAILED),
    "input.not_media": CodeInfo("an input is no audio, video or image that ffmpeg reads", "job", FAILED),
    "input.no_video": CodeInfo("a video has no video stream", "job", FAILED),
    "input.no_audio": CodeInfo("an audio has no audio stream", "job", FAILED),
    "input.no_frames": CodeInfo("a video stream has no frame", "job", FAILED),
    "input.corrupt": CodeInfo("an input has damaged data", "job", FAILED),
    "input.truncated": CodeInfo("an input is shorter than its header says", "job", FAILED),
    "input.unsupported": CodeInfo("an input is of a kind that dh does not render", "job", FAILED),
    "input.too_large": CodeInfo("a picture has more pixels than the limit, or a download more bytes", "job", FAILED),
    "input.too_short": CodeInfo("a video is shorter than the speech, and the job says not to loop it", "job", FAILED),
    "input.too_long": CodeInfo("an input is longer than the limit", "job", FAILED),
    "input.changed": CodeInfo("an input changed while it was read", "job", FAILED, transient=True),
    "input.unreachable": CodeInfo("an input could not be downloaded from its address", "job", FAILED, transient=True),
    "audio.too_short": CodeInfo("the audio is shorter than one video frame", "job", FAILED),
    "audio.invalid": CodeInfo("the audio has samples that are not numbers", "job", FAILED),
    "face.not_found": CodeInfo("no frame shows a face that can be used", "job", FAILED),
    "face.lost": CodeInfo("the face is missing in more frames than the limit", "job", FAILED),
    "face.too_small": CodeInfo("the face has too few pixels to work on", "job", FAILED),
    "decode.failed": CodeInfo("the decoder died", "job", FAILED, transient=True),
    "encode.failed": CodeInfo("the encoder died", "job", FAILED, transient=True),
    "stalled": CodeInfo(
        "a stage made no progress for the stall timeout, or a disk gave no answer", "job", FAILED, transient=True
    ),
    "output.exists": CodeInfo(
        "a file with the name of the output or of its result exists and may not be replaced", "job", FAILED
    ),
    "output.not_writable": CodeInfo("the output's folder is missing or cannot be written", "job", FAILED),
    "output.disk_full": CodeInfo("the output's disk is full", "run", TRY_LATER),
    "output.mismatch": CodeInfo("what was written is not what was planned", "job", FAILED, transient=True),
    "job.timeout": CodeInfo("the job took longer than --timeout", "job", FAILED),
    "job.cancelled": CodeInfo("a signal ended the job", "job", FAILED),
    "job.out_of_memory": CodeInfo(
        "the machine or its memory limit has too little memory", "job", FAILED, transient=True
    ),
    "job.poison": CodeInfo("the job killed the process before and is not tried again", "job", FAILED),
    "job.strict": CodeInfo("the job has a warning that --strict names", "job", FAILED),
    "internal.bug": CodeInfo("something unforeseen; please report it", "job", BUG),
}
"""Every error code, in the order of docs/results.md."""


WARNINGS: dict[WarningCode, str] = {
    "input.vfr": "the frame rate varies; frames are repeated or left out to make it constant",
    "input.interlaced": "the video is interlaced and is deinterlaced",
    "input.alpha": "the transparency is dropped",
    "input.hdr": "the video is HDR and is tone-mapped",
    "input.high_bit_depth": "the video has more than 8 bits a sample and becomes 8",
    "input.padded": "the size is odd; one column or row is repeated",
    "input.reshaped": "the picture's shape changes inside the video; other shapes than the first get bars",
    "input.damaged": "an input is damaged; what can be decoded is used, and the message says how much is lost",
    "input.dropped": "the video has subtitles or a time code that the output cannot keep",
    "audio.short": "the audio ends before a time that `trim`, `leave` or `speak` names; what is there is used",
    "audio.own_missing": "own_sound is wanted, and the video has no sound that can be used",
    "audio.silent": "nobody speaks in the audio; the mouth stays closed",
    "audio.noisy": "all of the audio is noise, or its pauses are less than 15 dB below the speech; the mouth may err",
    "face.missing": "the chosen face was not found in some frames; they stay as they are",
    "face.several": "the video shows several persons, and `face: largest` took one; the message says which",
    "mouth.covered": "something is in front of the mouth in some frames; they stay as they are",
    "face.small": "the face is so small that hardly anybody sees its lips",
    "mouth.still": "somebody speaks in the audio, and in the finished video the mouth does not move",
    "picture.soft": "the inside of the mouth is much less sharp than in the video it was made from",
    "cache.unusable": "something could not be kept in the cache; a later job works it out again",
    "device.fallback": "the device asked for cannot be used; the CPU is",
    "encoder.fallback": "no encoder of a GPU works on this machine; one on the CPU is used",
    "result.unreadable": "the earlier result file is damaged and is replaced",
    "run.stopped": "the run starts no more jobs; the message says why",
    "result.lost": "the result file could not be written; it stands in the message",
    "events.lost": "stdout could not be written; the rest of the events of --json is missing",
    "report.lost": "the log, metrics or JUnit file, the page or a contact sheet could not be written",
    "on_finish.failed": "the command of --on-finish did not start, failed or took too long",
    "monitor.failed": "a part of what the job uses could not be measured",
}
"""Every warning code with its meaning. A warning ends a job only where --strict names it."""


class DhError(Exception):
    """A failure: its code, one sentence that says what was found in which file, and a hint what to do about it."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        hint: str = "",
        stage: str | None = None,
        frame: int | None = None,
        stderr_tail: Iterable[str] = (),
    ) -> None:
        """`stage`: what the job was doing; `frame`: index of the frame to blame; `stderr_tail`: ffmpeg's last lines.

        Raises KeyError for a code that is not in `CODES`.
        """
        super().__init__(message)
        self.code = checked_code(code)
        self.message = message
        self.hint = hint
        self.stage = stage
        self.frame = frame
        self.stderr_tail = tuple(stderr_tail)

    @property
    def info(self) -> CodeInfo:
        return CODES[self.code]

    def at(self, stage: str, frame: int | None = None) -> DhError:
        """Set stage and frame where they are not set yet; returns this error."""
        self.stage = self.stage or stage
        self.frame = frame if self.frame is None else self.frame
        return self

    def about(self, subject: str) -> DhError:
        """Put the subject in front of the message, as in `video /in/a.mp4: …`; returns this error."""
        self.message = f"{subject}: {self.message}"
        self.args = (self.message,)
        return self


UNMAPPED = re.compile(r"failed to map segment|cannot allocate memory", re.IGNORECASE)
"""Messages of the dynamic loader where a limit of memory or addresses keeps it from loading a library."""
MORE_THREADS = "Raise the limits of processes or memory (ulimit -u, -v; pids.max of a container)."
MORE_MEMORY = "Raise the limits of memory and of threads: ulimit -v unlimited, ulimit -u 4096"


class ManifestError(DhError):
    """All problems of a manifest, one line each, so that one call shows them all."""

    def __init__(self, code: ManifestCode, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(code, "\n".join(self.problems), stage="manifest")


def checked_code(text: str) -> Code:
    """`text` as an error code. For texts that mypy cannot check, as from a result file. Raises KeyError."""
    for code in CODES:
        if code == text:
            return code
    raise KeyError(f"unknown error code {text!r}")


def checked_warning(text: str) -> WarningCode:
    """`text` as a warning code. Raises KeyError."""
    for code in WARNINGS:
        if code == text:
            return code
    raise KeyError(f"unknown warning code {text!r}")


def describe(error: BaseException) -> str:
    """Type and text of an exception. Some exceptions have no text, as `queue.Empty()`: then type and place."""
    text = str(error).strip()
    if text:
        return f"{type(error).__name__}: {text}"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" in {last[0].name}, {last[0].filename}:{last[0].lineno}" if last else ""
    return f"{type(error).__name__} (no text){where}"


def causes(error: BaseException) -> list[str]:
    """The exceptions that led to `error`, each described; the nearest one first."""
    chain: list[str] = []
    seen = {id(error)}
    at = error.__cause__ or error.__context__
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        chain.append(describe(at))
        at = at.__cause__ or at.__context__
    return chain


def as_dh_error(error: BaseException, stage: str) -> DhError:
    """Any exception as a DhError, with `stage` filled in.

    A DhError stays as it is. Python's errors for too little memory, too many files or too many threads become
    `job.out_of_memory` and `env.limits`. Every other exception is a bug: `internal.bug`, whose cause it is.
    """
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
