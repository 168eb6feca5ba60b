"""Variables that change what ffmpeg or a shell does: none reaches them that dh does not know."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dhcli.runtime.environment import KNOWN, PREFIX

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]
LIMIT_S = 60.0


@pytest.mark.parametrize("verb", ["render", "doctor"])
def test_a_report_of_ffmpeg_overwrites_nothing(
    dh: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """FFREPORT is obeyed even by `ffmpeg -version`."""
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    monkeypatch.setenv("FFREPORT", "file=precious.txt:level=32")
    monkeypatch.delenv("DH_FFMPEG", raising=False)
    if verb == "render":
        process = dh()
    else:
        argv = [sys.executable, "-m", "dhcli", "doctor", "--device", "cpu"]
        process = subprocess.Popen(argv, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, stderr
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AV_LOG_FORCE_COLOR", "1"),
        ("FFREPORT", "level=99"),
        ("LD_DEBUG", "statistics"),
        ("SHELLOPTS", "noexec"),
        ("LD_PRELOAD", "/nowhere.so"),
        ("LC_ALL", "de_DE.UTF-8"),
    ],
)
def test_a_variable_that_programs_obey_fails_no_job(
    dh: Start,
    stored: Callable[[], Any],
    content: Callable[[], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    process = dh("--no-cache")
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, stderr
    assert stored()["status"] == "succeeded"
    assert content() == ["out.mp4", "out.mp4.json"]
    assert not list(tmp_path.glob("*.log"))


def test_children_get_known_variables_and_those_of_dh(
    dh: Start,
    fake_ffmpeg: Callable[..., Path],
    until: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guard as well: where /bin/sh is bash, an inherited function `read` would be what it runs.

    No library comes from the current folder, which OpenCV would have searched first.
    """
    mark = fake_ffmpeg("decode", "stuck()", 2)
    for name in ("BASH_FUNC_read%%", "FFMPEG_DATADIR", "http_proxy", "SVT_LOG_FILE", "LANG"):
        monkeypatch.setenv(name, "() { :; }")
    monkeypatch.setenv("DH_WRAPPER", "its own")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)  # OpenCV sets it, also in the process of this test
    process = dh()
    assert until(lambda: Path(f"{mark}.now").exists())
    started: list[dict[str, str]] = []

    def all_run() -> bool:
        """A process that a program is just loaded into has no environment."""
        started[:] = [child.environ() for child in psutil.Process(process.pid).children(recursive=True)]
        return all(started)

    assert until(all_run)
    assert len(started) >= 2, "the guard and the wrapper"
    for environment in started:
        assert environment["DH_WRAPPER"] == "its own"
        assert environment["PATH"] == os.environ["PATH"]
        assert "LD_LIBRARY_PATH" not in environment
        ours = {name for name in environment if not name.startswith(PREFIX)}
        assert ours <= KNOWN | {"LC_CTYPE"}, "which Python sets in the wrapper"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)


def test_the_users_own_command_gets_all(dh: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the user has it: what libraries have put there is not in it."""
    monkeypatch.setenv("WEBHOOK_TOKEN", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    process = dh("--on-finish", "sh -c 'echo $WEBHOOK_TOKEN $LD_LIBRARY_PATH > given'")
    process.communicate(timeout=LIMIT_S)
    assert (tmp_path / "given").read_text() == "secret /opt/lib\n"


def test_every_program_is_started_with_an_environment_of_its_own(repository: Path) -> None:
    """A new place that starts programs must say what they get."""
    calls = [
        (path.name, call)
        for path in (repository / "src").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith(("subprocess.", "os.spawn", "os.system"))
    ]
    assert {name for name, _ in calls} == {"child.py", "on_finish.py", "patience.py"}
    assert [name for name, call in calls if "env" not in {keyword.arg for keyword in call.keywords}] == []


def test_the_page_names_every_variable_that_goes_on(repository: Path) -> None:
    page = (repository / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [name for name in sorted(KNOWN) if f"`{name}`" not in page] == []
