"""The result of one job: its fields, the rules between them, and reading and writing its file.

`uptodate.py` compares an earlier result with a job of today.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, ValidationError, model_validator

from dhcli.disk.part import PartFile
from dhcli.disk.regular import FileStamp, open_regular
from dhcli.errors import TOO_MANY_FILES, DhError, as_dh_error, describe
from dhcli.jobs.misfit import misfits
from dhcli.printable import printable_json
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
    PersonSeen,
    Picture,
    PutInPlace,
    Resources,
    Timings,
    WarningInfo,
    without_surrogates,
)

SCHEMA_VERSION = 1
MAX_BYTES = 16 << 20
"""A result has about 5 kB, and 100 bytes more for each run of frames without the face."""
HEAD_BYTES = 4096
HEAD = re.compile(rb'\s*\{\s*"schema_version":\s*([0-9]{1,9}),\s*"job_id":\s*"')
"""The beginning of a result of dh: it identifies a result whose end is missing."""
STAGE = "result"
"""Stage of the error for a file at the result's path that dh must not replace."""
MOVE_IT = "Move that file away, or name another save_path (with --results-dir, another id)."
RENDER_VERSION = 6
"""Goes up by 1 when dh renders the same inputs and options to other pixels or sound; old outputs are then stale."""

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
    persons: tuple[PersonSeen, ...] = Field(
        default=(), description="Everybody in the analysed part of the video, and whose mouth was taken."
    )
    picture: Picture | None = Field(
        default=None, description="What the output shows of the mouth; null where the job ended before."
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
    """A result file of dh is damaged. The text says where."""


def write_result(
    path: Path,
    result: JobResult,
    *,
    root: Path | None = None,
    known: FileStamp | None = None,
    only_of: Path | None = None,
) -> FileStamp:
    """Write the result to `path`, whole or not at all. The caller must hold the lock of the job's output.

    Only a result of dh is replaced, and nothing outside of `root` is written. Returns the stamp of the new file; as
    `known` of the next call it saves reading the file again. `only_of`: as for `read_result`.
    Raises DhError output.not_writable, output.disk_full and, as `read_result`, output.exists.
    """
    text = printable_json(result.model_dump(mode="json"), indent=2)
    before = _replaceable(path, known, only_of)
    with PartFile(path, root=root) as part:
        part.write(text.encode() + b"\n")
        part.commit(whole=lambda: _replaceable(path, before, only_of))
        return FileStamp.of(part.fd)


def result_bytes(path: Path) -> bytes:
    """The content of the file at `path`; only its beginning if it is too large for a result.

    Raises OSError, also for a pipe or device, since opening a pipe would wait for its writer.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(MAX_BYTES if size <= MAX_BYTES else HEAD_BYTES)


def read_result(path: Path, *, only_of: Path | None = None) -> JobResult | None:
    """The result at `path`, links followed; None if there is no file.

    Raises UnreadableResultError for a damaged result of dh, and DhError output.exists for a file that is not a result
    of dh, that a newer dh wrote, or that belongs to another output than `only_of` (None: any) which still exists.
    """
    if not os.path.lexists(path):
        return None
    try:
        content = result_bytes(path)
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            raise as_dh_error(error, STAGE) from error
        raise _kept(path, f"cannot be read ({error.strerror}), so that nothing says whether dh wrote it") from error
    try:
        data = json.loads(content.decode())
        if b"\\u" in content:
            data = without_surrogates(data)  # an escaped lone surrogate; many JSON readers refuse it
    except (ValueError, RecursionError) as error:
        head = HEAD.match(content)
        _refuse_foreign(path, int(head[1]) if head is not None else None)
        raise UnreadableResultError(f"{path}: {describe(error)}") from error
    _refuse_foreign(path, _format_of(data))
    try:
        result = JobResult.model_validate(data, context=READING)
    except ValidationError as error:
        raise UnreadableResultError(f"{path}: {next(iter(misfits(error)))}") from error
    if only_of is not None:
        _refuse_another_outputs(path, result, only_of)
    return result


def same_place(recorded: str, save_path: Path) -> bool:
    """Whether the path that a result recorded leads to the same file as `save_path`."""
    now: str = without_surrogates(os.fspath(save_path))
    return any(lead(recorded) == lead(now) for lead in (os.path.normpath, os.path.realpath))


def _refuse_another_outputs(path: Path, result: JobResult, save_path: Path) -> None:
    """Raise output.exists if the result is of another output that exists: only it proves that dh made that file."""
    success = result.last_success
    parts = (result.output, success.output if success is not None else None, result.put_in_place)
    for recorded in dict.fromkeys(part.path for part in parts if part is not None):
        if os.path.isfile(recorded) and not same_place(recorded, save_path):  # noqa: PTH113 - Path.is_file may raise
            raise _kept(
                path,
                f"tells of another output, {recorded}, and not of {save_path}",
                "Give the job another id, name another --results-dir, or remove that result.",
            )


def _format_of(data: Any) -> int | None:
    """Version of the format of parsed JSON; None if it is not a result of dh."""
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("job_id", "status", "run_id")):
        return None
    version = data.get("schema_version")
    return version if isinstance(version, int) else None


def _refuse_foreign(path: Path, version: int | None) -> None:
    if version is None:
        raise _kept(path, "is not a result of dh")
    if version > SCHEMA_VERSION:
        raise _kept(path, f"was written by a newer dh (format {version}; this one reads {SCHEMA_VERSION})")


def _replaceable(path: Path, known: FileStamp | None, only_of: Path | None) -> FileStamp | None:
    """The stamp of the file at `path`, or None. Raises DhError output.exists if dh must not replace the file."""
    try:
        found = path.lstat()
    except OSError:  # no file, or no way to it; in the second case the write fails and gives the reason
        return None
    stamp = FileStamp.of_stat(found)
    if stamp.same_content(known):
        return stamp
    if stat.S_ISLNK(found.st_mode):  # a rename would replace the link instead of the file that it leads to
        raise _kept(path, "is a symbolic link")
    with contextlib.suppress(UnreadableResultError):
        read_result(path, only_of=only_of)
    return stamp


def _kept(path: Path, found: str, hint: str = MOVE_IT) -> DhError:
    message = f"The result has no place: {path} {found}, and dh does not replace it."
    return DhError("output.exists", message, hint=hint, stage=STAGE)
