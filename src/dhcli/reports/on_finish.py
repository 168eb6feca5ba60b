"""`--on-finish`: one command after the run, for a dead man's switch or a message to somebody.

It is the user's: it runs without a shell, may fail without a consequence, and may not keep the run from ending.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess

from dhcli.child import exit_text
from dhcli.errors import describe
from dhcli.events import Summary, as_json

LIMIT_S = 60.0
AFTER_SIGNAL_S = 10.0
"""Whoever sent the signal waits: systemd and Kubernetes kill after 90 and 30 s."""
STDERR = 2


def run_on_finish(command: str, summary: Summary, manifest: str | None, limit_s: float | None = None) -> str | None:
    """Run the command and wait for its end: None where it succeeded, else what went wrong."""
    if limit_s is None:
        limit_s = AFTER_SIGNAL_S if summary.exit_code > 128 else LIMIT_S
    try:
        process = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=STDERR,  # stdout belongs to --json
            env=os.environ | _variables(summary, manifest),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: no closing quote, or a null byte
        return f"it could not be started: {describe(error)}"
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"it still ran after {limit_s:g} s and was killed"
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None if code == 0 else f"it ended with {exit_text(code)}"


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
