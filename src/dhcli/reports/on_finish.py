"""`--on-finish`: a command of the user that dh starts after the run, to send a message for example.

It runs without a shell. If it fails, that is a warning; if it does not end in time, it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
import time

from dhcli.errors import describe
from dhcli.events import Summary, as_json
from dhcli.runtime.child import REAP_S, exit_text
from dhcli.runtime.environment import given_environment

LIMIT_S = 60.0
AFTER_SIGNAL_S = 10.0
"""Limit after a signal: systemd kills 90 s after it, Kubernetes 30 s."""
STDERR = 2
TICK_S = 0.02
"""Interval between two looks whether the command has ended."""


def is_command(text: str) -> bool:
    """Whether the text names a program and closes every quote."""
    try:
        return bool(shlex.split(text))
    except ValueError:
        return False


class OnFinish:
    """The command of a run. `end` may be called from another thread at any time."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()

    def run(self, summary: Summary, manifest: str | None, limit_s: float | None = None) -> str | None:
        """Run the command and wait for its end. Returns None for success, otherwise what went wrong."""
        if limit_s is None:
            limit_s = AFTER_SIGNAL_S if summary.exit_code > 128 else LIMIT_S
        try:
            with self._lock:
                self._process = process = subprocess.Popen(
                    shlex.split(self._command),
                    stdin=subprocess.DEVNULL,
                    stdout=STDERR,  # stdout belongs to --json
                    env=given_environment() | _variables(summary, manifest),
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:  # ValueError: no closing quote, or a null byte
            return f"it could not be started: {describe(error)}"
        try:
            code = self._wait(process, limit_s)
        finally:
            self._kill()
        if self._ended.is_set():
            return "a signal ended it"
        if code is None:
            return f"it still ran after {limit_s:g} s and was killed"
        return None if code == 0 else f"it ended with {exit_text(code)}"

    def end(self) -> None:
        """Kill the command and all its children, if it runs."""
        with self._lock:  # waits while `run` is starting the command
            runs = self._process is not None
        if runs:
            self._ended.set()
            self._kill()

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> int | None:
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            with self._lock:
                if process.poll() is not None:
                    break
            self._ended.wait(TICK_S)
        return process.returncode

    def _kill(self) -> None:
        with self._lock:  # only before it is reaped: after that, its group id may belong to another process
            process = self._process
            if process is not None and process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(
                    subprocess.TimeoutExpired
                ):  # blocked by a disk that does not respond; no signal ends it
                    process.wait(REAP_S)
            self._process = None


def _variables(summary: Summary, manifest: str | None) -> dict[str, str]:
    return {
        "DH_EXIT_CODE": str(summary.exit_code),
        "DH_RUN_ID": summary.run_id,
        "DH_MANIFEST": manifest or "",
        "DH_JOBS": str(summary.jobs),
        "DH_SUCCEEDED": str(summary.succeeded),
        "DH_SKIPPED": str(summary.skipped),
        "DH_FAILED": str(summary.failed),
        "DH_CANCELLED": str(summary.cancelled),
        "DH_NOT_STARTED": str(summary.not_started),
        "DH_SUMMARY_JSON": json.dumps(as_json(summary)),
    }
