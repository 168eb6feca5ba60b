"""`dh bench`: every stage and floor is there, the sums are right, and nothing is left behind however it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jsonschema
import psutil
import pytest

from dhcli.bench.run import free_bytes
from dhcli.runtime.cgroup import MemoryLimit

STAGES = {"probe", "analyse", "listen", "decode", "speak", "blend", "encode", "verify", "other"}
FLOORS = {"analyse", "listen", "decode", "speak", "encode"}
LIMIT_S = 60.0
FAST = ("--device", "cpu", "--set", "preset=ultrafast")


class Said(Protocol):
    """How a call ended."""

    code: int
    out: str
    err: str


Dh = Callable[..., Said]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files; whatever happens, it is empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times matter where figures do: here a pass is measured once."""
    monkeypatch.setattr("dhcli.bench.run.TIMES", 1)


@pytest.fixture(scope="module")
def few(avatar: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """6 frames of the avatar."""
    path = tmp_path_factory.mktemp("few") / "few.mp4"
    ffmpeg("-i", avatar, "-frames:v", 6, "-c:v", "libx264", "-crf", 18, "-preset", "ultrafast", path)
    return path


def _report(said: Said) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_no_room_for_a_frame_is_told_before_anything_is_rendered(dh: Dh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhcli.bench.run.free_bytes", lambda: 0)
    said = dh("bench", "--frames", "8", *FAST)
    assert said.code == 69
    assert "No memory is free for the frames" in said.err
    assert "warm" not in said.err


def test_the_report_of_the_sample_has_every_stage_and_floor_and_matches_its_schema(dh: Dh) -> None:
    report = _report(dh("bench", "--frames", "8", "--json", *FAST))
    jsonschema.Draft202012Validator(json.loads(dh("schema", "bench").out)).validate(report)
    (run,) = report["runs"]
    assert (run["width"], run["height"], run["frames"], run["spoken_frames"]) == (400, 300, 8, 8)
    assert set(run["stages"]) == STAGES
    assert set(run["floors"]) == FLOORS
    for name in STAGES - {"probe", "other"}:  # a warm job probes nothing
        assert run["stages"][name]["cpu_ms"] > 0, name
        assert run["stages"][name]["wall_ms"] > 0, name
    for name, floor in run["floors"].items():
        assert min(floor["cpu_ms"], floor["wall_ms"], floor["frames"]) > 0, name
    assert run["peak_rss_bytes"] > 50 << 20


def test_the_numbers_agree_with_each_other(dh: Dh) -> None:
    report = _report(dh("bench", "--frames", "8", "--json", *FAST))
    (run,) = report["runs"]
    stages, floors, warm, cold = (run[key] for key in ("stages", "floors", "warm", "cold"))
    spent = sum(cost["cpu_ms"] for name, cost in stages.items() if name != "analyse")
    # Nothing is left out. The system counts threads and children in steps of 10 ms, so that they may seem to be more.
    assert 0.999 * warm["cpu_ms"] < spent < 1.5 * warm["cpu_ms"]
    for clock in ("cpu_ms", "wall_ms"):
        assert cold[clock] == pytest.approx(warm[clock] + stages["analyse"][clock])
    assert warm["fps"] == pytest.approx(1000 / warm["wall_ms"])
    floor = sum(cost["cpu_ms"] for name, cost in floors.items() if name != "analyse")
    assert run["ratios"]["cpu"] == pytest.approx(warm["cpu_ms"] / floor)
    least = max(warm["cpu_ms"] / report["cores"], run["longest_serial"]["wall_ms"])
    assert run["ratios"]["wall"] == pytest.approx(warm["wall_ms"] / least)
    assert run["longest_serial"]["wall_ms"] >= max(floors[name]["wall_ms"] for name in ("decode", "speak", "encode"))
    assert run["ratios"]["analyse"] == pytest.approx(stages["analyse"]["wall_ms"] / warm["wall_ms"])


def test_the_table_names_every_stage_within_80_columns(dh: Dh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhcli.bench.run.TIMES", 3)
    said = dh("bench", "--frames", "4", *FAST)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert {*STAGES, "warm", "cold"} <= {line.split()[0] for line in lines if line}
    assert max(map(len, lines)) <= 80
    turns = [f"{what}, {number} of 3" for number in (1, 2, 3) for what in ("warm", "the floors")]
    assert [line.rpartition(": ")[2] for line in said.err.splitlines()] == ["cold", *turns]


def test_a_clip_of_the_users_that_is_shorter_than_its_speech_is_decoded_once(dh: Dh, few: Path) -> None:
    (run,) = _report(dh("bench", "--video", str(few), "--frames", "12", "--json", *FAST))["runs"]
    assert (run["frames"], run["analysed_frames"], run["spoken_frames"]) == (12, 6, 12)
    assert (run["floors"]["decode"]["frames"], run["floors"]["encode"]["frames"]) == (6, 12)


def test_each_size_is_a_run_of_its_own(dh: Dh, few: Path) -> None:
    sizes = ("--size", "480x360", "--size", "270p")
    report = _report(dh("bench", "--video", str(few), "--frames", "4", *sizes, "--json", *FAST))
    assert [(run["width"], run["height"], run["frames"]) for run in report["runs"]] == [(480, 360, 4), (480, 270, 4)]
    assert [run["spoken_frames"] for run in report["runs"]] == [4, 4], "the face is still found"


def test_the_frames_that_were_kept_are_given_back(dh: Dh, few: Path) -> None:
    _report(dh("bench", "--video", str(few), "--frames", "4", "--json", *FAST))
    assert [name for name in open_files() if "dh-bench" in name] == []


def open_files() -> list[str]:
    """What the descriptors of this process lead to."""
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


def test_a_control_group_limits_what_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for group, least in ((MemoryLimit(tmp_path, 1000, 600), 400), (MemoryLimit(tmp_path, 1000, 1200), 0)):
        monkeypatch.setattr("dhcli.bench.run.memory_limit", lambda group=group: group)
        assert free_bytes() == least
    monkeypatch.setattr("dhcli.bench.run.memory_limit", lambda: None)
    assert free_bytes() > 1 << 20


def test_the_clip_may_have_any_name(dh: Dh, few: Path, tmp_path: Path) -> None:
    shutil.copy(few, tmp_path / "dh-bench.mp4")
    assert _report(dh("bench", "--video", "dh-bench.mp4", "--frames", "2", "--json", *FAST))["runs"][0]["frames"] == 2


def test_threads_of_the_networks_are_what_was_asked_for(dh: Dh, few: Path) -> None:
    report = _report(dh("bench", "--video", str(few), "--frames", "4", "--threads", "1", "--json", *FAST))
    assert report["threads"] == 1
    assert report["encoder"] == "libx264 ultrafast crf 18"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--size", "big"), 2, "--size big: expected WIDTHxHEIGHT or LINESp"),
        (("--size", "321x240"), 2, "even"),
        (("--size", "32x32"), 2, "from 64 px"),
        (("--frames", "0"), 2, "--frames"),
        (("--device", "tpu"), 2, "--device tpu: expected auto, cpu, cuda or cuda:N"),
        (("--device", "cuda", "--precision", "int8"), 2, "numbers of 8 bits are for CPUs"),
        (("--set", "presett=fast"), 2, "did you mean 'preset'?"),
        (("--model", "none-such"), 69, "[model.missing]"),
        (("--video", "missing.mp4"), 1, "[input.missing]"),
        (("--audio", "missing.wav", "--size", "270p"), 1, "[input.missing]"),
    ],
)
def test_what_is_wrong_is_said_and_stdout_stays_empty(
    dh: Dh, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = dh("bench", "--json", *arguments)
    assert (said.code, said.out) == (code, "")
    assert words in said.err


def test_a_clip_that_cannot_be_rendered_ends_as_its_job_would(
    dh: Dh, tmp_path: Path, ffmpeg: Callable[..., None]
) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=160x120:r=25:d=0.4", tmp_path / "grey.mp4")
    said = dh("bench", "--video", "grey.mp4", *FAST)
    assert (said.code, said.out) == (1, "")
    assert "[face.not_found]" in said.err


IMPATIENT = """
import os, signal
from dhcli.runtime.scope import Scope
leave = Scope.__exit__
def hit_again(scope, *exc):
    if exc[0] is not None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    return leave(scope, *exc)
Scope.__exit__ = hit_again
from dhcli.cli import main
main()
"""
"""Two more signals come when the first one's removing begins."""


@pytest.mark.parametrize(
    ("number", "program"),
    [(signal.SIGTERM, ("-m", "dhcli")), (signal.SIGINT, ("-c", IMPATIENT))],
    ids=["one", "three"],
)
def test_after_a_signal_nothing_is_left(number: signal.Signals, program: tuple[str, str], temporary: Path) -> None:
    """It comes while ffmpeg runs; the fixture looks at the folder."""
    command = [sys.executable, *program, "bench", *FAST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.endswith(": warm, 1 of 3\n"):
                break
        assert list(temporary.iterdir()), "otherwise nothing could be left behind"
        deadline = time.monotonic() + LIMIT_S
        while not (children := psutil.Process(process.pid).children(recursive=True)):
            assert time.monotonic() < deadline
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines() == ["dh bench: interrupted; nothing is left behind"]
    assert psutil.wait_procs(children, timeout=LIMIT_S)[1] == []
