from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from dhcli.results.parts import (
    AudioInput,
    Environment,
    ErrorInfo,
    FileContent,
    Inputs,
    LastSuccess,
    ModelInfo,
    OutputInfo,
    PhotoInput,
    PutInPlace,
    VideoInput,
)
from dhcli.results.result import RENDER_VERSION, JobResult
from dhcli.results.uptodate import Ingredients, killed_in_a_row, legacy, made_by_another_ffmpeg, why_render

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
MODEL, FACE_FINDER = ModelInfo(name="dh-base", sha256="m" * 64), ModelInfo(name="face-finder", sha256="f" * 64)
SAME = Ingredients("a", "v", MODEL, FACE_FINDER, OPTIONS, 1)


def ingredients(**changes: Any) -> Ingredients:
    options = {**OPTIONS, **changes.pop("options", {})}
    model = ModelInfo(name="dh-base", sha256=changes.pop("model", "m") * 64)
    finder = ModelInfo(name="face-finder", sha256=changes.pop("face_finder", "f") * 64)
    contents = {"audio_sha256": "a", "video_sha256": "v", "family_version": 1, **changes}
    return Ingredients(**contents, model=model, face_finder=finder, options=options)


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
        "environment": Environment(dh="0.1.0", render_version=RENDER_VERSION, model=MODEL, face_finder=FACE_FINDER),
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
    assert Ingredients("a", "v", MODEL, FACE_FINDER, dict(reversed(list(OPTIONS.items()))), 1).fingerprint == same
    different: list[dict[str, Any]] = [
        {"audio_sha256": "b"},
        {"video_sha256": "b"},
        {"model": "n"},
        {"face_finder": "n"},
        {"family_version": 2},
        {"model": "f", "face_finder": "m"},
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
        ({"options": {"gain": "auto"}}, 'stale: gain 1.0 -> "auto"'),
        ({"options": {"trim": "1-2", "crf": 20}}, 'stale: crf 18 -> 20; trim null -> "1-2"'),
        ({"options": {"limit_frames": 5}}, "stale: limit_frames null -> 5"),
        ({"model": "n"}, f"stale: the model has changed (dh-base {'m' * 12} -> {'n' * 12})"),
        ({"face_finder": "n"}, f"stale: the face finder has changed (face-finder {'f' * 12} -> {'n' * 12})"),
    ],
)
def test_what_has_changed_is_named(output: Path, change: dict[str, Any], reason: str) -> None:
    assert why_render(earlier(), ingredients(**change), output) == reason


def test_another_way_to_render_is_named(output: Path) -> None:
    environment = Environment(dh="0.0.9", render_version=0, model=MODEL)
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


SHA256 = hashlib.sha256(b"mp4").hexdigest()


def owned(previous: JobResult | None, output: Path, *, beside: bool = False) -> bool:
    left, content = legacy(previous, output, beside=beside), output.read_bytes()
    owns = left.owns(len(content), hashlib.sha256(content).hexdigest())
    assert left.may_own(len(content)) or not owns
    return owns


def at(output: Path, **changes: Any) -> OutputInfo:
    return OUTPUT.model_copy(update={"path": str(output), "sha256": SHA256, **changes})


def test_only_what_dh_made_is_dhs(output: Path) -> None:
    made = earlier(output=at(output))
    assert owned(made, output)
    assert not owned(None, output)
    assert not owned(earlier("failed", "output.exists"), output), "the refusal itself must not make the file ours"
    assert not owned(earlier("cancelled", owns_output=True), output)
    assert not owned(earlier("running"), output)
    assert not owned(earlier(output=at(output, bytes=4)), output), "edited since"
    assert not owned(earlier(output=at(output, sha256="0" * 64)), output), "edited since, with as many bytes"
    assert owned(earlier("failed", last_success=LastSuccess(output=at(output))), output)


