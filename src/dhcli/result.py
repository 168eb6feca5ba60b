"""The result of one job: its fields, when two of them belong together, and whether an earlier one still holds.

It also brings results to the disk, whole or not at all, and back. What a job does to earn one is not known here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, ValidationError, model_validator

from dhcli.errors import DhError, describe
from dhcli.part import FULL, PartFile
from dhcli.result_parts import (
    READING,
    AudioInput,
    Environment,
    ErrorInfo,
    FrameCounts,
    Inputs,
    ModelInfo,
    OutputInfo,
    Part,
    Resources,
    Timings,
    VideoInput,
    WarningInfo,
)

__all__ = [
    "AudioInput",
    "Environment",
    "ErrorInfo",
    "FrameCounts",
    "Inputs",
    "JobResult",
    "ModelInfo",
    "OutputInfo",
    "Resources",
    "Timings",
    "UnreadableResultError",
    "VideoInput",
    "WarningInfo",
    "fingerprint",
    "read_result",
    "result_path",
    "result_schema",
    "why_render",
    "write_result",
]

SCHEMA_VERSION = 1
RENDER_VERSION = 1
"""Counted up when the same inputs and options render to other pixels or sound; every output is then out of date."""
NOT_RENDERED = frozenset({"label", "model"})
"""Options without an effect on pixels or sound; a model counts by its hash, whatever it is called."""

Status = Literal["running", "succeeded", "failed", "skipped", "cancelled"]


class JobResult(Part):
    """One job of one run, whatever became of it."""

    model_config = ConfigDict(title="dh job result")

    schema_version: Literal[1] = Field(default=1, description="Version of this format.")
    job_id: str = Field(description="The job's id in the manifest.")
    status: Status = Field(description="What became of the job.")
    attempt: int = Field(default=1, ge=1, description="1 for the first attempt in this run.")
    run_id: str = Field(description="The same for all jobs of one run.")
    pid: int | None = Field(
        default=None, description="Process that wrote this; a `running` result without it was killed."
    )
    manifest: str | None = Field(default=None, description="Absolute path of the manifest; null for stdin or none.")
    error: ErrorInfo | None = Field(default=None, description="Set exactly when failed or cancelled.")
    warnings: tuple[WarningInfo, ...] = Field(default=(), description="What was odd but no reason to fail.")
    inputs: Inputs = Field(default=Inputs(), description="The files that were read.")
    output: OutputInfo | None = Field(default=None, description="Set exactly when succeeded or skipped.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Every option with the value it had.")
    fingerprint: str | None = Field(default=None, description="Hash of all that decides what the output looks like.")
    frames: FrameCounts = Field(default=FrameCounts(), description="How far each part came.")
    timings_s: Timings = Field(default=Timings(), description="Where the time went, s.")
    resources: Resources = Field(default=Resources(), description="What the job used.")
    environment: Environment = Field(description="What it ran on.")
    started_at: AwareDatetime = Field(description="UTC.")
    finished_at: AwareDatetime | None = Field(default=None, description="UTC; null while running.")

    @model_validator(mode="after")
    def _fits_status(self) -> Self:
        for name, needed in (
            ("error", self.status in {"failed", "cancelled"}),
            ("output", self.status in {"succeeded", "skipped"}),
            ("finished_at", self.status != "running"),
        ):
            if (getattr(self, name) is not None) != needed:
                raise ValueError(f"{name} must {'' if needed else 'not '}be set when status is {self.status}")
        return self


class UnreadableResultError(Exception):
    """A result file is there but says nothing: damaged, or written by a newer dh. The text says which."""


def fingerprint(*, audio_sha256: str, video_sha256: str, model_sha256: str, options: Mapping[str, JsonValue]) -> str:
    """Hash of all that decides pixels and sound: contents and options, never paths, times or places."""
    content = {
        "audio": audio_sha256,
        "video": video_sha256,
        "model": model_sha256,
        "options": {name: value for name, value in options.items() if name not in NOT_RENDERED},
        "render_version": RENDER_VERSION,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def why_render(previous: JobResult | None, expected_fingerprint: str, save_path: Path) -> str | None:
    """Why the job has to be rendered, or None where the earlier output is up to date."""
    if previous is None:
        return "no earlier result"
    if previous.output is None:
        return f"the earlier attempt is {previous.status}"
    if previous.fingerprint != expected_fingerprint:
        return "an input, an option, the model or dh has changed"
    try:
        size = save_path.stat().st_size
    except OSError:
        return "the output is gone"
    return None if size == previous.output.bytes else "the output has another size than it had"


def result_path(save_path: Path, job_id: str, results_dir: Path | None = None) -> Path:
    """`<save_path>.json`, or `<id>.json` in `results_dir`."""
    if results_dir is None:
        return save_path.with_name(f"{save_path.name}.json")
    return results_dir / f"{job_id.replace('%', '%25').replace('/', '%2F')}.json"


def result_schema() -> dict[str, Any]:
    """JSON Schema of a result file as dh writes it: every field is there."""
    schema = JobResult.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_result(path: Path, result: JobResult) -> None:
    """Put the result at `path`, whole or not at all; only under the lock of the job's output.

    Raises DhError output.not_writable or output.disk_full.
    """
    text = json.dumps(result.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False)
    with PartFile(path) as part:
        try:
            with os.fdopen(part.fd, "wb", closefd=False) as file:
                file.write(text.encode() + b"\n")
        except OSError as error:
            raise DhError(
                "output.disk_full" if error.errno in FULL else "output.not_writable",
                f"The result {path} cannot be written: {error.strerror or describe(error)}.",
                hint="Make room there, or choose another folder with --results-dir.",
                stage="result",
            ) from error
        part.commit()


def read_result(path: Path) -> JobResult | None:
    """The result at `path`, None where there is none. Raises UnreadableResultError."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableResultError(f"{path}: {describe(error)}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UnreadableResultError(
            f"{path}: written by a newer dh (format {version}; this one reads {SCHEMA_VERSION})"
        )
    try:
        return JobResult.model_validate(data, context=READING)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UnreadableResultError(f"{path}: {where}: {first['msg']}") from error
