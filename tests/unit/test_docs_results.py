"""docs/results.md says what the code does: every field, status, code and exit code, in the same words and order."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import jsonschema

from dhcli.errors import CODES, EXIT_CODES, WARNINGS
from dhcli.results.parts import Part, schema_of
from dhcli.results.result import JobResult, Status

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


def _table(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [[cells[0].strip("`"), *cells[1:]] for cells in rows[2:]]


def _fields(model: type[Part], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        parts = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Part)]
        path = f"{prefix}{name}" + ("[]" if parts and typing.get_origin(field.annotation) is tuple else "")
        yield path, field.description or ""
        for part in parts:
            yield from _fields(part, f"{path}.")


def test_every_field_is_documented() -> None:
    """An object of the same class as an earlier one may say so instead: "As in `output`."."""
    fields = list(_fields(JobResult))
    rows = _table("Fields")
    same = {row[0]: found for row in rows if (found := re.search(r" As in `([^`]+)`\.$", row[1]))}
    for name, found in same.items():
        below, model = (
            [(path[len(top) :], text) for path, text in fields if path.startswith(f"{top}.")]
            for top in (name, found[1])
        )
        assert below == model
        assert model
    wanted = [[path, text] for path, text in fields if not path.startswith(tuple(f"{name}." for name in same))]
    assert [[row[0], row[1].removesuffix(same[row[0]][0] if row[0] in same else "")] for row in rows] == wanted


def test_every_status_is_documented() -> None:
    assert [row[0] for row in _table("Status")] == list(typing.get_args(Status))


def test_every_error_code_is_documented_with_what_to_do() -> None:
    rows = _table("Error codes")
    assert [row[:4] for row in rows] == [
        [code, info.meaning, info.stops, "yes" if info.transient else "no"] for code, info in CODES.items()
    ]
    assert all(len(row) == 5 and row[4] for row in rows)


def test_every_warning_code_is_documented() -> None:
    assert _table("Warning codes") == [[code, meaning] for code, meaning in WARNINGS.items()]


def test_every_exit_code_is_documented() -> None:
    rows = _table("Exit codes")
    assert rows[:-1] == [[str(code), meaning] for code, meaning in EXIT_CODES.items()]
    assert rows[-1][0] == "128+N"


def test_example_is_a_whole_result() -> None:
    example = json.loads(PAGE.split("```json\n")[1].split("\n```")[0])
    jsonschema.validate(example, schema_of(JobResult))
    read = JobResult.model_validate(example).model_dump(mode="json")
    assert list(example) == list(read), "every field is shown, in the order in which it is written"
    assert example["error"]["code"] in CODES
