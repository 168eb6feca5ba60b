"""What became of many jobs, in numbers and one row for each: what `dh report --json` prints and the page shows."""

from __future__ import annotations

import collections
import datetime as dt
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ConfigDict, Field

from dhcli import __version__
from dhcli.overview.collect import Entry
from dhcli.overview.suspicion import LOOK, suspicion
from dhcli.results.parts import Part

State = Literal["succeeded", "skipped", "failed", "cancelled", "running", "missing"]


class JobRow(Part):
    """One job."""

    job_id: str = Field(description="The job's id.")
    status: State = Field(description="As in its result; `missing` where there is none.")
    code: str | None = Field(description="Error code; null without an error.")
    message: str | None = Field(description="What happened; null where all went well.")
    hint: str | None = Field(description="What to do about it.")
    suspicion: int = Field(description="How much the video deserves a look: 0 nothing, 30 worth a look, 100 no video.")
    reasons: tuple[str, ...] = Field(description="Why, the gravest reason first.")
    warnings: tuple[str, ...] = Field(description="Codes of its warnings.")
    model: str | None = Field(description="The model.")
    video: str | None = Field(description="The person's video.")
    audio: str | None = Field(description="The speech.")
    output: str | None = Field(description="The finished video; null where there is none.")
    result: str = Field(description="Its result file.")
    frames: int = Field(description="Frames that were rendered.")
    fps: float | None = Field(description="Rendered frames a second, over the whole job.")
    duration_s: float | None = Field(description="Length of the finished video, s.")
    wall_s: float | None = Field(description="Time the job took, s.")
    host: str | None = Field(description="The machine.")
    run_id: str | None = Field(description="The run.")
    started_at: AwareDatetime | None = Field(description="UTC.")
    finished_at: AwareDatetime | None = Field(description="UTC; null while running.")


class Summary(Part):
    """Many jobs, of one run or of many shards."""

    model_config = ConfigDict(title="dh report")

    schema_version: Literal[1] = Field(default=1, description="Version of this format.")
    dh: str = Field(description="Version of dh.")
    jobs: int = Field(description="All of them.")
    succeeded: int = Field(description="Jobs whose output exists.")
    skipped: int = Field(description="Jobs that the run found up to date; only after `dh render --report`.")
    failed: int = Field(description="Jobs without a new output.")
    cancelled: int = Field(description="Jobs that a signal ended.")
    running: int = Field(description="Jobs at work, or killed.")
    missing: int = Field(description="Jobs of a manifest without a result.")
    worth_a_look: int = Field(description="Finished videos with a suspicion of 30 or more.")
    codes: dict[str, int] = Field(description="Number of jobs by error code.")
    warnings: dict[str, int] = Field(description="Number of jobs by warning code.")
    video_s: float = Field(description="Length of all finished videos, s.")
    work_s: float = Field(description="Time of all jobs, s; of shards that ran at once it adds up.")
    runs: tuple[str, ...] = Field(description="The runs.")
    hosts: tuple[str, ...] = Field(description="The machines.")
    started_at: AwareDatetime | None = Field(description="When the first job began, UTC.")
    finished_at: AwareDatetime | None = Field(description="When the last one ended, UTC.")
    results: tuple[JobRow, ...] = Field(description="The jobs, the most suspicious first.")


def row_of(entry: Entry) -> JobRow:
    """One job's row."""
    result, judged = entry.result, suspicion(entry.result)
    shared = {
        "job_id": entry.job_id,
        "status": entry.state,
        "suspicion": judged.points,
        "result": str(entry.result_path),
    }
    if result is None:
        nothing = dict.fromkeys(name for name in JobRow.model_fields if name not in shared)
        return JobRow.model_validate(
            {**nothing, **shared, "message": entry.trouble, "reasons": (), "warnings": (), "frames": 0}
        )
    error, inputs, wall_s = result.error, result.inputs, result.timings_s.wall
    return JobRow(
        **shared,  # type: ignore[arg-type]
        code=error.code if error else None,
        message=error.message if error else None,
        hint=(error.hint or None) if error else None,
        reasons=tuple(one.text for one in judged.reasons),
        warnings=tuple(dict.fromkeys(one.code for one in result.warnings)),
        model=_model(entry),
        video=inputs.video.path if inputs.video else None,
        audio=inputs.audio.path if inputs.audio else None,
        output=result.output.path if result.output else None,
        frames=result.frames.encoded,
        fps=result.frames.encoded / wall_s if result.frames.encoded and wall_s else None,
        duration_s=result.output.duration_s if result.output else None,
        wall_s=wall_s or None,
        host=result.environment.host or None,
        run_id=result.run_id,
        started_at=result.started_at,
        finished_at=result.finished_at,
    )


def summary_of(rows: Iterable[JobRow]) -> Summary:
    """The summary of these jobs."""
    jobs = sorted(rows, key=lambda one: -one.suspicion)
    states = collections.Counter(one.status for one in jobs)
    begins = [one.started_at for one in jobs if one.started_at is not None]
    ends = [one.finished_at for one in jobs if one.finished_at is not None]
    return Summary(
        dh=__version__,
        jobs=len(jobs),
        succeeded=states["succeeded"],
        skipped=states["skipped"],
        failed=states["failed"],
        cancelled=states["cancelled"],
        running=states["running"],
        missing=states["missing"],
        worth_a_look=sum(is_worth_a_look(one) for one in jobs),
        codes=dict(collections.Counter(one.code for one in jobs if one.code is not None)),
        warnings=dict(collections.Counter(code for one in jobs for code in one.warnings)),
        video_s=sum(one.duration_s or 0.0 for one in jobs),
        work_s=sum(one.wall_s or 0.0 for one in jobs if one.status != "skipped"),
        runs=_names(one.run_id for one in jobs),
        hosts=_names(one.host for one in jobs),
        started_at=min(begins, default=None),
        finished_at=max(ends, default=None),
        results=tuple(jobs),
    )


def is_worth_a_look(row: JobRow) -> bool:
    """Whether there is a video that somebody should look at."""
    return row.output is not None and row.suspicion >= LOOK


def has_failed(row: JobRow) -> bool:
    """Whether the job has no new output: failed, cancelled, killed or never run."""
    return row.status in {"failed", "cancelled", "running", "missing"}


def avatar_of(row: JobRow) -> str:
    """Name of the person's video, without its folder."""
    return Path(row.video).name if row.video else ""


def _model(entry: Entry) -> str | None:
    assert entry.result is not None
    model = entry.result.environment.model
    named = entry.result.options.get("model")
    return model.name if model is not None else str(named) if named is not None else None


def _names(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({one for one in values if one}))


def at_work(rows: Sequence[JobRow]) -> list[JobRow]:
    """Those that were not just found up to date."""
    return [one for one in rows if one.status != "skipped"]


def span_of(rows: Sequence[JobRow]) -> tuple[dt.datetime, dt.datetime] | None:
    """From when to when these jobs were at work; None where none was."""
    begins = [one.started_at for one in rows if one.started_at is not None]
    ends = [one.finished_at or one.started_at for one in rows if one.started_at is not None]
    return (min(begins), max(end for end in ends if end is not None)) if begins else None


def folder_name(path: str) -> str:
    """The folder of a path, as the user knows it: below the current one, without that."""
    folder = os.path.dirname(path)  # noqa: PTH120 - the text as it stands
    return os.path.relpath(folder) if folder.startswith(os.getcwd() + os.sep) else folder  # noqa: PTH109
