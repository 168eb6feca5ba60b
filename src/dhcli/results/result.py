"""The result of one job: its fields, which of them belong together, and its way to the disk and back.

What a job does to earn one, and whether an earlier one still holds, is not known here.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, ValidationError, model_validator

from dhcli.disk.part import PartFile
from dhcli.disk.regular import read_regular
from dhcli.errors import describe
from dhcli.results.parts import (
    READING,
    EarlierAttempt,
    Environment,
    ErrorInfo,
    FrameCounts,
    Inputs,
    LastSuccess,
    OutputInfo,
    Part,
    PutInPlace,
    Resources,
    Timings,
    WarningInfo,
)

SCHEMA_VERSION = 1
MAX_NAME_BYTES = 250
"""Of an id that names a file: every file system takes 255 bytes, and `.json` is five."""
ID_BYTES_KEPT = 200
MAX_BYTES = 16 << 20
"""A result has some 5 kB, and 100 for each gap in which the face is missing."""
RENDER_VERSION = 3
"""Counted up when the same inputs and options render to other pixels or sound; every output is then out of date."""

Status = Literal["running", "succeeded", "failed", "skipped", "cancelled"]


class JobResult(Part):
    """One job of one run, whatever became of it."""

    model_config = ConfigDict(title="dh job result")

    schema_version: Literal[1] = Field(default=1, description="Version of this format.")
    job_id: str = Field(description="The job's id in the manifest.")
    status: Status = Field(description="What became of the job.")
    attempt: int = Field(default=1, ge=1, description="1 for the first attempt in this run.")
    earlier_attempts: tuple[EarlierAttempt, ...] = Field(
        default=(), description="How the attempts before this one ended in this run, oldest first."
    )
    killed_before: int = Field(
        default=0,
        ge=0,
        description="How often in a row the process was killed in this job before; 2 make it `job.poison`.",
    )
    run_id: str = Field(description="The same for all jobs of one run.")
    pid: int | None = Field(
        default=None, description="Process that wrote this; a `running` result without it was killed."
    )
    manifest: str | None = Field(default=None, description="Absolute path of the manifest; null for stdin or none.")
    error: ErrorInfo | None = Field(default=None, description="Set exactly when failed or cancelled.")
    warnings: tuple[WarningInfo, ...] = Field(default=(), description="What was odd but no reason to fail.")
    inputs: Inputs = Field(default=Inputs(), description="The files that were read.")
    output: OutputInfo | None = Field(default=None, description="Set exactly when succeeded or skipped.")
    owns_output: bool = Field(
        default=False,
        description="The file at the output's path is as large as one that dh put there. It is replaced only where its "
        "hash is that file's, too.",
    )
    last_success: LastSuccess | None = Field(
        default=None,
        description="The success before, where this attempt left its output alone; it may still be up to date.",
    )
    put_in_place: PutInPlace | None = Field(
        default=None, description="Set while an output is put in place; after a kill it tells whose file is there."
    )
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Every option with the value it had.")
    fingerprint: str | None = Field(default=None, description="Hash of all that decides what the output looks like.")
    frames: FrameCounts = Field(default=FrameCounts(), description="How far each part came.")
    analysis: Literal["made", "cached"] | None = Field(
        default=None,
        description="`cached`: the analysis of the video was in the cache; null where the job did not come to it.",
    )
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


def result_path(save_path: Path, job_id: str, results_dir: Path | None = None) -> Path:
    """`<save_path>.json`, or `<id>.json` in `results_dir`; an id too long for a name is cut, and gets a hash."""
    if results_dir is None:
        return save_path.with_name(f"{save_path.name}.json")
    name = os.fsencode(job_id.replace("%", "%25").replace("/", "%2F"))
    if len(name) > MAX_NAME_BYTES:
        start = name[:ID_BYTES_KEPT].decode("utf-8", "ignore")
        return results_dir / f"{start}.{hashlib.sha256(name).hexdigest()[:16]}.json"
    return results_dir / f"{os.fsdecode(name)}.json"


def result_schema() -> dict[str, Any]:
    """JSON Schema of a result file as dh writes it: every field is there."""
    schema = JobResult.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_result(path: Path, result: JobResult, *, root: Path | None = None) -> None:
    """Put the result at `path`, whole or not at all, nowhere out of `root`; only under the lock of the job's output.

    Raises DhError output.not_writable or output.disk_full.
    """
    text = json.dumps(result.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False)
    with PartFile(path, root=root) as part:
        part.write(text.encode() + b"\n")
        part.commit()


def result_bytes(path: Path) -> bytes:
    """What is written at `path`. Raises OSError, also for what is no file: opening a pipe would wait for its writer."""
    return read_regular(path, MAX_BYTES, "result")


def read_result(path: Path) -> JobResult | None:
    """The result at `path`, None where there is none. Raises UnreadableResultError."""
    try:
        data = json.loads(result_bytes(path))
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
