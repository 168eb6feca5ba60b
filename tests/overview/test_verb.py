"""`dh report` and `dh render --report` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overview.conftest import Dh, KeepResult, failed, made


def test_the_summary_as_json(dh: Dh, keep: KeepResult) -> None:
    keep(made("a"))
    keep(failed("b"))
    said = dh("report", "out", "--json")
    summary = json.loads(said.out)
    assert said.code == 0
    assert (summary["jobs"], summary["codes"]) == (2, {"face.lost": 1})
    assert [one["job_id"] for one in json.loads(dh("report", "out", "--failed", "--json").out)["results"]] == ["b"]
    assert json.loads(dh("report", "out", "--since", "2026-11-23", "--json").out)["jobs"] == 0


def test_a_page_of_videos_that_are_gone_says_so(dh: Dh, keep: KeepResult, tmp_path: Path) -> None:
    keep(made("a"))
    said = dh("report", "out", "-o", "night.html")
    assert said.code == 0, said.err
    assert "1 job, 0 worth a look, on night.html" in said.err
    assert "cannot be read: No such file or directory" in (tmp_path / "night.html").read_text()


def test_a_page_replaces_a_page_and_no_other_file(dh: Dh, keep: KeepResult, tmp_path: Path) -> None:
    keep(made("a"))
    assert dh("report", "out", "-o", "night.html", "--no-pictures").code == 0
    assert dh("report", "out", "-o", "night.html", "--no-pictures").code == 0
    mine = tmp_path / "mine.html"
    mine.write_text("<!doctype html><title>Mine</title>")
    said = dh("report", "out", "-o", "mine.html")
    assert said.code == 2
    assert "-o would replace mine.html" in said.err
    assert "Mine" in mine.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "out"], "give the page to write"),
        (["report", "out", "-o", "n.html", "--since", "yesterday"], "--since yesterday: expected"),
        (["report", "empty", "--json"], "no result of dh is in this folder"),
    ],
)
def test_wrong_usage(dh: Dh, keep: KeepResult, tmp_path: Path, arguments: list[str], words: str) -> None:
    keep(made("a"))
    (tmp_path / "empty").mkdir()
    said = dh(*arguments)
    assert said.code == 2
    assert words in said.err


@pytest.mark.slow
def test_a_run_ends_with_its_page(dh: Dh, avatar: Path, speech: Path, tmp_path: Path) -> None:
    jobs = "".join(
        f"  - {{id: {name}, audio: {speech}, video: {video}, save_path: {name}-out.mp4, preset: ultrafast}}\n"
        for name, video in (("good", avatar), ("gone", "gone.mp4"))
    )
    (tmp_path / "night.yaml").write_text(f"version: 1\njobs:\n{jobs}")
    flags = ["--report", "night.html", "--device", "cpu", "--limit-frames", "12"]
    assert dh("render", "night.yaml", *flags).code == 1
    page = (tmp_path / "night.html").read_text()
    assert page.count('<tbody id="job-') == 2
    assert "input.missing" in page
    assert page.count("data:image/jpeg") >= 6
    assert dh("render", "night.yaml", *flags).code == 1
    assert "up to date" in (tmp_path / "night.html").read_text()


def test_a_run_that_is_refused_says_so_on_its_page(dh: Dh, tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text("version: 1\njobs:\n  - {audio: a.wav}\n")
    assert dh("render", "night.yaml", "--report", "night.html").code == 65
    page = (tmp_path / "night.html").read_text()
    assert "No job has begun" in page
    assert "jobs[0].video: missing" in page


def test_a_dry_run_writes_no_page(dh: Dh, tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text("version: 1\njobs:\n  - {audio: a.wav, video: v.mp4, save_path: o.mp4}\n")
    dh("render", "night.yaml", "--report", "night.html", "--dry-run")
    assert not (tmp_path / "night.html").exists()
