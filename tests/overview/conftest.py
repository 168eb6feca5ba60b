"""Results of jobs that no test has to render: their fields are set, and read back from files."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from called import Said, call_dh
from dhcli.families.dh_base.family import DhBase
from dhcli.render.models import Models
from dhcli.results.parts import (
    AudioInput,
    Environment,
    ErrorInfo,
    FrameCounts,
    Inputs,
    Kept,
    ModelInfo,
    OutputInfo,
    Picture,
    Timings,
    VideoInput,
    WarningInfo,
)
from dhcli.results.result import JobResult, write_result

BEGAN = dt.datetime(2026, 11, 22, 1, 30, tzinfo=dt.UTC)
GOOD = Picture(
    face_px=110.0,
    face_px_least=105.0,
    yaw_deg=4.0,
    yaw_deg_most=9.0,
    looked=60,
    asked=0.3,
    shown=0.29,
    correlation=0.97,
    lag_ms=10.0,
    sharpness=300.0,
    source_sharpness=310.0,
    kept=Kept(missing=0.0, covered=0.0, left=0.0),
    reference_switches=1,
    noise_db=-40.0,
)

Dh = Callable[..., Said]
KeepResult = Callable[..., Path]


def made(job_id: str = "promo", **fields: Any) -> JobResult:
    """A success in the words of a result; `picture` changes single figures, `at_s` its begin."""
    at_s = fields.pop("at_s", 0)
    picture = GOOD.model_copy(update=fields.pop("picture", {}))
    usual: dict[str, Any] = {
        "status": "succeeded",
        "run_id": "20261122T013000Z-7f3a",
        "manifest": "/srv/night.yaml",
        "inputs": Inputs(video=VideoInput(path="/srv/anna.mp4"), audio=AudioInput(path="/srv/monday.wav")),
        "output": OutputInfo(
            path=f"/srv/out/{job_id}.mp4",
            bytes=1000,
            sha256="0" * 64,
            width=640,
            height=480,
            fps="25/1",
            frames=250,
            duration_s=10.0,
            audio_codec="aac",
        ),
        "frames": FrameCounts(planned=250, decoded=250, rendered=250, encoded=250),
        "picture": picture,
        "timings_s": Timings(wall=5.0, probe=0.2, analyse=1.0, render=3.5, verify=0.2),
        "environment": Environment(dh="0.1.0", host="studio-3", model=ModelInfo(name="dh-base", sha256="0" * 64)),
        "started_at": BEGAN + dt.timedelta(seconds=at_s),
        "finished_at": BEGAN + dt.timedelta(seconds=at_s + 5),
    }
    return JobResult(job_id=job_id, **(usual | fields))


def failed(job_id: str, code: str = "face.lost", message: str = "the face was lost", **fields: Any) -> JobResult:
    """A failure."""
    error = ErrorInfo(code=code, retryable=False, message=message, hint="Trim the clip.", stage="analyse")
    return made(job_id, status="failed", error=error, output=None, **fields)


def warned(code: str) -> tuple[WarningInfo, ...]:
    return (WarningInfo(code=code, message=f"about {code}"),)


@pytest.fixture
def keep(tmp_path: Path) -> KeepResult:
    """Write a result beside an output that is not there."""

    def write(result: JobResult, name: str = "") -> Path:
        path = tmp_path / "out" / f"{name or result.job_id}.mp4.json"
        path.parent.mkdir(exist_ok=True)
        write_result(path, result)
        return path

    return write


@pytest.fixture
def dh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], dh_base: DhBase) -> Dh:
    """Call `main` in the test's own folder, with the networks that the tests share."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(Models, "family", lambda *_: dh_base)
    return functools.partial(call_dh, monkeypatch, capfd)
