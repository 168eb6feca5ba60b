"""From folders, results, outputs and manifests to jobs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from dhcli.errors import ManifestError
from dhcli.overview.collect import NothingFoundError, collect, since
from dhcli.overview.summary import row_of, summary_of
from overview.conftest import BEGAN, KeepResult, failed, made


def test_a_folder_counts_with_all_below_it_and_other_json_is_left_out(keep: KeepResult, tmp_path: Path) -> None:
    keep(made("a"))
    below = keep(made("b"), "b").rename(tmp_path / "out" / "b.json")
    (tmp_path / "out" / "deep").mkdir()
    below.rename(tmp_path / "out" / "deep" / "b.json")
    (tmp_path / "out" / "settings.json").write_text('{"theme": "dark"}')
    keep(made("c"), "c.preview")
    assert {one.job_id for one in collect([tmp_path / "out"])} == {"a", "b"}


def test_outputs_of_other_containers_are_jobs_and_their_previews_are_none(keep: KeepResult, tmp_path: Path) -> None:
    keep(failed("web")).rename(tmp_path / "out" / "web.webm.json")
    keep(made("m"), "m.preview").rename(tmp_path / "out" / "m.preview.mov.json")
    (found,) = collect([tmp_path / "out"])
    assert found.save_path == str(tmp_path / "out" / "web.webm")
    assert [one.job_id for one in collect([tmp_path / "out" / "web.webm"])] == ["web"]


def test_a_job_that_is_named_twice_is_there_once(keep: KeepResult, tmp_path: Path) -> None:
    path = keep(made("a"))
    output = path.with_name("a.mp4")
    assert len(collect([tmp_path / "out", path, output])) == 1


def test_a_manifest_names_jobs_without_a_result(keep: KeepResult, tmp_path: Path) -> None:
    keep(made("done"))
    jobs = "".join(f"  - {{audio: a.wav, video: v.mp4, save_path: out/{name}.mp4}}\n" for name in ("done", "never"))
    manifest = tmp_path / "night.yaml"
    manifest.write_text(f"version: 1\njobs:\n{jobs}")
    assert {one.job_id: one.state for one in collect([manifest])} == {"done": "succeeded", "never": "missing"}


def test_an_empty_folder_and_a_file_that_is_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match="no result of dh"):
        collect([tmp_path])
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(ManifestError):
        collect([text])


def test_a_damaged_result_is_a_job_with_trouble(keep: KeepResult, tmp_path: Path) -> None:
    path = keep(made("a"))
    path.write_text(path.read_text()[:300])
    (found,) = collect([tmp_path / "out"])
    assert (found.job_id, found.state) == ("a.mp4", "missing")
    assert "damaged" in found.trouble
    assert row_of(found).suspicion == 100


def test_since_keeps_what_ended_then_or_never_ran(keep: KeepResult, tmp_path: Path) -> None:
    keep(made("old"))
    keep(made("new", at_s=3600))
    late = since(collect([tmp_path / "out"]), BEGAN + dt.timedelta(minutes=30))
    assert [one.job_id for one in late] == ["new"]


def test_the_summary_merges_shards(keep: KeepResult, tmp_path: Path) -> None:
    keep(made("a", run_id="one"))
    keep(made("b", run_id="two", at_s=60, picture={"shown": 0.02}))
    keep(failed("c", run_id="two", at_s=90))
    summary = summary_of(row_of(one) for one in collect([tmp_path / "out"]))
    assert (summary.jobs, summary.succeeded, summary.failed, summary.worth_a_look) == (3, 2, 1, 1)
    assert (summary.runs, summary.codes, summary.video_s) == (("one", "two"), {"face.lost": 1}, 20.0)
    assert (summary.started_at, summary.finished_at) == (BEGAN, BEGAN + dt.timedelta(seconds=95))
    assert [one.job_id for one in summary.results] == ["c", "b", "a"]
