"""`dh bench`: what an ordinary run tells of a clip, cold and warm; nothing is left behind however it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from called import Said

pytestmark = pytest.mark.slow

LIMIT_S = 60.0
FAST = ("--device", "cpu", "--set", "preset=ultrafast")
PASSES = ["cold", "warm, 1 of 3", "warm, 2 of 3", "warm, 3 of 3"]


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


@pytest.fixture(scope="module")
def few(avatar: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """6 frames of the avatar."""
    path = tmp_path_factory.mktemp("few") / "few.mp4"
    ffmpeg("-i", avatar, "-frames:v", 6, "-c:v", "libx264", "-crf", 18, "-preset", "ultrafast", path)
    return path


def _report(said: Said) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_the_report_matches_its_schema_and_every_size_is_a_run_of_its_own(dh: Dh, few: Path) -> None:
    sizes = ("--size", "480x360", "--size", "270p")
    report = _report(dh("bench", "--video", str(few), "--limit-frames", "4", *sizes, "--json", *FAST))
    jsonschema.Draft202012Validator(json.loads(dh("schema", "bench").out)).validate(report)
    assert [(run["width"], run["height"], run["frames"]) for run in report["runs"]] == [(480, 360, 4), (480, 270, 4)]
    assert (report["environment"]["device"], report["options"]["preset"]) == ("cpu", "ultrafast")
    for run in report["runs"]:
        assert (run["cold"]["analysis"], run["warm"]["analysis"]) == ("made", "cached")
        for one in (run["cold"], run["warm"]):
            spent, used = one["timings_s"], one["resources"]
            assert 0 < spent["stages"]["speak"] + spent["stages"]["blend"] < spent["render"]
            assert 0 < sum(spent[name] for name in ("probe", "listen", "analyse", "render", "verify")) < spent["wall"]
            assert one["frames_per_s"] == pytest.approx(run["frames"] / spent["wall"])
            assert used["cpu_s"] > 0
            assert used["peak_rss_bytes"] > 50 << 20


def test_the_table_of_the_sample_has_every_figure_within_80_columns(dh: Dh) -> None:
    said = dh("bench", "--limit-frames", "4", *FAST)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "400x300, 4 frames, 25 fps" in lines
    titles = {line[:18].strip() for line in lines if line.startswith(tuple("abcdefghijklmnopqrstuvwxyzC"))}
    stages = {"probe", "listen", "analyse", "render", "speak", "blend", "reader wait", "writer wait", "verify", "wall"}
    assert stages | {"analysis", "CPU time", "frames a second", "peak memory"} <= titles
    assert said.err.splitlines() == [f"dh bench: avatar.mp4: {which}" for which in PASSES]


def test_the_clip_may_have_any_name_and_its_folder_is_not_written_to(dh: Dh, few: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    shutil.copy(few, inputs / "out.mp4")
    inputs.chmod(0o555)
    report = _report(dh("bench", "--video", "inputs/out.mp4", "--limit-frames", "2", "--json", *FAST))
    assert report["runs"][0]["frames"] == 2
    assert [path.name for path in inputs.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--size", "big"), 2, "--size big: expected WIDTHxHEIGHT or LINESp"),
        (("--size", "321x240"), 2, "even"),
        (("--size", "32x32"), 2, "from 64 px"),
        (("--limit-frames", "0"), 2, "--limit-frames"),
        (("--device", "tpu"), 2, "--device tpu: expected auto, cpu, cuda or cuda:N"),
        (("--device", "cuda", "--precision", "int8"), 2, "numbers of 8 bits are for CPUs"),
        (("--set", "presett=fast"), 2, "did you mean 'preset'?"),
        (("--audio", ""), 2, "--audio"),
        (("--model", "none-such"), 1, "[model.missing]"),
        (("--video", "missing.mp4"), 1, "[input.missing]"),
        (("--video", "missing.mp4", "--size", "270p"), 1, "[input.missing]"),
        (("--video", "note.mp4", "--size", "270p"), 1, "[input.corrupt]"),
        (("--audio", "missing.wav", "--size", "270p"), 1, "[input.missing]"),
    ],
)
def test_what_is_wrong_is_said_and_stdout_stays_empty(
    dh: Dh, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (tmp_path / "note.mp4").write_text("no video")
    said = dh("bench", "--json", *arguments)
    assert (said.code, said.out) == (code, "")
    assert words in said.err


def test_a_clip_that_cannot_be_rendered_ends_as_its_job_would_after_the_first_pass(
    dh: Dh, tmp_path: Path, ffmpeg: Callable[..., None]
) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=160x120:r=25:d=0.4", tmp_path / "grey.mp4")
    said = dh("bench", "--video", "grey.mp4", *FAST)
    assert (said.code, said.out) == (1, "")
    begun, failed = said.err.splitlines()
    assert begun == "dh bench: grey.mp4: cold"
    assert failed.startswith("dh bench: grey.mp4: ")
    assert failed.endswith("[face.not_found]")


IMPATIENT = """
import os, signal
from dhcli.runtime.scope import Scope
leave = Scope.__exit__
def hit_again(scope, *exc):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return leave(scope, *exc)
def begin(scope, *args):
    Scope.__exit__ = hit_again
    fail(scope, *args)
fail, Scope.fail = Scope.fail, begin
from dhcli.cli import main
main()
"""
"""Two more signals come when the first one's removing begins."""
STUCK = """
import sys, time
from dhcli.families.dh_base.blend import FlowPatch
FlowPatch.paste = lambda *_: print("dh bench: stuck", file=sys.stderr, flush=True) or time.sleep(60)
from dhcli.cli import main
main()
"""
"""A call that no signal ends: the run ends the process."""


@pytest.mark.parametrize(
    ("number", "program", "line", "arguments"),
    [
        (signal.SIGTERM, ("-m", "dhcli"), "avatar.mp4: warm, 1 of 3", ("--limit-frames", "40")),
        (signal.SIGINT, ("-c", IMPATIENT), "avatar.mp4: warm, 1 of 3", ("--limit-frames", "40")),
        (signal.SIGHUP, ("-m", "dhcli"), "7680x4320: making the clip", ("--size", "4320p")),
        (signal.SIGTERM, ("-c", STUCK), "stuck", ()),
    ],
    ids=["one", "three", "clip", "stuck"],
)
def test_after_a_signal_nothing_is_left(
    number: signal.Signals, program: tuple[str, str], line: str, arguments: tuple[str, ...], temporary: Path
) -> None:
    """It comes while ffmpeg runs; the fixture looks at the folder."""
    command = [sys.executable, *program, "bench", *FAST, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if said == f"dh bench: {line}\n":
                break
        while not (children := psutil.Process(process.pid).children(recursive=True)):
            assert process.poll() is None
        assert list(temporary.iterdir()), "otherwise nothing could be left behind"
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines() == ["dh bench: interrupted; nothing is left behind"]
    assert psutil.wait_procs(children, timeout=LIMIT_S)[1] == []
