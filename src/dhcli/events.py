"""The events of a run, as values. A run emits them; the progress bar, the log and the JSON lines show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dhcli.errors import Code, WarningCode


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events; `name` is its name in JSON."""

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
    """Seconds from the start of the run to the start of the job."""


@dataclass(frozen=True, slots=True)
class JobDecided(Event):
    name: ClassVar[str] = "job_decided"
    job_id: str
    action: str
    """render | skip"""
    reason: str
    """Why the job is rendered; "up to date" for a skipped one."""


@dataclass(frozen=True, slots=True)
class Progress(Event):
    name: ClassVar[str] = "progress"
    job_id: str
    stage: str
    """probe | listen | analyse | render | verify"""
    done: int
    total: int | None
    """Frames; None for a stage that does not count in frames."""


@dataclass(frozen=True, slots=True)
class Warned(Event):
    name: ClassVar[str] = "warning"
    job_id: str | None
    code: WarningCode | Code
    """A warning's code, or the error's that ends the process."""
    message: str


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    name: ClassVar[str] = "retry"
    job_id: str
    attempt: int
    """Number of the attempt that failed, from 1; the next one follows after the wait."""
    code: Code
    message: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class JobDeferred(Event):
    """Another run is writing the job's output: the job is put off until all others are done."""

    name: ClassVar[str] = "job_deferred"
    job_id: str
    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class JobFinished(Event):
    name: ClassVar[str] = "job_finished"
    run_id: str
    job_id: str
    status: str
    save_path: str
    result_path: str | None
    """None if the result could not be written."""
    wall_s: float
    frames: int
    fps: float | None
    """Frames per second of the whole job, all stages included."""
    code: Code | None = None
    message: str | None = None
    hint: str | None = None
    attempt: int = 1
    stage: str | None = None
    """The stage that failed."""
    peak_rss_bytes: int | None = None
    analysis: str | None = None
    """made | cached; None if the job ended before the analysis"""


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
    codes: dict[Code, int] = field(default_factory=dict)
    """Number of jobs that each error code ended."""


@dataclass(frozen=True, slots=True)
class JobPlanned(Event):
    """What a run would do with a job; emitted by `dh check` and `--dry-run`."""

    name: ClassVar[str] = "job_planned"
    job_id: str
    action: str
    """render | skip | fail"""
    reason: str
    save_path: str
    frames: int | None = None
    fps: str | None = None
    """Exact fraction, like 30000/1001."""
    width: int | None = None
    height: int | None = None
    code: Code | None = None
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
    """Sum over all jobs that would be rendered."""
    wall_s: float
    exit_code: int
    codes: dict[Code, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """A run cannot start, because of the manifest or this machine. Emitted instead of all other events."""

    name: ClassVar[str] = "refused"
    code: Code
    problems: tuple[str, ...]
    """One line for each problem; at least one."""
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
    r"""The event as one JSON object. Bytes of a path that are not UTF-8 become the text `\udcNN`, as in a result."""
    fields = {name: _readable(value) for name, value in dataclasses.asdict(event).items()}
    return {"event": event.name} | fields


def _readable(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_readable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def event_schema() -> dict[str, Any]:
    """JSON Schema of one line of `--json`. Codes are any text in it, since a later version may have more of them."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
    from pydantic_core import core_schema

    class CodesAsText(GenerateJsonSchema):
        def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
            del schema
            return {"type": "string"}

    variants = []
    for kind in EVENTS:
        schema = TypeAdapter(kind).json_schema(schema_generator=CodesAsText)
        schema["properties"] = {"event": {"const": kind.name}} | schema["properties"]
        schema["required"] = ["event", *schema.get("required", ())]
        variants.append(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dh event", "oneOf": variants}
