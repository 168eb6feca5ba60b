"""Many jobs in one line: files on the command line, patterns of ids, and the expansion of a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dhcli.command.job_flags import spread

MANIFEST = """\
version: 1
vars: {show: monday}
defaults: {label: "${show}-", save_path: "{label}{video.stem}-{audio.stem}.mp4"}
matrix: {audio: takes/*.wav, video: [anna.mp4, ben.mp4], exclude: {audio: "takes/*2*", video: ben.mp4}}
jobs: [{audio: a.wav, video: anna.mp4, id: later, skip: true}]
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    (tmp_path / "takes").mkdir()
    for number in (1, 2):
        (tmp_path / f"takes/{number}.wav").touch()
    (tmp_path / "many.yaml").write_text(MANIFEST)
    return tmp_path


def test_the_expansion_is_a_manifest_with_the_same_expansion(dh: Any, many: Path) -> None:
    said = dh("check", "many.yaml", "--expand", "--var", "show=x", "--set", "crf=20")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[:7] == [
        "version: 1",
        "jobs:",
        "  - id: x-anna-1",
        f"    audio: {many}/takes/1.wav",
        f"    video: {many}/anna.mp4",
        f"    save_path: {many}/x-anna-1.mp4",
        "    crf: 20",
    ]
    (many / "plain.yaml").write_text(said.out)
    assert dh("check", "plain.yaml", "--expand").out == said.out
    as_json = dh("check", "plain.yaml", "--expand", "--json").out
    assert [job["id"] for job in json.loads(as_json)["jobs"]] == ["x-anna-1", "x-anna-2", "x-ben-1"]
    (many / "plain.json").write_text(as_json)
    assert dh("check", "plain.json", "--expand").out == said.out


def test_jobs_are_chosen_by_patterns(dh: Any, many: Path) -> None:
    def chosen(*ids: str) -> list[str]:
        said = dh("check", "many.yaml", "--expand", "--json", *(f"--job={text}" for text in ids))
        return [Path(job["save_path"]).stem for job in json.loads(said.out)["jobs"]]

    assert chosen("*-anna-*") == ["monday-anna-1", "monday-anna-2"]
    assert chosen("monday-ben-1", "*1") == ["monday-anna-1", "monday-ben-1"]
    (many / "many.yaml").write_text("version: 1\njobs: [{audio: a, video: v, save_path: '[x].mp4'}, "
                                    "{audio: a, video: v, save_path: x.mp4}]")  # fmt: skip
    assert chosen("[x]") == ["[x]"]


@pytest.mark.usefixtures("many")
def test_no_such_job(dh: Any) -> None:
    said = dh("check", "many.yaml", "--job", "y*")
    assert (said.code, said.err.splitlines()[0]) == (2, "dh check: no job 'y*' in the manifest")
    said = dh("check", "many.yaml", "--job", "later")
    assert said.err.splitlines()[0] == "dh check: the manifest leaves the job 'later' out: it has 'skip: true'"


@pytest.mark.usefixtures("many")
def test_files_instead_of_a_manifest(dh: Any) -> None:
    """By a pattern in quotes, or what a shell makes of one."""
    quoted = dh("check", "--audio", "takes/*.wav", "--video", "anna.mp4", "--out", "out", "--expand")
    expanded = dh("check", "--audio", "takes/1.wav", "takes/2.wav", "--video", "anna.mp4", "--out", "out", "--expand")
    assert quoted.out == expanded.out
    assert quoted.out.count("save_path") == 2
    part = dh("check", "--audio", "takes/*.wav", "--video=anna.mp4", "--out", "out", "--expand", "--job", "2")
    assert part.out.count("save_path") == 1


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--audio a b --video v -v w", "--audio a --audio b --video v -v w"),
        ("m --audio=a b --out o", "m --audio=a --audio b --out o"),
        ("--audio -a - b --json c", "--audio -a --audio - --audio b --json c"),
        ("--audio a -- b c", "--audio a -- b c"),
        ("--audio", "--audio"),
    ],
)
def test_each_file_gets_its_flag(typed: str, meant: str) -> None:
    assert spread(typed.split()) == meant.split()
