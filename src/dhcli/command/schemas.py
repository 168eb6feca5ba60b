"""The JSON Schemas of what dh reads and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dhcli import events
from dhcli.bench.report import BenchReport
from dhcli.command.choices import SchemaKind
from dhcli.jobs.schema import manifest_schema
from dhcli.networks import descriptor
from dhcli.overview.summary import Summary
from dhcli.results.parts import schema_of
from dhcli.results.result import JobResult
from dhcli.score.report import Score

SCHEMAS: dict[SchemaKind, Callable[[], dict[str, Any]]] = {
    SchemaKind.manifest: manifest_schema,
    SchemaKind.result: lambda: schema_of(JobResult),
    SchemaKind.model: descriptor.model_schema,
    SchemaKind.event: events.event_schema,
    SchemaKind.bench: lambda: schema_of(BenchReport),
    SchemaKind.score: lambda: schema_of(Score),
    SchemaKind.report: lambda: schema_of(Summary),
}


def schema_text(kind: SchemaKind) -> str:
    """The schema of a format, indented."""
    return json.dumps(SCHEMAS[kind](), indent=2)