def test_another_file_of_the_same_job_is_not_dhs(output: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.mp4"
    other.write_bytes(b"mp4")
    made = earlier(output=at(output), fingerprint="sha256:1")
    assert not owned(made, other)
    assert not owned(made, other, beside=True)
    refused = earlier("failed", "output.exists", last_success=legacy(made, other, beside=False).last_success)
    assert owned(refused, output), "back at the first path, the file is still dh's"


def test_output_moved_with_its_result_is_dhs(output: Path) -> None:
    moved_from = earlier(output=at(Path("/before/a.mp4")))
    assert owned(moved_from, output, beside=True)
    assert not owned(moved_from, output, beside=False), "a folder of results tells of another file"


@pytest.mark.parametrize("status", ["running", "failed"])
def test_output_put_in_place_before_a_kill_is_dhs(output: Path, status: str) -> None:
    before = LastSuccess(fingerprint=SAME.fingerprint, output=at(output, bytes=99))
    new, other = FileContent(bytes=3, sha256=SHA256), FileContent(bytes=3, sha256="0" * 64)

    def killed(*contents: FileContent, path: Path = output) -> JobResult:
        put = PutInPlace(path=str(path), contents=contents)
        return earlier(status, last_success=before, put_in_place=put)

    assert owned(killed(other, new), output)
    assert not owned(killed(other), output)
    assert not owned(killed(new, path=Path("/before/b.mp4")), output)


def test_a_success_before_a_kill_around_the_rename_says_nothing_of_the_file_there(output: Path) -> None:
    success = LastSuccess(fingerprint=SAME.fingerprint, output=at(output))
    put = PutInPlace(path=str(output), contents=(FileContent(bytes=3, sha256=SHA256),))
    before = earlier("failed", last_success=success, put_in_place=put)
    assert why_render(before, SAME, output) == "the last attempt failed (face.lost)"


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("7.0.2-static", "7.1.1", None),
        ("n7.1", "7.0", None),
        ("6.1.1-3ubuntu5", "7.0.2-static", "6.1.1-3ubuntu5"),
        ("N-109468-gd39b34123d", "7.0", "N-109468-gd39b34123d"),
        (None, "7.0", None),
        ("7.0", None, None),
    ],
)
def test_an_ffmpeg_of_another_major_version_is_told(before: str | None, now: str | None, told: str | None) -> None:
    environment = Environment(dh="0.1.0", ffmpeg=before)
    assert made_by_another_ffmpeg(earlier(environment=environment), now) == told


def test_attempt_that_rendered_nothing_leaves_the_output_up_to_date(output: Path) -> None:
    success = LastSuccess(fingerprint=SAME.fingerprint, output=at(output))
    assert why_render(earlier("failed", last_success=success), SAME, output) is None
    assert why_render(earlier("cancelled", last_success=success), SAME, output) is None
    assert why_render(earlier("running", last_success=success), SAME, output) == "the last attempt was killed"
    changed = ingredients(options={"crf": 20})
    assert why_render(earlier("failed", last_success=success), changed, output) == "the last attempt failed (face.lost)"
    output.unlink()
    assert why_render(earlier("failed", last_success=success), SAME, output) == "stale: the output is gone"


def test_an_attempt_that_rendered_nothing_does_not_make_the_numbers_forgotten(output: Path) -> None:
    success = LastSuccess(fingerprint=SAME.fingerprint, precision="int8", output=at(output))
    failed = earlier("failed", last_success=success)
    asked = {numbers: dataclasses.replace(SAME, precision=numbers) for numbers in ("int8", "fp32")}
    assert why_render(failed, SAME, output) is None
    assert why_render(failed, asked["int8"], output) is None
    assert why_render(failed, asked["fp32"], output) == "stale: precision int8 -> fp32"


def test_photo_counts_by_its_content(output: Path) -> None:
    def with_photo(path: str, sha256: str) -> Ingredients:
        return Ingredients("a", "v", MODEL, FACE_FINDER, {**OPTIONS, "face": f"like:{path}"}, 1, sha256)

    now = with_photo("/a.png", "p")
    assert now.fingerprint == with_photo("/moved.png", "p").fingerprint != with_photo("/a.png", "q").fingerprint
    inputs = earlier().inputs.model_copy(update={"photo": PhotoInput(path="/a.png", sha256="p")})
    before = earlier(inputs=inputs, options=dict(now.options), fingerprint=now.fingerprint)
    assert why_render(before, with_photo("/moved.png", "p"), output) is None
    assert why_render(before, with_photo("/moved.png", "q"), output) == "stale: the photo has changed"
