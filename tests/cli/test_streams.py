"""Terminals, logs and pipes that are closed, full, dumb or ASCII: the render goes on, and nobody sees a traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RENDER = "dh render night.yaml --limit-frames 2 --job one --job two"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"{RENDER} --json >&-", 74),
        (f"{RENDER} --json >/dev/full", 74),
        (f"{RENDER} >&-", 1),
        (f"{RENDER} 2>&-", 1),
        (f"{RENDER} 2>/dev/full", 1),
        (f"{RENDER} >&- 2>&- <&-", 1),
    ],
)
def test_a_stream_that_cannot_be_written_stops_no_job(line: str, code: int, program: Any, night: Path) -> None:
    said = program(line)
    assert said.code == code
    assert "Traceback" not in said.err
    result = json.loads((night.parent / "one.mp4.json").read_text())
    assert result["status"] == "succeeded"
    assert (night.parent / "one.mp4").stat().st_size == result["output"]["bytes"]
    assert json.loads((night.parent / "two.mp4.json").read_text())["error"]["code"] == "input.missing"


@pytest.mark.usefixtures("night")
def test_a_reader_that_leaves_is_told_of_in_the_exit_code(program: Any) -> None:
    said = program(f"{RENDER} --json | head -n 1; exit ${{PIPESTATUS[0]}}")
    assert said.code == 74
    assert json.loads(said.out)["event"] == "batch_started"
    assert "[events.lost]" in said.err
    assert said.last.startswith("2 jobs: 1 succeeded, 1 failed")


@pytest.mark.parametrize("verb", ["--version", "--help", "render --help", "schema result", "models list", "doctor"])
@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_an_answer_that_cannot_be_given_is_74_and_one_line(verb: str, where: str, program: Any) -> None:
    said = program(f"dh {verb} >{where}")
    assert said.code == 74
    assert said.err.startswith("dh: stdout cannot be written: ")
    assert len(said.err.splitlines()) == 1


@pytest.mark.usefixtures("night")
def test_a_full_log_of_a_check_is_74(program: Any) -> None:
    said = program("dh check night.yaml --json >/dev/full")
    assert said.code == 74
    assert said.last == "3 jobs: 2 to render (356 frames), 1 bad (input.missing)"


def test_names_that_the_locale_cannot_write(program: Any, night: Path) -> None:
    name = "ж\x1b[31m\u202e\n.mp4"
    night.write_text(night.read_text().replace("save_path: one.mp4", f"save_path: {json.dumps(name)}"))
    said = program(RENDER, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert said.code == 1
    assert "\\u0436\\x1b[31m\\u202e\\n.mp4" in said.err
    assert (night.parent / name).exists()


def test_a_manifest_on_standard_input_is_relative_to_the_current_folder(program: Any, night: Path) -> None:
    said = program(f"cat night.yaml | {RENDER.replace('night.yaml', '-')}")
    assert said.code == 1
    assert (night.parent / "one.mp4").exists()


def _on_a_terminal(line: str, folder: Path, **environment: str) -> str:
    """What a person sees on a terminal of 80 columns."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    command = [sys.executable, "-m", "dhcli", *shlex.split(line)[1:]]
    variables = {**os.environ, "TERM": "xterm", "DH_CACHE_DIR": str(folder), **environment}
    with subprocess.Popen(command, cwd=folder, env=variables, stderr=follower, stdout=subprocess.DEVNULL) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux says EIO when the other side is closed
                break
            seen += part
        process.wait(timeout=60)
    os.close(leader)
    return seen.decode()


def test_a_terminal_gets_a_bar_colours_and_a_table(night: Path) -> None:
    seen = _on_a_terminal("dh render night.yaml --limit-frames 30", night.parent)
    assert re.search(r"\[1/3\] one: rendering: +[0-9]+%\|.*frames/s\]", seen)
    assert "\x1b[32m" in seen
    assert "Failed jobs" in seen
    assert seen.rstrip().splitlines()[-1].count("3 jobs: 2 succeeded, 1 failed (input.missing) in ") == 1


@pytest.mark.parametrize(
    ("flags", "environment", "colours"),
    [
        ("", {"TERM": "dumb"}, False),
        ("--progress plain", {}, True),
        ("--json -v", {}, True),
        ("--progress none", {"NO_COLOR": "1"}, False),
    ],
)
def test_no_bar_where_none_is_wanted(flags: str, environment: dict[str, str], colours: bool, night: Path) -> None:
    seen = _on_a_terminal(f"dh render night.yaml --limit-frames 2 --job one {flags}", night.parent, **environment)
    assert "%|" not in seen
    assert ("\x1b[32m" in seen) is colours
    assert "[1/1] one: ok, 2 frames in " in seen


def test_a_plan_on_a_terminal_is_a_table_with_the_hints_below(night: Path) -> None:
    seen = _on_a_terminal("dh check night.yaml", night.parent, NO_COLOR="1")
    assert "output" in seen
    assert "    Correct the path; in a manifest file it is relative to that file, else to the current folder." in seen
    assert "3 jobs: 2 to render (356 frames), 1 bad (input.missing)" in seen
