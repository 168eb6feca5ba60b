from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from dhcli.result import (
    RENDER_VERSION,
    AudioInput,
    Environment,
    ErrorInfo,
    Inputs,
    JobResult,
    ModelInfo,
    OutputInfo,
    VideoInput,
)
from dhcli.uptodate import Ingredients, killed_in_a_row, made_by_dh, why_render

NOW = dt.datetime(2026, 11, 22, 1, 30, tzinfo=dt.UTC)
OUTPUT = OutputInfo(
    path="/out/a.mp4",
    bytes=3,
    sha256="00",
    width=96,
    height=64,
    fps="25/1",
    frames=5,
    duration_s=0.2,
    audio_codec="aac",
)
OPTIONS: dict[str, JsonValue] = {"crf": 18, "gain": 1.0, "label": "x", "model": "dh-base", "trim": None}
SAME = Ingredients("a", "v", ModelInfo(name="dh-base", sha256="m" * 64), OPTIONS)


def ingredients(**changes: Any) -> Ingredients:
    options = {**OPTIONS, **changes.pop("options", {})}
    model = ModelInfo(name="dh-base", sha256=changes.pop("model", "m") * 64)
    return Ingredients(**{"audio_sha256": "a", "video_sha256": "v", **changes}, model=model, options=options)


def earlier(status: str = "succeeded", code: str = "face.lost", **changes: Any) -> JobResult:
    ended = {"finished_at": NOW} if status != "running" else {}
    error = ErrorInfo(code=code, retryable=False, message="what") if status in {"failed", "cancelled"} else None
    fields: dict[str, Any] = {
        "job_id": "hello",
        "run_id": "r1",
        "status": status,
        "error": error,
        "output": OUTPUT if status in {"succeeded", "skipped"} else None,
        "inputs": Inputs(audio=AudioInput(path="a", sha256="a"), video=VideoInput(path="v", sha256="v")),
        "options": dict(OPTIONS),
        "fingerprint": SAME.fingerprint,
        "environment": Environment(dh="0.1.0", render_version=RENDER_VERSION, model=SAME.model),
        "started_at": NOW,
    }
    return JobResult(**{**fields, **ended, **changes})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mp4")
    return path


def test_fingerprint_follows_what_changes_pixels_or_sound_only() -> None:
    of = ingredients
    same = of().fingerprint
    assert same.startswith("sha256:")
    assert same == of(options={"label": "y"}).fingerprint == of(options={"model": "my-copy"}).fingerprint
    assert Ingredients("a", "v", SAME.model, dict(reversed(list(OPTIONS.items())))).fingerprint == same
    different: list[dict[str, Any]] = [
        {"audio_sha256": "b"},
        {"video_sha256": "b"},
        {"model": "n"},
        {"audio_sha256": "v", "video_sha256": "a"},
        {"options": {"crf": 19}},
        {"options": {"fps": "25"}},
    ]
    assert len({same, *(of(**change).fingerprint for change in different)}) == len(different) + 1


@pytest.mark.parametrize("status", ["succeeded", "skipped"])
def test_job_is_up_to_date_where_everything_agrees(output: Path, status: str) -> None:
    assert why_render(earlier(status), SAME, output) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"audio_sha256": "b"}, "stale: the audio has changed"),
        ({"video_sha256": "b"}, "stale: the video has changed"),
        ({"options": {"gain": 1.2}}, "stale: gain 1.0 -> 1.2"),
        ({"options": {"trim": "1-2", "crf": 20}}, 'stale: crf 18 -> 20; trim null -> "1-2"'),
        ({"options": {"limit_frames": 5}}, "stale: limit_frames null -> 5"),
        ({"model": "n"}, f"stale: the model has changed (dh-base {'m' * 12} -> {'n' * 12})"),
    ],
)
def test_what_has_changed_is_named(output: Path, change: dict[str, Any], reason: str) -> None:
    assert why_render(earlier(), ingredients(**change), output) == reason


def test_another_way_to_render_is_named(output: Path) -> None:
    environment = Environment(dh="0.0.9", render_version=0, model=SAME.model)
    before = earlier(fingerprint="sha256:0", environment=environment)
    assert why_render(before, SAME, output) == f"stale: dh renders in another way (version 0 -> {RENDER_VERSION})"


def test_a_change_that_cannot_be_named_counts_too(output: Path) -> None:
    assert why_render(earlier(fingerprint="sha256:0"), SAME, output) == "stale: what decides its content has changed"


def test_output_that_is_not_as_it_was(output: Path) -> None:
    output.write_bytes(b"mp")
    assert why_render(earlier(), SAME, output) == "stale: the output has 2 bytes, and had 3"
    output.unlink()
    assert why_render(earlier(), SAME, output) == "stale: the output is gone"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("running", "the last attempt was killed"),
        ("failed", "the last attempt failed (face.lost)"),
        ("cancelled", "the last attempt was cancelled"),
    ],
)
def test_attempt_without_an_output_is_made_again(output: Path, status: str, reason: str) -> None:
    assert why_render(earlier(status), SAME, output) == reason


def test_kills_are_counted_until_a_job_ends_or_changes() -> None:
    def count(previous: JobResult | None, now: Ingredients = SAME) -> int:
        return killed_in_a_row(previous, now.fingerprint)

    assert count(None) == count(earlier()) == count(earlier("failed")) == count(earlier("cancelled")) == 0
    assert count(earlier("running")) == count(earlier("running", fingerprint=None)) == 1
    assert count(earlier("running", killed_before=1)) == 2
    assert count(earlier("failed", "job.poison", killed_before=2)) == 2, "until somebody says otherwise"
    assert count(earlier("running", killed_before=1), ingredients(options={"crf": 20})) == 0


def test_only_what_dh_made_is_dhs() -> None:
    assert not made_by_dh(None)
    assert not made_by_dh(earlier("failed", "output.exists")), "the refusal itself must not make the file ours"
    assert not made_by_dh(earlier("cancelled"))
    assert made_by_dh(earlier())
    assert made_by_dh(earlier("failed", owns_output=True))
    assert made_by_dh(earlier("running")), "killed between the rename and the result"
