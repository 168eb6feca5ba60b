"""A job: its three paths and its options, with the default, the limits and the meaning of each option.

The schema, the checks and the table in the docs are all made from the fields of `JobOptions`.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from dhcli.jobs.formats import AudioCodec, EncoderName, parse_keep
from dhcli.timing import Loop, snap_rate

Rule = Literal["largest", "left", "right", "center", "any", "index", "box", "like"]
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"
]

MIN_FPS, MAX_FPS = 1, 240
MAX_GAIN = 3
MAX_SMOOTHING_MS, MAX_OFFSET_MS = 200, 1000
FACE_PATTERN = r"^(largest|left|right|center|any|index:[0-9]{1,4}|box:[0-9]{1,5}(,[0-9]{1,5}){3}|like:.+)$"
LIKE = "like:"
FPS_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9}|/[0-9]{1,9})?$"
TIME = r"(?:(?:([0-9]{1,4}):)?([0-9]{1,4}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)"
MAX_AROUND_S = 3600
MOST_STRETCHES = 1000
TRIM = re.compile(rf"(?P<start>{TIME})?\s*-\s*(?P<end>{TIME})?")


@dataclass(frozen=True, slots=True)
class FaceChoice:
    """Which face of the video speaks."""

    rule: Rule
    index: int = 0
    """For the rule "index": 0 is the leftmost face."""
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    """For the rule "box": x, y, width, height in px of the upright video; the face that overlaps the box most."""
    photo: Path | None = None
    """For the rule "like": a picture of the person; the face most similar to the largest face in it."""


@dataclass(frozen=True, slots=True)
class Trim:
    """The part of the speech that is spoken, in seconds of the audio file."""

    start: Fraction
    end: Fraction | None
    """None: to the end."""

    def __str__(self) -> str:
        return f"{_decimal(self.start)}-{'' if self.end is None else _decimal(self.end)}"


@dataclass(frozen=True, slots=True)
class Stretches:
    """Parts of the output, in order and apart: start and end in seconds, None for its end."""

    parts: tuple[tuple[Fraction, Fraction | None], ...]

    def __str__(self) -> str:
        return ", ".join(str(Trim(start, end)) for start, end in self.parts)


def parse_face(text: str) -> FaceChoice:
    """The value of the option `face`. Raises ValueError with the allowed forms."""
    if not re.fullmatch(FACE_PATTERN, text, re.DOTALL):
        raise ValueError("largest, left, right, center, any, index:N, box:X,Y,W,H in whole pixels or like:PHOTO")
    if text.startswith(LIKE):
        return FaceChoice("like", photo=Path(text.removeprefix(LIKE)))
    rule, _, numbers = text.partition(":")
    if rule == "index":
        return FaceChoice("index", index=int(numbers))
    if rule == "box":
        x, y, width, height = (int(number) for number in numbers.split(","))
        if not width or not height:
            raise ValueError("box:X,Y,W,H with W and H of at least one pixel")
        return FaceChoice("box", box=(x, y, width, height))
    return FaceChoice(cast("Rule", rule))


def parse_fps(value: object) -> Fraction:
    """The exact frame rate of "25", "30000/1001" or a rounded decimal ("29.97" is 30000/1001). Raises ValueError."""
    text = str(value).strip()
    below = text.partition("/")[2]
    if re.fullmatch(FPS_PATTERN, text) and (not below or int(below)):
        rate = snap_rate(float(text)) if "." in text else Fraction(text)
        if MIN_FPS <= rate <= MAX_FPS:
            return rate
    raise ValueError(f"a frame rate from {MIN_FPS} to {MAX_FPS}, as 25, 29.97 or 30000/1001; or null")


def parse_gain(value: object) -> float | Literal["auto"]:
    """The value of the option `gain`. Raises ValueError."""
    text = str(value).strip()
    if text == "auto":
        return "auto"
    with contextlib.suppress(ValueError):
        if 0 <= (gain := float(text)) <= MAX_GAIN:
            return gain
    raise ValueError(f"auto or a number from 0 to {MAX_GAIN}")


def parse_trim(value: object) -> Trim:
    """The part of the audio from "START-END"; either side may be empty. Raises ValueError."""
    if isinstance(value, Trim):
        return value
    found = TRIM.fullmatch(str(value).strip())
    if not found or not (found["start"] or found["end"]):
        raise ValueError("START-END in seconds or h:mm:ss, as 1.5-8, 1.5-, -8 or 0:01:30-0:02:00; or null")
    start = _seconds(found["start"]) if found["start"] else Fraction(0)
    end = _seconds(found["end"]) if found["end"] else None
    if end is not None and end <= start:
        raise ValueError("an end after the start")
    return Trim(start, end)


def parse_leave(value: object) -> Stretches:
    """The stretches of "START-END, START-END, …", each as `parse_trim` reads it. Raises ValueError."""
    if isinstance(value, Stretches):
        return value
    texts = str(value).split(",")
    if len(texts) > MOST_STRETCHES:
        raise ValueError(f"at most {MOST_STRETCHES} stretches, not {len(texts)}")
    parts: list[tuple[Fraction, Fraction | None]] = []
    for text in texts:
        found = TRIM.fullmatch(text.strip())
        if not found or not (found["start"] or found["end"]):
            raise ValueError("START-END, START-END, … in seconds or h:mm:ss, as 1:05-1:12, 2:00-2:03.5; or null")
        try:
            part = parse_trim(text)
        except ValueError as error:
            raise ValueError(f"{error} in '{text.strip()}'") from None
        if parts and (parts[-1][1] is None or part.start < parts[-1][1]):
            raise ValueError(f"'{text.strip()}' to begin at or after the end of the stretch before it")
        parts.append((part.start, part.end))
    return Stretches(tuple(parts))


def _seconds(text: str) -> Fraction:
    total = Fraction(0)
    for part in text.split(":"):
        total = total * 60 + Fraction(part)
    return total


def _decimal(seconds: Fraction) -> str:
    """The seconds as a decimal number. Exact, since `parse_trim` takes nine decimals at most."""
    whole, part = divmod(int(seconds * 10**9), 10**9)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")


def _checked_face(text: str) -> str:
    parse_face(text)
    return text


_TEXT_OF = PlainSerializer(str, return_type=str, when_used="json")
Face: TypeAlias = Annotated[
    str, AfterValidator(_checked_face), WithJsonSchema({"type": "string", "pattern": FACE_PATTERN})
]
Gain: TypeAlias = Annotated[
    float | Literal["auto"],
    PlainValidator(parse_gain),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "number", "minimum": 0, "maximum": MAX_GAIN}]}),
]
Rate: TypeAlias = Annotated[
    Fraction,
    PlainValidator(parse_fps),
    _TEXT_OF,
    WithJsonSchema({"type": ["string", "number"], "pattern": FPS_PATTERN, "minimum": MIN_FPS, "maximum": MAX_FPS}),
]
SpeechPart: TypeAlias = Annotated[
    Trim, PlainValidator(parse_trim), _TEXT_OF, WithJsonSchema({"type": ["string", "number"], "maximum": 0})
]
Left: TypeAlias = Annotated[
    Stretches, PlainValidator(parse_leave), _TEXT_OF, WithJsonSchema({"type": ["string", "number"], "maximum": 0})
]


DEFAULT_MODEL = "dh-base"


class JobOptions(BaseModel):
    """The options of a job."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default=DEFAULT_MODEL, description="the model's name"
    )
    loop: Loop = Field(
        default="pingpong",
        description="how a video shorter than the speech goes on: there and back, from the start again, with its last "
        "frame, or not at all: the job fails",
    )
    face: Face = Field(
        default="largest",
        description="which face speaks; index:N counts from 0 at the left; box:X,Y,W,H takes the face that overlaps "
        "the box most, in pixels of the upright video; like:PHOTO takes the one that looks most like the photo's",
    )
    gain: Gain = Field(
        default="auto",
        description="mouth movement: auto opens the mouth as far as the person does in the video; a number scales what "
        "the model gives, 0 keeps the mouth still",
    )
    silence: Literal["rest", "follow"] = Field(
        default="rest",
        description="the mouth where nobody speaks: rest, or follow whatever the model makes of the sound there",
    )
    smoothing: Annotated[float, Field(ge=0, le=MAX_SMOOTHING_MS)] | None = Field(
        default=None,
        description="over how many milliseconds the movement is averaged; null leaves it to the model",
    )
    offset_ms: Annotated[float, Field(ge=-MAX_OFFSET_MS, le=MAX_OFFSET_MS)] = Field(
        default=0, description="how much later than the sound the mouth moves, in milliseconds; negative is earlier"
    )
    detail: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1,
        description="with models that paint a new face: how much of the video's own fine detail stays where the new "
        "mouth only moves it",
    )
    enhancer: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="with models that paint a new face: a model that sharpens it; null uses none"
    )
    faithful: bool = Field(
        default=False,
        description="with models that paint a new face: paste what the model's own program would paste, without mask, "
        "colour, detail, silence and smoothing of dh; to compare",
    )
    on_no_face: Literal["keep", "fail"] = Field(
        default="keep",
        description="a frame without the face: keep it as it is, or fail the job; a video with no face at all always "
        "fails",
    )
    max_face_missing: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="the job fails when the face is missing in more than this share of the frames"
    )
    on_damage: Literal["warn", "use"] = Field(
        default="warn",
        description="a damaged input is rendered with a warning; one that ends early fails the job, or is used as far "
        "as it goes",
    )
    encoder: EncoderName = Field(
        default="auto",
        description="the video encoder; auto: H.264, in .webm VP9; auto-hw: one on the GPU where one works",
    )
    crf: Annotated[int, Field(ge=0, le=51)] = Field(
        default=18, description="the encoder's quality: lower is better and larger; 18 is hard to tell from the source"
    )
    preset: Preset = Field(default="veryfast", description="the encoder's speed: slower makes smaller files")
    fps: Rate | None = Field(
        default=None, description="frame rate of the output; null keeps the video's; 29.97 and its like mean 30000/1001"
    )
    audio_codec: AudioCodec = Field(
        default="auto",
        description="the sound in the output: copied where the container takes it, else AAC, in .webm Opus; always "
        "copied; AAC; or Opus",
    )
    trim: SpeechPart | None = Field(
        default=None,
        description="the part of the speech to use: START-END in seconds or h:mm:ss, either side may be empty; null "
        "takes it all",
    )
    channel: Annotated[str, Field(pattern=r"^(auto|left|right|[1-9][0-9]?)$")] = Field(
        default="auto",
        description="what the mouth follows: auto is the mix of all channels, or the loudest where they cancel each "
        "other; left, right, or a channel's number, from 1",
    )
    audio_track: Annotated[str, Field(pattern=r"^([1-9][0-9]?|[A-Za-z]{2,3})$")] | None = Field(
        default=None,
        description="which sound of a file with several: its number, from 1, or its language, as de or deu; null takes "
        "the file's default",
    )
    leave: Left | None = Field(
        default=None,
        description="stretches of the output that stay as filmed: START-END, … in seconds or h:mm:ss, either side may "
        "be empty; null leaves none",
    )
    speak: Left | None = Field(
        default=None,
        description="stretches of the output in which the mouth moves, as leave; the rest stays as filmed; null is all",
    )
    lead: Annotated[float, Field(ge=0, le=MAX_AROUND_S)] = Field(
        default=0, description="seconds of the video before the speech; they stay as filmed"
    )
    tail: Annotated[float, Field(ge=0, le=MAX_AROUND_S)] = Field(
        default=0, description="seconds of the video after the speech; they stay as filmed"
    )
    own_sound: Literal["drop", "mix", "duck"] = Field(
        default="drop",
        description="the video's own sound under the speech: none, quieter by own_level, or that only while there is "
        "speech; where the video is repeated, so is its sound",
    )
    own_level: Annotated[float, Field(ge=-60, le=0)] = Field(
        default=-12, description="how much louder the video's own sound becomes under the speech, in dB"
    )
    keep: Annotated[str, AfterValidator(parse_keep)] = Field(
        default="all",
        description="what the output takes over from the video: all, none, or some of subtitles, chapters, timecode, "
        "tags (title, artist, …; never places and devices)",
    )
    label: Annotated[str, Field(max_length=200)] = Field(default="", description="free text, copied to the result file")


@dataclass(frozen=True, slots=True)
class Job:
    """One video to render. The paths are absolute and lexically normalised; symbolic links stand as written."""

    index: int
    """Position in the manifest, from 0."""
    line: int | None
    """Line of the manifest, from 1; None for a job of the command line."""
    id: str
    """Unique in the manifest, and a valid file name."""
    audio: Path
    video: Path
    save_path: Path
    options: JobOptions


def option_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of every job option, by name, with description and default."""
    properties: dict[str, dict[str, Any]] = JobOptions.model_json_schema()["properties"]
    return {
        name: {key: value for key, value in schema.items() if key != "title"} for name, schema in properties.items()
    }
