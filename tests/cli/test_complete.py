"""Completion as a shell asks for it, and the help of flags."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from dhcli.jobs.formats import EncoderName


def completed(folder: Path, line: str) -> list[str]:
    words = line.split(" ")
    asked = {"_DH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    program = "import sys; sys.argv[0] = 'dh'; from dhcli.__main__ import main; main()"
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=folder, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("dh ren", ["render"]),
        ("dh render --only", ["--only-failed"]),
        ("dh render m.yaml --job a", ["anna", "arm"]),
        ("dh check m.yaml --job an", ["anna"]),
        ("dh check none.yaml --job a", []),
        ("dh check m.yaml --model dh", ["dh-base"]),
        ("dh models info fa", ["face-finder"]),
        ("dh render --set enc", [f"encoder={name}" for name in get_args(EncoderName)]),
        ("dh render --set tri", ["trim="]),
    ],
)
def test_completion(tmp_path: Path, line: str, found: list[str]) -> None:
    jobs = "".join(f"  - {{audio: a, video: v, save_path: {name}.mp4}}\n" for name in ("anna", "ben", "arm"))
    (tmp_path / "m.yaml").write_text(f"version: 1\njobs:\n{jobs}")
    assert completed(tmp_path, line) == found
