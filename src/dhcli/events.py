"""What happens in a run, as values. The batch emits them; a bar, a log or JSON lines make them visible."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events; `name` is the word in JSON."""

    name: ClassVar[str]


@dataclass(frozen=True, slots=True)
class BatchStarted(Event):
    name: ClassVar[str] = "batch_started"
    run_id: str
    manifest: str | None
    jobs: int


@dataclass(frozen=True, slots=True)
class JobStarted(Event):
    name: ClassVar[str] = "job_started"
    run_id: str
    job_id: str
    index: int
    """Position among the selected jobs, from 0."""
    jobs: int
    attempt: int
    audio: str
    video: str
    save_path: str
    queued_s: float = 0.0
    """From the start of the run to the start of the job."""


@dataclass(frozen=True, slots=True)
class JobDecided(Event):
    name: ClassVar[str] = "job_decided"
    job_id: str
    action: str
    """render | skip"""
    reason: str
    """Why the job is rendered, or "up to date"."""


@dataclass(frozen=True, slots=True)
class Progress(Event):
    name: ClassVar[str] = "progress"
    job_id: str
    stage: str
    """probe | listen | analyse | render | verify"""
    done: int
    total: int | None
    """Frames; None where the stage is not counted in frames."""


@dataclass(frozen=True, slots=True)
class Warned(Event):
    name: ClassVar[str] = "warning"
    job_id: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    name: ClassVar[str] = "retry"
    job_id: str
    attempt: int
    """The attempt that failed; the next one follows after the wait."""
    code: str
    message: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class JobDeferred(Event):
    """Another run writes the job's output at the moment; it is started again after all others."""

    name: ClassVar[str] = "job_deferred"
    job_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobFinished(Event):
    name: ClassVar[str] = "job_finished"
    run_id: str
    job_id: str
    status: str
    save_path: str
    result_path: str | None
    """None where the result could not be written."""
    wall_s: float
    frames: int
    fps: float | None
    """Frames rendered a second, all stages included."""
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    attempt: int = 1
    stage: str | None = None
    """Where it failed."""
    peak_rss_bytes: int | None = None
    analysis: str | None = None
    """made | cached; None where the job came to no analysis"""


@dataclass(frozen=True, slots=True)
class Summary(Event):
    name: ClassVar[str] = "summary"
    run_id: str
    jobs: int
    succeeded: int
    skipped: int
    failed: int
    cancelled: int
    not_started: int
    wall_s: float
    exit_code: int
    codes: dict[str, int] = field(default_factory=dict)
    """How often each error code ended a job."""


@dataclass(frozen=True, slots=True)
class JobPlanned(Event):
    """What a run would do with a job: `dh check` and `--dry-run`."""

    name: ClassVar[str] = "job_planned"
    job_id: str
    action: str
    """render | skip | fail"""
    reason: str
    save_path: str
    frames: int | None = None
    fps: str | None = None
    """As an exact fraction, like 30000/1001."""
    width: int | None = None
    height: int | None = None
    code: str | None = None
    message: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class PlanSummary(Event):
    """The last event of `dh check` and `--dry-run`."""

    name: ClassVar[str] = "plan_summary"
    jobs: int
    to_render: int
    up_to_date: int
    bad: int
    frames: int
    """Frames of all jobs that would be rendered."""
    wall_s: float
    exit_code: int
    codes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """The only event of a run that cannot start: the manifest or this machine is to blame."""

    name: ClassVar[str] = "refused"
    code: str
    problems: tuple[str, ...]
    """One line a problem; at least one."""
    hint: str
    exit_code: int


EVENTS: tuple[type[Event], ...] = (
    BatchStarted,
    JobStarted,
    JobDecided,
    Progress,
    Warned,
    Retrying,
    JobDeferred,
    JobFinished,
    Summary,
    JobPlanned,
    PlanSummary,
    Refused,
)

Listener = Callable[[Event], None]


def as_json(event: Event) -> dict[str, Any]:
    r"""The event as one JSON object; bytes that are not UTF-8 in a path are the text `\udcNN`, as in a result."""
    fields = {name: _readable(value) for name, value in dataclasses.asdict(event).items()}
    return {"event": event.name} | fields


def _readable(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_readable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def event_schema() -> dict[str, Any]:
    """JSON Schema of one line of `--json`."""
    from pydantic import TypeAdapter

    variants = []
    for kind in EVENTS:
        schema = TypeAdapter(kind).json_schema()
        schema["properties"] = {"event": {"const": kind.name}} | schema["properties"]
        schema["required"] = ["event", *schema.get("required", ())]
        variants.append(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dh event", "oneOf": variants}
