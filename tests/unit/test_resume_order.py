from __future__ import annotations

import os
from pathlib import Path

import pytest

from dhcli.jobs.options import Job, JobOptions
from dhcli.results.resume import in_order


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Jobs named after what their results say; `none` has no result."""
    contents = {
        "failed": b'{"status": "failed"}',
        "succeeded": b'{"status": "succeeded", "x": 1}',
        "running": b'{"status": "running"}',
        "none": None,
        "cancelled": b'{"status": "cancelled"}',
        "torn": b'{"status": "fai',
        "list": b"[]",
        "number": b'{"status": 7}',
        "deep": b"[" * 100_000,
        "failed-too": b'{"status": "failed"}',
    }
    made = []
    for index, (name, content) in enumerate(contents.items()):
        path = tmp_path / f"{name}.mp4"
        if content is not None:
            (tmp_path / f"{name}.mp4.json").write_bytes(content)
        made.append(Job(index, None, name, Path("/a.wav"), Path("/v.mp4"), path, JobOptions()))
    return made


def beside(job: Job) -> Path:
    return job.save_path.with_name(f"{job.save_path.name}.json")


def test_what_failed_or_was_killed_comes_last_in_the_manifests_order(jobs: list[Job]) -> None:
    names = [job.id for job in in_order(jobs, beside)]
    assert names == [
        *("succeeded", "none", "cancelled", "torn", "list", "number", "deep"),
        *("failed", "running", "failed-too"),
    ]


def test_only_failed_takes_what_was_tried_and_not_finished(jobs: list[Job]) -> None:
    names = [job.id for job in in_order(jobs, beside, only_failed=True)]
    assert names == ["cancelled", "failed", "running", "failed-too"]


def test_no_jobs() -> None:
    assert in_order([], beside, only_failed=True) == ()


def test_a_pipe_in_place_of_a_result_is_not_waited_for(jobs: list[Job]) -> None:
    os.mkfifo(beside(jobs[3]))
    assert in_order(jobs[3:4], beside) == (jobs[3],)
