"""`dh score`: the table, the report for programs, and what happens to wrong inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from called import Said, call_dh
from dhcli.results.parts import schema_of
from dhcli.score.report import Score

Call = Callable[..., Said]


@pytest.fixture(scope="module")
def clip(avatar: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """12 frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    ffmpeg("-i", avatar, "-frames:v", 12, "-preset", "ultrafast", path)
    return path


@pytest.fixture
def dh(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    return lambda *arguments: call_dh(monkeypatch, capfd, "score", "--device", "cpu", *arguments)


def test_a_table_of_80_columns(dh: Call, clip: Path) -> None:
    said = dh(clip)
    assert said.code == 0
    lines = said.out.splitlines()
    assert max(len(line) for line in lines if str(clip) not in line) <= 80
    assert ["frames", "with", "a", "face", "100.0", "%", "of", "12"] in [line.split() for line in lines]
    assert said.last == "dh score: 0 warnings"


def test_a_report_for_programs(dh: Call, clip: Path) -> None:
    report: dict[str, Any] = json.loads(dh(clip, "--against", clip, "--json").out)
    jsonschema.validate(report, schema_of(Score))
    assert (report["width"], report["height"], report["frames"], report["with_face"]) == (400, 300, 12, 1.0)
    assert report["audio"] is None is report["correlation"]
    beside = report["against"]
    assert (beside["frames"], beside["opening"], beside["flicker"], beside["outside_mean"]) == (12, 1, 1, 0)


def test_an_original_of_another_size_keeps_its_pixels(
    dh: Call, clip: Path, tmp_path: Path, ffmpeg: Callable[..., None]
) -> None:
    small = tmp_path / "small.mp4"
    ffmpeg("-i", clip, "-vf", "scale=320:240", small)
    beside = json.loads(dh(clip, "--against", small, "--json").out)["against"]
    assert beside["sharpness"] is beside["outside_mean"] is beside["outside_most"] is None
    assert beside["opening"] == pytest.approx(1, abs=0.4)


def test_a_video_without_a_face_has_no_figures(dh: Call, tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    bars = tmp_path / "bars.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=160x120:duration=0.2", "-pix_fmt", "yuv420p", bars)
    said = dh(bars)
    assert said.code == 0
    assert "unknown" in said.out
    assert "No face was found in 5 of 5 frames" in said.err
    assert "[face.missing]" in said.err


@pytest.mark.parametrize(("arguments", "code"), [(["gone.mp4"], "input.missing"), ([__file__], "input.not_media")])
def test_wrong_inputs_have_the_codes_of_a_job(dh: Call, arguments: list[str], code: str) -> None:
    said = dh(*arguments)
    assert said.code == 1
    assert f"[{code}]" in said.err


def test_a_wrong_warning_for_strict_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for text in ("mouth.stil", "mouth.still,run.stopped", ""):
        said = call_dh(monkeypatch, capfd, "render", "night.yaml", "--strict", text)
        assert said.code == 2
    assert "--strict" in said.err
