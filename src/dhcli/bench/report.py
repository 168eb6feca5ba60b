"""What a measurement tells: the fields of `dh bench --json`, their units and meanings. Fields are only ever added."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from dhcli.types import Numbers

StageName = Literal["probe", "analyse", "listen", "decode", "speak", "blend", "encode", "verify", "other"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""In the order of a job."""
Serial = Literal["decode", "speak", "encode", "main thread"]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra={"additionalProperties": True}
    )


class Cost(_Part):
    """Milliseconds for a frame of the output."""

    cpu_ms: float = Field(ge=0, description="Processor time of all cores together.")
    wall_ms: float = Field(
        ge=0,
        description="Time in which it worked; of `decode` and `encode` that for which dh waited for ffmpeg, which "
        "works on while nobody does. Stages work at the same time.",
    )


class Floor(Cost):
    """A part of the job, run alone."""

    frames: int = Field(ge=1, description="Frames that it was measured with.")


class Pass(Cost):
    """A whole job."""

    fps: float = Field(gt=0, description="Frames a second.")


class Ratios(_Part):
    """The job against what it cannot do without. 1 is the least."""

    cpu: float = Field(gt=0, description="CPU time of the warm job / that of the floors, without the analysis.")
    wall: float = Field(
        gt=0, description="Wall time of the warm job / the larger of its CPU time / cores and `longest_serial`."
    )
    analyse: float = Field(gt=0, description="Wall time of the analysis, per analysed frame / that of the warm job.")


class LongestSerial(_Part):
    """What would take longest with all cores to itself."""

    name: Serial = Field(description="A floor, or the thread that speaks and blends (its CPU time).")
    wall_ms: float = Field(ge=0, description="Milliseconds for a frame.")


class Run(_Part):
    """One clip, rendered."""

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    fps: str = Field(description="Frame rate of the clip, as a fraction.")
    frames: int = Field(ge=1, description="Frames of the output; all costs are for one of them.")
    analysed_frames: int = Field(ge=1, description="Frames in which the face was looked for.")
    spoken_frames: int = Field(ge=0, description="Frames that got a new mouth.")
    batch: int = Field(ge=0, description="Most frames that went through the face network at once.")
    stages: dict[StageName, Cost] = Field(
        description="Each with its networks and its ffmpeg. `probe` is looking at the inputs, `verify` reading the "
        "output back, `other` what belongs to none. All but `analyse` is of the warm job."
    )
    floors: dict[StageName, Floor] = Field(
        description="ffmpeg decoding to /dev/null and encoding the frames with a new mouth from memory; the networks "
        "alone; the medians of three times. "
        "`analyse`: decoding, and the networks that find faces as often as the analysis ran them."
    )
    warm: Pass = Field(description="The job with the face's track known: the middle one of three passes.")
    warm_fps: tuple[float, ...] = Field((), description="Frames a second of each of these passes, the fastest first.")
    cold: Pass = Field(description="The job with the analysis: warm and `analyse` together.")
    longest_serial: LongestSerial
    ratios: Ratios
    peak_rss_bytes: int = Field(gt=0, description="Most memory of dh and its ffmpegs together, looked at every 20 ms.")


class BenchReport(_Part):
    """How fast this machine renders."""

    model_config = ConfigDict(title="dh bench")

    schema_version: Literal[1] = 1
    dh: str = Field(description="Version of dh.")
    ffmpeg: str = Field(description="Version of ffmpeg.")
    onnxruntime: str = Field(description="Version of ONNX Runtime.")
    model: str = Field(description="Name of the model.")
    device: str = Field(description="Where the face network ran.")
    provider: str = Field(description="Execution provider of the face network.")
    precision: Numbers = Field(description="Numbers of the face network.")
    cores: int = Field(ge=1, description="Cores that dh may use.")
    threads: int = Field(ge=0, description="Threads of the face network; 0: one a core, at most 4.")
    encoder: str = Field(description="Encoder, preset and crf.")
    load_s: float = Field(ge=0, description="Seconds to open the networks; in none of the costs.")
    runs: tuple[Run, ...]


def bench_schema() -> dict[str, Any]:
    """JSON Schema of the report."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **BenchReport.model_json_schema()}
