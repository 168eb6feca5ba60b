"""The parts of a result: every field that other programs read, with its unit and its meaning.

Fields are added and never removed. `result.py` joins the parts to a result, and reads and writes it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from dhcli.errors import Code, DhError, WarningCode, causes, checked_code, checked_warning, describe
from dhcli.types import Numbers

READING = "read"
"""Validation context for reading files: unknown fields are dropped, since a newer dh may have written them.

Without it an unknown field is an error.
"""


class Part(BaseModel):
    # The schema allows further fields, since a newer dh may add some; dh itself may only write those of the class.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra={"additionalProperties": True}
    )

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            return data
        if info.context == READING:
            return {key: value for key, value in data.items() if key in cls.model_fields}
        return without_surrogates(data)


def schema_of(part: type[Part]) -> dict[str, Any]:
    """JSON Schema of what dh writes: every field is required."""
    schema = part.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class ErrorInfo(Part):
    """Why a job has no output."""

    code: str = Field(description="One of the error codes; programs branch on it, never on the message.")
    stage: str | None = Field(default=None, description="What the job was doing.")
    frame: int | None = Field(default=None, description="Index of the frame, where one frame is to blame.")
    retryable: bool = Field(description="Another attempt can succeed without anybody changing anything.")
    message: str = Field(min_length=1, description="What happened, to which file, with the numbers.")
    hint: str = Field(default="", description="What to do about it.")
    cause: tuple[str, ...] = Field(default=(), description="The exceptions behind the error, nearest first.")
    notes: tuple[str, ...] = Field(default=(), description="What went wrong afterwards, as a consequence.")
    stderr_tail: tuple[str, ...] = Field(default=(), description="The last lines that ffmpeg wrote.")
    traceback: str | None = Field(default=None, description="Only for `internal.bug`: please report it.")

    @property
    def known_code(self) -> Code:
        """`code` as this version of dh knows it. Raises KeyError where a newer dh wrote the result."""
        return checked_code(self.code)

    @classmethod
    def from_error(cls, error: DhError, *, notes: Iterable[str] = ()) -> ErrorInfo:
        bug = error.code == "internal.bug"
        return cls(
            code=error.code,
            stage=error.stage,
            frame=error.frame,
            retryable=error.info.transient,
            message=error.message.strip() or describe(error),
            hint=error.hint,
            cause=tuple(causes(error)),
            notes=tuple(notes),
            stderr_tail=error.stderr_tail,
            traceback="".join(traceback.format_exception(error.__cause__ or error)) if bug else None,
        )


class EarlierAttempt(Part):
    """An attempt that was made again."""

    attempt: int = Field(ge=1, description="Its number, from 1.")
    code: str = Field(description="Its error code.")
    stage: str | None = Field(default=None, description="What it was doing.")
    message: str = Field(min_length=1, description="What happened.")
    stderr_tail: tuple[str, ...] = Field(default=(), description="The last lines that ffmpeg wrote.")


class WarningInfo(Part):
    code: str = Field(description="Like an error code, but the job went on.")
    message: str = Field(min_length=1, description="What was found, and what dh did about it.")

    @property
    def known_code(self) -> WarningCode:
        """`code` as this version of dh knows it. Raises KeyError where a newer dh wrote the result."""
        return checked_warning(self.code)


class VideoInput(Part):
    """The person's video; null stands for what was not known yet when the job ended."""

    path: str = Field(
        description="Absolute path, or the address without its query; bytes that are not UTF-8 are written as \\udcNN."
    )
    bytes: int | None = Field(default=None, description="Size of the file.")
    sha256: str | None = Field(default=None, description="SHA-256 of the file, in hex.")
    width: int | None = Field(default=None, description="Width of the upright picture, px.")
    height: int | None = Field(default=None, description="Height of the upright picture, px.")
    fps: str | None = Field(default=None, description="Frame rate as an exact fraction, like 30000/1001.")
    frames: int | None = Field(default=None, description="Frames at that rate.")
    duration_s: float | None = Field(default=None, description="Length of the picture, s.")


class AudioInput(Part):
    """The speech; null stands for what was not known yet when the job ended."""

    path: str = Field(
        description="Absolute path, or the address without its query; bytes that are not UTF-8 are written as \\udcNN."
    )
    bytes: int | None = Field(default=None, description="Size of the file.")
    sha256: str | None = Field(default=None, description="SHA-256 of the file, in hex.")
    sample_rate: int | None = Field(default=None, description="Samples per second.")
    channels: int | None = Field(default=None, description="Number of channels.")
    heard: str | None = Field(default=None, description="The channel that the mouth follows, from 1, or `mix`.")
    duration_s: float | None = Field(default=None, description="Length of the sound, s.")


