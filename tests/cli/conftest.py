"""`dh` as a user calls it: in this process where that is enough, as a program where streams and signals matter."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from called import Said, call_dh
from dhcli.families.dh_base.family import DhBase
from dhcli.render.models import Models

MANIFEST = """\
version: 1
defaults: {{preset: ultrafast}}
jobs:
  - id: one
    audio: {speech}
    video: {avatar}
    save_path: one.mp4
  - id: two
    audio: {speech}
    video: missing.mp4
    save_path: two.mp4
  - id: three
    audio: {speech}
    video: {avatar}
    save_path: three.mp4
"""


Dh = Callable[..., Said]


@pytest.fixture
def night(tmp_path: Path, avatar: Path, speech: Path) -> Path:
    """A manifest of three jobs; the second one's video is missing."""
    path = tmp_path / "night.yaml"
    path.write_text(MANIFEST.format(avatar=avatar, speech=speech))
    return path


@pytest.fixture
def good(tmp_path: Path, avatar: Path, speech: Path) -> list[str]:
    """The flags of one job that succeeds: three frames."""
    paths = ["--audio", str(speech), "--video", str(avatar), "--save-path", str(tmp_path / "good.mp4")]
    return [*paths, "--limit-frames", "3", "--set", "preset=ultrafast"]


@pytest.fixture
def dh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], dh_base: DhBase) -> Dh:
    """Call `main` in the test's own folder, with the networks that the tests share; code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(Models, "family", lambda *_: dh_base)

    return functools.partial(call_dh, monkeypatch, capfd)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dh:
    """Run a line of shell in which `dh` is the program; the exit code is that of the line."""
    monkeypatch.setenv("DH_CACHE_DIR", str(tmp_path / "cache"))

    def call(line: str, **environment: str) -> Said:
        script = f'dh() {{ "{sys.executable}" -m dhcli "$@"; }}\n{line}'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call
