"""Command line to exit code, and the last line on stderr, for every code that can be provoked without breaking dh."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dhcli.command import preview
from dhcli.disk.lock import output_lock
from dhcli.errors import EXIT_CODES
from dhcli.media.ffmpeg_program import find_ffmpeg

WRONG = [
    (["rendr"], "dh: No such command 'rendr'"),
    (["render"], "dh render: give a manifest, or --audio, --video and --out or --save-path"),
    (["check"], "dh check: give a manifest, or --audio, --video and --out or --save-path"),
    (["render", "night.yaml", "--var", "x"], "dh render: --var x: expected NAME=VALUE"),
    (["render", "--audio", "a", "--video", "v", "--out", "o", "--var", "x=1"], "dh render: --var gives values to the"),
    (
        ["render", "--audio", "a", "b", "--video", "v", "--save-path", "o.mp4"],
        "dh render: --save-path is the output of",
    ),
    (
        ["render", "--audio", "a", "--video", "v", "--out", "o", "--save-path", "o.mp4"],
        "dh render: give --out or --sav",
    ),
    (["render", "--audio", "x*", "--video", "v", "--out", "o"], "dh render: --audio: no file matches 'x*'"),
    (
        ["render", "--audio", "a", "--video", "v", "--out", "o", "--pair", "both"],
        "dh render: Invalid value for '--pair",
    ),
    (["render", "night.yaml", "--nope"], "dh render: No such option: --nope"),
    (["render", "night.yaml", "--job", "thre"], "dh render: no job 'thre' in the manifest; did you mean 'three'?"),
    (["render", "night.yaml", "--set", "gain"], "dh render: --set gain: expected KEY=VALUE"),
    (["render", "night.yaml", "--set", "gian=1"], "dh render: --set gian: unknown key, did you mean 'gain'?"),
    (
        ["render", "night.yaml", "--set", "gain=9"],
        "dh render: --set gain: found '9', expected auto or a number from 0 to 3",
    ),
    (["render", "night.yaml", "-q", "-v"], "dh render: give --quiet or --verbose, not both"),
    (["schema"], "dh schema: Missing argument 'kind'. Choose from manifest, result,"),
    (["render", "night.yaml", "--shard", "3/2"], "dh render: --shard 3/2: expected I/N with I from 0 to N-1"),
    (["render", "night.yaml", "--device", "gpu"], "dh render: --device gpu: expected auto, cpu, cuda or cuda:N"),
    (
        ["render", "night.yaml", "--device", "cuda:1", "--precision", "int8"],
        "dh render: --device cuda:1 --precision int8: numbers of 8 bits are for CPUs; a GPU takes fp32 or fp16",
    ),
    (["render", "night.yaml", "--progress", "loud"], "dh render: Invalid value for '--progress': 'loud' is not one of"),
    (["render", "night.yaml", "--limit-frames", "0"], "dh render: Invalid value for '--limit-frames'"),
    (["render", "night.yaml", "--on-finish", " "], "dh render: --on-finish: expected a command"),
    (["render", "night.yaml", "--on-finish", "say 'done"], "dh render: --on-finish: expected a command"),
    (
        ["render", "night.yaml", "--audio", "a.wav"],
        "dh render: give a manifest or --audio, --video and --out or --save-path, not",
    ),
    (["render", "--audio", "a.wav", "--video", "v.mp4"], "dh render: give a manifest, or --audio"),
    (
        ["render", "--audio", "a.wav", "--video", "v.mp4", "--save-path", "o.avi"],
        "dh render: --save-path: found 'o.avi'",
    ),
    (
        ["render", "--audio", "a.wav", "--video", "v.mp4", "--save-path", "o.mp4", "--job", "o"],
        "dh render: --job and --shard choose among several jobs; there is one",
    ),
    (
        ["render", "--audio", "a.wav", "--video", "v.mp4", "--save-path", "o.mp4", "--shard", "1/2"],
        "dh render: --job and --shard choose among several jobs; there is one",
    ),
    (
        ["render", "night.yaml", "--force", "--if-exists", "fail"],
        "dh render: give --force or --if-exists fail, not both",
    ),
    (
        ["render", "night.yaml", "--fail-fast", "--max-failures", "2"],
        "dh render: give --fail-fast or --max-failures, not both",
    ),
    (["check"], "dh check: give a manifest"),
    (["schema", "song"], "dh schema: Invalid value for 'kind': 'song' is not one of"),
    (["models", "info"], "dh models info: Missing argument"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_usage_is_2_and_says_what_and_where_to_look(
    arguments: list[str], says: str, dh: Any, night: Path
) -> None:
    said = dh(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(says)
    assert said.last.startswith("    Try 'dh")
    assert not list(night.parent.glob("*.mp4*"))


@pytest.mark.parametrize(("arguments", "verb"), [([], "render"), (["models"], "verify")])
def test_no_verb_is_wrong_usage_that_shows_the_verbs(arguments: list[str], verb: str, dh: Any) -> None:
    said = dh(*arguments)
    assert (said.code, said.out) == (2, "")
    assert f" {verb} " in said.err
    assert "Missing command." in said.err
    assert said.last.startswith("    Try 'dh")


@pytest.mark.parametrize("flag", ["--log-file", "--metrics-file", "--junit", "--run-lock"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("night.yaml", "the manifest"),
        ("./link.yaml", "the manifest"),
        ("one.mp4", "the output of the job one,"),
        ("three.mp4.json", "the result of the job three,"),
        ("missing.mp4", "the video of the job two,"),
    ],
)
def test_2_a_report_over_what_a_run_reads_or_writes(dh: Any, night: Path, flag: str, name: str, what: str) -> None:
    (night.parent / "link.yaml").symlink_to(night)
    before = sorted((path.name, path.read_bytes()) for path in night.parent.iterdir())
    said = dh("render", str(night), flag, str(night.parent / name))
    assert said.code == 2
    assert f"{flag} would overwrite {what} {night.parent}" in said.err
    assert sorted((path.name, path.read_bytes()) for path in night.parent.iterdir()) == before


def test_2_a_report_over_a_manifest_that_is_refused(dh: Any, tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    manifest.write_text("jobs: [")
    assert dh("render", str(manifest), "--junit", str(manifest)).code == 2
    assert manifest.read_text() == "jobs: ["


def test_2_two_reports_in_one_file(dh: Any, good: list[str], tmp_path: Path) -> None:
    said = dh("render", *good, "--junit", str(tmp_path / "a"), "--log-file", f"{tmp_path}/./a")
    assert said.code == 2
    assert "--junit" in said.err
    assert "is the file of --log-file, too" in said.err
    assert not (tmp_path / "a").exists()


def test_0_success_and_again_up_to_date(dh: Any, good: list[str]) -> None:
    first, second = dh("render", *good), dh("render", *good)
    assert (first.code, first.out) == (0, "")
    assert first.last.startswith("1 job: 1 succeeded in ")
    assert (second.code, second.out) == (0, "")
    assert second.last.startswith("1 job: 1 up to date in ")


def test_1_a_failed_job_does_not_stop_the_others(dh: Any, night: Path) -> None:
    said = dh("render", "night.yaml", "--limit-frames", "2")
    assert (said.code, said.out) == (1, "")
    assert said.last.startswith("3 jobs: 2 succeeded, 1 failed (input.missing) in ")
    assert f"  two: input.missing: video {night.parent}/missing.mp4: there is no such file." in said.err
    assert f"All that is known: {night.parent}/two.mp4.json" in said.err
    assert json.loads((night.parent / "two.mp4.json").read_text())["error"]["code"] == "input.missing"
    assert not (night.parent / "two.mp4").exists()


def test_1_a_folder_that_is_not_there_is_told_in_three_lines(dh: Any, good: list[str], tmp_path: Path) -> None:
    """The commonest slip: nothing is lost, since nothing was done."""
    said = dh("render", *good, "--save-path", str(tmp_path / "nodir" / "a.mp4"), "--progress", "plain", "--no-mkdir")
    assert said.code == 1
    lines = said.err.splitlines()
    assert len(lines) <= 6
    assert any(f"The folder of the output {tmp_path}/nodir/a.mp4 does not exist" in line for line in lines)
    assert "result.lost" not in said.err
    assert not (tmp_path / "nodir").exists()


def test_a_missing_folder_is_made(dh: Any, good: list[str], tmp_path: Path) -> None:
    deep = tmp_path / "new" / "er"
    paths = ["--save-path", str(deep / "a.mp4"), "--audio", str(tmp_path / "missing.wav")]
    assert dh("render", *good, "--save-path", str(deep / "a.mp4"), "--dry-run").code == 0
    assert not (tmp_path / "new").exists()
    assert dh("render", *good[2:4], *good[6:], *paths).code == 1
    assert [path.name for path in deep.iterdir()] == ["a.mp4.json"]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_file_in_the_place_of_a_folder(dh: Any, good: list[str], tmp_path: Path, dry: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    said = dh("render", *good, "--save-path", str(tmp_path / "file" / "new" / "a.mp4"), *dry)
    assert (said.code, "its folder cannot be written: Not a directory" in said.err) == (1, True)


def test_65_every_problem_of_a_manifest_and_the_code_last(dh: Any, night: Path) -> None:
    night.write_text(night.read_text().replace("video:", "vidoe:", 1).replace("id: three", "id: '.'"))
    said = dh("render", "night.yaml")
    assert (said.code, said.out) == (65, "")
    assert "night.yaml:6: jobs[0].vidoe: unknown key, did you mean 'video'?" in said.err
    assert said.last == "dh: nothing was done: 3 problems [manifest.invalid]"


@pytest.mark.parametrize("manifest", ["nowhere.yaml", "."])
def test_66_no_manifest(manifest: str, dh: Any) -> None:
    said = dh("check", manifest)
    assert said.code == 66
    assert said.last == "dh: nothing was done: 1 problem [manifest.unreadable]"


@pytest.mark.slow
def test_66_closed_standard_input(program: Any) -> None:
    said = program("dh render - <&-")
    assert said.code == 66
    assert "standard input is closed" in said.err


def test_69_no_ffmpeg(dh: Any, good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DH_FFMPEG", "/nowhere/ffmpeg")
    said = dh("render", *good)
    assert said.code == 69
    assert "Correct the variable DH_FFMPEG" in said.err
    assert said.last.startswith("1 job: 1 failed (env.ffmpeg_missing) in ")


def test_1_no_such_model(dh: Any, night: Path) -> None:
    said = dh("render", str(night), "--model", "nobody")
    assert said.code == 1
    assert said.last.startswith("3 jobs: 3 failed (2 x model.missing, input.missing) in ")


def test_70_a_bug_shows_where_and_is_told_in_the_last_line(
    dh: Any, night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(preview, "preview", broken)
    said = dh("check", str(night))
    assert said.code == 70
    assert "Traceback" in said.err
    assert said.last.startswith("dh: something unforeseen; please report it")
    assert said.last.endswith("[internal.bug]")


def test_74_results_that_cannot_be_written_stand_on_stderr(dh: Any, good: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = dh("render", *good, "--results-dir", str(tmp_path / "file"), "-q")
    assert said.code == 74
    told = next(line for line in said.err.splitlines() if line.endswith("[result.lost]"))
    result, _ = json.JSONDecoder().raw_decode(told[told.index("{") :])
    assert result["status"] == "failed"
    assert said.last.startswith("1 job: 1 failed")


def test_75_locked_by_another_run(dh: Any, good: list[str], tmp_path: Path) -> None:
    with output_lock(tmp_path / "good.mp4"):
        said = dh("render", *good, "--retries", "0")
    assert said.code == 75
    assert said.last.startswith("1 job: 1 failed (env.locked) in ")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_128_n_a_signal_ends_the_run_after_clean_up(
    number: int, good: list[str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ffmpeg = tmp_path_factory.mktemp("bin") / "ffmpeg"  # its encoder takes frames and never ends
    ffmpeg.write_text(
        f'#!/bin/sh\ncase " $* " in *" pipe:0 "*) cat > /dev/null; exec sleep 600;; esac\nexec {find_ffmpeg()} "$@"\n'
    )
    ffmpeg.chmod(0o755)
    command = [sys.executable, "-m", "dhcli", "render", *good[:6], "--json"]
    environment = os.environ | {"DH_FFMPEG": str(ffmpeg)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("stage") == "render":
                break
        process.send_signal(number)
        events = [json.loads(line) for line in process.stdout]
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert stderr.splitlines()[-1].startswith("1 job: 1 cancelled in ")
    assert events[-1]["event"] == "summary"
    assert events[-1]["exit_code"] == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["good.mp4.json"]


@pytest.mark.slow
def test_130_an_interrupt_before_the_first_job_is_one_line(tmp_path: Path) -> None:
    manifest = tmp_path / "night.yaml"
    os.mkfifo(manifest)
    command = [sys.executable, "-m", "dhcli", "render", str(manifest)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, manifest.open("wb"):
        process.send_signal(signal.SIGINT)  # the manifest opens when dh opens it, which then waits for the first byte
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "dh: interrupted; nothing was done\n"


def test_every_exit_code_has_a_test_here() -> None:
    tested = {name.split("_")[1] for name in globals() if name.startswith("test_")} | {"2"}
    assert {str(code) for code in EXIT_CODES} <= tested
