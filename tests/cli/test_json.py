"""`--json`: every line is an event of the schema, and without it success is silent on stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dhcli.events import event_schema


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(event_schema())


def _events(out: str, schema: jsonschema.Draft202012Validator) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in out.splitlines()]
    for event in events:
        schema.validate(event)
    return events


@pytest.mark.usefixtures("night")
def test_a_render(dh: Any, schema: jsonschema.Draft202012Validator) -> None:
    events = _events(dh("render", "night.yaml", "--limit-frames", "2", "--json").out, schema)
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("batch_started", "summary")
    assert names.count("job_started") == names.count("job_finished") == 3
    assert {event["stage"] for event in events if event["event"] == "progress"} >= {"analyse", "render", "verify"}
    codes = {event["job_id"]: event["code"] for event in events if event["event"] == "job_finished"}
    assert codes == {"one": None, "two": "input.missing", "three": None}
    assert events[-1]["exit_code"] == 1


@pytest.mark.parametrize("arguments", [("check", "night.yaml"), ("render", "night.yaml", "--dry-run")])
def test_a_plan_writes_nothing(
    arguments: tuple[str, ...], dh: Any, night: Path, schema: jsonschema.Draft202012Validator
) -> None:
    said = dh(*arguments, "--json")
    events = _events(said.out, schema)
    assert said.code == events[-1]["exit_code"] == 1
    plans = {event["job_id"]: event for event in events[:-1]}
    assert (plans["one"]["action"], plans["one"]["frames"], plans["one"]["fps"]) == ("render", 178, "25/1")
    assert (plans["two"]["action"], plans["two"]["code"]) == ("fail", "input.missing")
    assert {path.name for path in night.parent.iterdir()} <= {"night.yaml", "cache"}


def test_a_refusal(dh: Any, night: Path, schema: jsonschema.Draft202012Validator) -> None:
    night.write_text(night.read_text().replace("video:", "vidoe:"))
    said = dh("render", "night.yaml", "--json")
    (event,) = _events(said.out, schema)
    assert (event["event"], event["code"], event["exit_code"]) == ("refused", "manifest.invalid", said.code)
    assert len(event["problems"]) == 6


@pytest.mark.slow
def test_a_path_that_is_not_utf8_is_readable_json(dh: Any, good: list[str], tmp_path: Path) -> None:
    good[5] = str(tmp_path / "\udcff.mp4")
    events = [json.loads(line) for line in dh("render", *good, "--json").out.splitlines()]
    assert events[-2]["save_path"] == f"{tmp_path}/\\udcff.mp4"
    assert events[-1]["succeeded"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("-q",), ("-v",), ("--progress", "none")])
def test_without_json_success_prints_nothing_on_stdout(flags: tuple[str, ...], dh: Any, good: list[str]) -> None:
    said = dh("render", *good, *flags)
    assert (said.code, said.out) == (0, "")
    assert (said.err == "") is ("-q" in flags)


def test_the_schema_refuses_what_no_event_is(schema: jsonschema.Draft202012Validator) -> None:
    assert not schema.is_valid({"event": "song"})
    assert not schema.is_valid({"event": "summary", "run_id": "x"})
