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


@dataclass(frozen=True, slots=True)
class Progress(Event):
    name: ClassVar[str] = "progress"
    job_id: str
    stage: str
    """analyse | listen | render | verify"""
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


EVENTS: tuple[type[Event], ...] = (BatchStarted, JobStarted, Progress, Warned, JobFinished, Summary)

Listener = Callable[[Event], None]


def as_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object."""
    return {"event": event.name} | dataclasses.asdict(event)


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
