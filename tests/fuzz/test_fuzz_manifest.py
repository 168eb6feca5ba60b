"""Manifests that somebody broke: jobs that can be run, or a list of problems with the manifest's name on every line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dhcli.errors import ManifestError
from dhcli.jobs.options import Job
from dhcli.manifest import load_manifest

EXAMPLES = 10 * int(os.environ.get("DH_FUZZ_SEEDS", "30"))
GOOD = """version: 1
vars: {show: out, who: {env: DH_NONE, default: v}}
presets: {close: {face: left}}
defaults: {loop: hold, crf: 20, gain: 1.2, use: close, save_path: "${show}/{video.stem}{index:03}.mp4"}
matrix:
  audio: [a.wav, {path: b.wav, trim: 1-2}]
  video: "${who}.mp4"
  pair: product
  exclude: {audio: "**/b*"}
  id: "{audio.stem}"
jobs:
  - audio: a.wav
    video: "v.mp4"
    save_path: out/one.mp4
    face: box:1,2,30,40
  - id: two
    audio: a.wav
    video: v.mp4
    save_path: out/two.mp4
    trim: 0:01-0:02
    fps: 30000/1001
"""
PIECES = (
    *(
        "&a ",
        "*a",
        "!!python/object:os.system ",
        "<<: ",
        "? ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "|\n",
        ">-\n",
        "%YAML 1.1\n",
    ),
    *(
        "---\n",
        "...\n",
        "\t",
        "\0",
        "\x1b[31m",
        "\ufeff",
        "\u2028",
        "\ud7ff",
        "😀",
        "'",
        '"',
        '"\\U0010ffff"',
        '"\\x00"',
        "~",
    ),
    *("${show}", "$${", "{id}", "{{", "**/*", "[!", "zip", "skip: true", "use: [close]"),
    *(
        "null",
        "no",
        "007",
        "1:30",
        "2024-01-01",
        "1e400",
        "nan",
        "-1",
        "99999999999999999999",
        "../../../etc/passwd",
        "/dev/null",
    ),
    *(
        "index:9999",
        "box:0,0,0,0",
        "like:",
        "1/0",
        "0x10",
        "id",
        "defaults",
        "out/one.mp4",
        " " * 40,
        "[" * 40,
        "a" * 5000,
    ),
)
EDITS = st.lists(
    st.tuples(st.integers(0, len(GOOD)), st.integers(0, 30), st.sampled_from(PIECES) | st.text(max_size=20)),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS)
def test_a_broken_manifest_is_jobs_or_problems(tmp_path: Path, edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for at, removed, piece in edits:
        text = text[:at] + piece + text[at + removed :]
    path = tmp_path / "night.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = load(path)
    if isinstance(found, ManifestError):
        assert found.code in {f"manifest.{kind}" for kind in ("syntax", "limit", "invalid", "conflict")}
        assert found.problems
        assert all(problem.startswith(str(path)) for problem in found.problems)
        return
    assert len({job.id for job in found}) == len(found)
    assert all(path.is_relative_to(tmp_path) for job in found for path in (job.audio, job.video, job.save_path))


def load(path: Path) -> tuple[Job, ...] | ManifestError:
    try:
        return load_manifest(path, root=path.parent).jobs
    except ManifestError as error:
        return error
