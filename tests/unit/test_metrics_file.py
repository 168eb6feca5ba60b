"""Metrics: what this run says, what is taken over from the one before, and what a collector can read."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dhcli.events import Summary
from dhcli.reports.metrics_file import (
    KINDS,
    MAX_BYTES,
    Samples,
    ended,
    is_ours,
    metrics_text,
    read_metrics,
    started,
)

GOOD = Summary("r", 3, 2, 1, 0, 0, 0, 60.5, 0)
BAD = Summary("r", 3, 0, 0, 2, 0, 1, 10.0, 1, {"face.lost": 2})


def end(earlier: Samples, now_s: float, summary: Summary, frames: int = 100) -> Samples:
    return ended(earlier, now_s, summary, exit_code=summary.exit_code, frames=frames, peak_rss=500 << 20)


def test_a_failed_run_keeps_the_last_success() -> None:
    after = end(end({}, 1000.0, GOOD), 2000.0, BAD)
    assert after["dh_run_last_success_timestamp_seconds"] == 1000
    assert after["dh_run_last_end_timestamp_seconds"] == 2000
    assert after["dh_run_start_timestamp_seconds"] == 1990
    assert after["dh_run_exit_code"] == 1
    assert after["dh_frames_total"] == 200
    assert (after['dh_jobs{status="failed"}'], after['dh_jobs{status="not_started"}']) == (2, 1)
    assert after['dh_errors{code="face.lost"}'] == 2


def test_errors_of_an_earlier_run_are_gone_after_the_next() -> None:
    assert not [series for series in end(end({}, 1000.0, BAD), 2000.0, GOOD) if series.startswith("dh_errors")]


def test_never_succeeded_is_zero_and_not_nothing() -> None:
    assert end({}, 1000.0, BAD)["dh_run_last_success_timestamp_seconds"] == 0


def test_a_start_changes_the_start_alone() -> None:
    earlier = end({}, 1000.0, BAD)
    assert started(earlier, 5000.0) == earlier | {"dh_run_start_timestamp_seconds": 5000}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "dh.prom"
    samples = end({}, 1000.25, BAD)
    path.write_text(metrics_text(samples))
    assert read_metrics(path) == samples


def test_the_text_is_the_exposition_format() -> None:
    text = metrics_text(end({}, 1000.0, BAD))
    assert text.endswith("\n")
    seen = []
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (gauge|counter))", line)
            seen.append(line.split()[2])
        else:
            assert re.fullmatch(r'\w+(\{\w+="[\w.]+"\})? \d+(\.\d+)?', line), line
            assert line.startswith(seen[-1]), "samples follow their own help"
    assert set(seen) == set(KINDS)


def test_a_damaged_file_is_no_history(tmp_path: Path) -> None:
    path = tmp_path / "dh.prom"
    assert read_metrics(path) == {}
    path.write_bytes(b"dh_frames_total 1\xff\xfe\x00")
    assert read_metrics(path) == {}
    path.write_text("dh_frames_total 1e\nnode_load1 4\ndh_frames_total\ndh_run_exit_code 7\n")
    assert read_metrics(path) == {"dh_run_exit_code": 7}


def test_which_files_are_dhs() -> None:
    assert is_ours(metrics_text(end({}, 1000.0, BAD)).encode())
    assert is_ours(metrics_text({}).encode())
    for foreign in (b"node_load1 4\n", b"dh_jobs 1\nnode_load1 4\n", b"# a note", b"dh.prom", b"\xff\xfe\0", bytes(90)):
        assert not is_ours(foreign)
    assert not is_ours(b"dh_jobs 1\n" * (MAX_BYTES // 10 + 1)), "what is read whole is all of it"


@pytest.mark.parametrize("kind", ["pipe", "large"])
def test_what_cannot_be_a_metrics_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """A pipe without a writer would be waited for, a large file would fill the memory."""
    path = tmp_path / "dh.prom"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(OSError, match=r"not a regular file|no metrics file is so large"):
        read_metrics(path)