class PhotoInput(Part):
    """The photo of `face: like:`; null stands for what was not known yet when the job ended."""

    path: str = Field(
        description="Absolute path, or the address without its query; bytes that are not UTF-8 are written as \\udcNN."
    )
    bytes: int | None = Field(default=None, description="Size of the file.")
    sha256: str | None = Field(default=None, description="SHA-256 of the file, in hex.")


class Inputs(Part):
    video: VideoInput | None = Field(default=None, description="The person's video.")
    audio: AudioInput | None = Field(default=None, description="The speech.")
    photo: PhotoInput | None = Field(default=None, description="The photo that `face: like:` names, where it does.")


class OutputInfo(Part):
    """What was read back from the finished file."""

    path: str = Field(description="Absolute path.")
    bytes: int = Field(description="Size of the file; a file of another size or hash is not dh's.")
    sha256: str = Field(description="SHA-256 of the file, in hex.")
    width: int = Field(description="Width, px.")
    height: int = Field(description="Height, px.")
    fps: str = Field(description="Frame rate as an exact fraction.")
    frames: int = Field(description="Frames in the file.")
    duration_s: float = Field(description="Length, s.")
    audio_codec: str | None = Field(description="Codec of the sound, in ffmpeg's words.")


class LastSuccess(Part):
    """An earlier success that later attempts did not touch."""

    fingerprint: str | None = Field(default=None, description="Its fingerprint.")
    limit_frames: int | None = Field(default=None, description="The limit of frames that it was rendered with.")
    precision: Numbers | None = Field(default=None, description="Numbers of the main network that made it.")
    output: OutputInfo = Field(description="What it left on the disk.")
    warnings: tuple[WarningInfo, ...] = Field(default=(), description="What was odd in it.")


class FileContent(Part):
    """A file that dh wrote, told from any other by size and hash."""

    bytes: int = Field(description="Size of the file.")
    sha256: str = Field(description="SHA-256 of the file, in hex.")


class PutInPlace(Part):
    """Files that become the output by a rename. A kill may separate the rename from the result that tells of it."""

    path: str = Field(description="Absolute path of the output.")
    contents: tuple[FileContent, ...] = Field(
        default=(), description="Their sizes and hashes: an output with one of them is dh's work."
    )


class FrameCounts(Part):
    planned: int | None = Field(
        default=None, description="Frames that the output is to have; null before the plan is made."
    )
    decoded: int = Field(default=0, description="Frames read from the video.")
    rendered: int = Field(default=0, description="Frames that left the networks.")
    encoded: int = Field(default=0, description="Frames that the encoder took.")
    face_missing: int = Field(
        default=0, description="Frames of the video in which the chosen face was not found; they are shown as they are."
    )
    face_missing_ranges: tuple[tuple[int, int], ...] = Field(
        default=(), description="First and last index of each run of such frames."
    )
    mouth_covered: int = Field(
        default=0,
        description="Frames of the video with something in front of the mouth; they are shown as they are.",
    )
    mouth_covered_ranges: tuple[tuple[int, int], ...] = Field(
        default=(), description="First and last index of each run of such frames."
    )
    left: int = Field(
        default=0,
        description="Frames of the output that stay as filmed because of `leave`, `speak`, `lead` or `tail`.",
    )
    left_ranges: tuple[tuple[int, int], ...] = Field(
        default=(), description="First and last index of each run of such frames, counted in the output."
    )


class PersonSeen(Part):
    """Somebody whom the video shows, in the order in which they were seen first."""

    taken: int = Field(description="Frames in which the mouth is this person's; 0: somebody else was chosen.")
    first: int = Field(description="Index of the first frame that shows the person.")
    last: int = Field(description="Index of the last frame in which the person was seen.")
    looks: int = Field(description="How many of the frames that were searched for faces show the person.")
    box: tuple[int, int, int, int] = Field(
        description="The face in the first frame: left, top, width, height, px; `face: box:…` takes it."
    )


class Kept(Part):
    """Shares of the output's frames that stay as they were filmed."""

    missing: float = Field(description="The chosen face was not found in them.")
    covered: float = Field(description="Something is in front of the mouth.")
    left: float = Field(description="The job says so.")


