"""What a run would do, found out without writing anything: the core of `dh check` and `--dry-run`.

`Attempt.preview` judges each job; this module goes through all jobs, emits the events and decides the exit code.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from dhcli.errors import CODES, FAILED, OK, TRY_LATER, Code, DhError
from dhcli.events import JobPlanned, Listener, PlanSummary
from dhcli.jobs.options import Job
from dhcli.render.probes import Probes
from dhcli.runs.attempt import Attempt, Preview
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.settings import Settings
from dhcli.runtime.disk_calls import DiskCalls, OnStep
from dhcli.timing import rate_text

GRACE_S = 5.0
"""Added to the stall timeout: the watchdog of the job comes first, since its message names the stage."""
Order: TypeAlias = Callable[[Sequence[Job], Callable[[Job], Path]], Sequence[Job]]
"""Chooses and orders the jobs by their earlier results."""


def preview(settings: Settings, jobs: Sequence[Job], emit: Listener, order: Order | None = None) -> int:
    """Emit a JobPlanned for each job and a PlanSummary; the exit code, which is what a run would refuse with.

    A disk that gives no answer ends the tour: what is left is said to be left. Raises DhError stalled where earlier
    results lie on one, which `order` asks for.
    """
    began_s = time.monotonic()
    actions: collections.Counter[str] = collections.Counter()
    codes: collections.Counter[Code] = collections.Counter()
    frames, exit_code = 0, OK
    device = settings.models.device
    settings = dataclasses.replace(settings, probes=Probes(settings.probes.store.reader()))

    on_disk = DiskCalls(settings.stall_timeout_s + GRACE_S)

    @functools.cache
    def unusable(model: str) -> DhError | None:
        """Why a GPU that was asked for cannot run the model: found out by opening it, once."""
        try:
            on_disk(f"the model {model}", lambda: settings.models.family(model))
        except DhError as error:
            return error
        return None

    if order is not None:
        jobs = _ordered(order, jobs, settings, on_disk)
    for job in jobs:
        found, answered = _looked_at(job, settings, on_disk)
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
        if not answered:
            break
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


def _ordered(order: Order, jobs: Sequence[Job], settings: Settings, on_disk: DiskCalls) -> Sequence[Job]:
    def in_order(on_step: OnStep) -> Sequence[Job]:
        def result_path(job: Job) -> Path:
            path = settings.result_path(job)
            on_step(str(path))
            return path

        return order(jobs, result_path)

    return on_disk.in_steps("earlier results", in_order)


def _looked_at(job: Job, settings: Settings, on_disk: DiskCalls) -> tuple[Preview, bool]:
    """What a run would do with the job; False: a disk gave no answer, so it is not certain."""
    record = AttemptRecord(job, "preview", settings.manifest, 1, 0.0, settings.limit_frames)
    attempt = Attempt(job, settings, record, lambda *_: None)
    what = f"one of {job.video}, {job.audio}, {job.save_path}"
    try:
        return on_disk.in_steps(what, lambda on_step: attempt.preview(lambda: on_step(what))), True
    except DhError as error:
        return Preview(job, "fail", error.message, error=error), False


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
