"""Calls of `dh` in the test's own process, and commands that a machine may refuse to run."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass

import pytest

from dhcli import cli


@dataclass(frozen=True)
class Said:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on stderr."""
        return self.err.splitlines()[-1] if self.err else ""


def call_dh(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object) -> Said:
    """Call `main` with these arguments: exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["dh", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert isinstance(ended.value.code, int)
    return Said(ended.value.code, out, err)


@functools.cache
def may_run(*argv: str) -> bool:
    """Whether this machine runs the command: many give an ordinary user no namespaces."""
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
