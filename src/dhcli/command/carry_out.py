"""The jobs of a call rendered: the batch, with an audience that a signal must not keep waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dhcli.command.console import Audience
from dhcli.jobs.options import Job
from dhcli.reports import Reports
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Policy, Settings


def render_jobs(
    settings: Settings, jobs: Sequence[Job], manifest: Path | None, policy: Policy, audience: Audience, reports: Reports
) -> int:
    """Render the jobs; the exit code of the run."""

    def on_signal(number: int) -> None:
        audience.hurry()
        reports.signalled(number)

    def on_end() -> None:
        audience.hurry()
        reports.hurry()

    return Batch(settings, reports, policy, on_signal, on_end).run(jobs, manifest).exit_code