class Picture(Part):
    """What the finished video shows of the mouth; null stands for what no frame tells."""

    face_px: float | None = Field(description="Width of the face from cheek to cheek, px; median of all frames.")
    face_px_least: float | None = Field(description="The smallest of all frames.")
    yaw_deg: float | None = Field(description="Turn of the head to a side, degrees; median of all frames.")
    yaw_deg_most: float | None = Field(description="The largest of all frames.")
    looked: int = Field(description="Frames of the finished video that were looked at, for the next six.")
    asked: float | None = Field(
        description="How far the mouth was asked to open and close: 95th less 5th percentile of the gap between the "
        "inner lips, in widths of the mouth. Talkers have 0.3."
    )
    shown: float | None = Field(description="How far it does.")
    correlation: float | None = Field(
        description="Of both over time, 1 at best; null where one of them hardly changes."
    )
    lag_ms: float | None = Field(
        description="Where it is best; positive: the picture is late. Null below a correlation of 0.5."
    )
    sharpness: float | None = Field(
        description="Inside the open mouth: variance of the luma's Laplacian, median; null where it is never open."
    )
    source_sharpness: float | None = Field(description="The same of the video, at its own openings.")
    kept: Kept = Field(description="Shares of the output's frames that stay as they were filmed, 0 to 1.")
    reference_switches: int | None = Field(
        description="How often the teeth came from another frame of the video than before; null where no frame gives "
        "any."
    )
    noise_db: float | None = Field(
        description="Level of the pauses against the speech, dB; null without pauses, 0 if all is noise."
    )


class Timings(Part):
    """Seconds. What runs at the same time adds up to more than `wall`."""

    queued: float = Field(default=0.0, description="From the start of the run to the start of the job.")
    wall: float = Field(default=0.0, description="From the start of the job to its end.")
    probe: float = Field(default=0.0, description="Looking at the inputs.")
    analyse: float = Field(default=0.0, description="Finding and following the face.")
    listen: float = Field(default=0.0, description="Speech to mouth codes.")
    render: float = Field(default=0.0, description="From the first frame to the encoder's end.")
    verify: float = Field(default=0.0, description="Reading the output back, and comparing the inputs.")
    measure: float = Field(default=0.0, description="Looking at the mouth in the finished video.")
    stages: dict[str, float] = Field(default_factory=dict, description="Parts of `render`, by stage.")
    reader_wait: float = Field(default=0.0, description="Time the reader waited for the networks.")
    writer_wait: float = Field(default=0.0, description="Time the writer waited for the networks.")


class Resources(Part):
    """Null stands for what could not be measured."""

    peak_rss_bytes: int | None = Field(
        default=None, description="Highest resident memory of dh and its children together."
    )
    peak_vram_bytes: int | None = Field(
        default=None, description="Highest memory on the GPU that the driver names as dh's."
    )
    disk_free_bytes: int | None = Field(default=None, description="Free space beside the output at the end.")
    cpu_s: float | None = Field(default=None, description="CPU time of dh and its ffmpeg processes, s.")
    peak_open_files: int | None = Field(default=None, description="Most files that dh held open.")
    min_disk_free_bytes: int | None = Field(default=None, description="Lowest free space beside the output.")


class ModelInfo(Part):
    name: str = Field(description="Name of the bundle.")
    sha256: str = Field(description="One hash for all its files.")


class Environment(Part):
    dh: str = Field(description="Version of dh.")
    render_version: int | None = Field(
        default=None, description="Counted up when dh renders the same inputs to other pixels or sound."
    )
    host: str = Field(default="", description="Name of the machine.")
    ffmpeg: str | None = Field(default=None, description="Version of ffmpeg; null where it was not needed yet.")
    onnxruntime: str | None = Field(default=None, description="Version of ONNX Runtime.")
    provider: str | None = Field(default=None, description="ONNX Runtime's execution provider that really ran.")
    device: str | None = Field(default=None, description="cpu, or the GPU.")
    precision: Numbers | None = Field(default=None, description="Numbers of the main network.")
    model: ModelInfo | None = Field(default=None, description="The model.")
    face_finder: ModelInfo | None = Field(default=None, description="The bundle that found the faces.")
    enhancer: ModelInfo | None = Field(default=None, description="The bundle that sharpened them.")


def without_surrogates(value: Any) -> Any:
    """The value with lone surrogates in its texts escaped.

    Python reads bytes of a file name that are not UTF-8 as lone surrogates, and many JSON readers refuse those.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_surrogates(item) for item in value]
    return value
