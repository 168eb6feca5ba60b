"""What a run would do, found out without writing anything: the core of `dh check` and `--dry-run`.

It owns the tour over the jobs and its exit code. How a job is judged is the attempt's business, how it looks the
console's.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Sequence

from dhcli.attempt import Attempt, Preview
from dhcli.errors import CODES, FAILED, OK, TRY_LATER, DhError
from dhcli.events import JobPlanned, Listener, PlanSummary
from dhcli.options import Job
from dhcli.probes import Probes
from dhcli.record import Record
from dhcli.settings import Settings
from dhcli.timing import rate_text


def preview(settings: Settings, jobs: Sequence[Job], emit: Listener) -> int:
    """Emit a JobPlanned for each job and a PlanSummary; the exit code, which is what a run would refuse with."""
    began_s = time.monotonic()
    actions: collections.Counter[str] = collections.Counter()
    codes: collections.Counter[str] = collections.Counter()
    frames, exit_code = 0, OK
    device = settings.models.device
    settings = dataclasses.replace(settings, probes=Probes(settings.probes.store.reader()))

    @functools.cache
    def unusable(model: str) -> DhError | None:
        """Why a GPU that was asked for cannot run the model: found out by opening it, once."""
        try:
            settings.models.family(model)
        except DhError as error:
            return error
        return None

    for job in jobs:
        record = Record(job, "preview", settings.manifest, 1, 0.0, settings.limit_frames)
        found = Attempt(job, settings, record, lambda *_: None).preview()
        if found.action == "render" and device.kind == "cuda" and device.required:
            error = unusable(job.options.model)
            found = Preview(job, "fail", error.message, error=error) if error is not None else found
        actions[found.action] += 1
        if found.plan is not None:
            frames += found.plan.frames
        if found.error is not None:
            codes[found.error.code] += 1
            stops_run = found.error.info.stops == "run"
            exit_code = found.error.info.exit_code if stops_run and exit_code in {OK, FAILED} else exit_code or FAILED
        emit(_planned(found))
    if exit_code == FAILED and all(CODES[code].transient for code in codes):
        exit_code = TRY_LATER
    emit(
        PlanSummary(
            jobs=len(jobs),
            to_render=actions["render"],
            up_to_date=actions["skip"],
            bad=actions["fail"],
            frames=frames,
            wall_s=time.monotonic() - began_s,
            exit_code=exit_code,
            codes=dict(codes),
        )
    )
    return exit_code


def _planned(found: Preview) -> JobPlanned:
    plan, error = found.plan, found.error
    form = plan.format if plan else None
    return JobPlanned(
        job_id=found.job.id,
        action=found.action,
        reason=error.code if error else found.reason,
        save_path=str(found.job.save_path),
        frames=plan.frames if plan else None,
        fps=rate_text(form.fps) if form else None,
        width=form.width if form else None,
        height=form.height if form else None,
        code=error.code if error else None,
        message=error.message if error else None,
        hint=error.hint if error else None,
    )
