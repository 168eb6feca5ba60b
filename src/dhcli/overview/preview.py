"""Three seconds of a job around the loudest part of its speech: a job of its own, with its contact sheet."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

from dhcli.disk.names import sheet_path
from dhcli.events import Listener
from dhcli.jobs.options import Job, Trim
from dhcli.media.input_file import InputFile
from dhcli.overview.beside import SheetWriter
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Settings
from dhcli.runtime.interruptible import SignalledError, interruptible
from dhcli.runtime.scope import Scope
from dhcli.sheets.loudness import loudest, loudness

LENGTH_S = 3
"""Some words."""
STAGE = "preview"


def preview_path(job: Job) -> Path:
    """Where the three seconds go: `promo.preview.mp4` beside `promo.mp4`."""
    return job.save_path.with_name(f"{job.save_path.stem}.preview{job.save_path.suffix}")


def render_preview(job: Job, settings: Settings, emit: Listener) -> int:
    """Render them and write their sheet. The exit code is that of the run.

    Raises DhError input.*, audio.*, decode.*, env.* where the speech cannot be read, and output.* for the sheet.
    """
    try:
        with interruptible(STAGE, "the preview") as scope:
            short = shortened(job, _loudest_part(job, scope))
            code = Batch(settings, emit).run([short], settings.manifest).exit_code
            if not code:
                sheet = sheet_path(short.save_path)
                SheetWriter().write(settings.models, settings.result_path(short), sheet, lambda _: scope.check())
    except SignalledError as end:
        return end.exit_code
    return code


def shortened(job: Job, part: Trim) -> Job:
    """The job of its own that a preview is. What counts in the output's time does not apply to it."""
    changes = {"trim": part, "leave": None, "speak": None}
    return dataclasses.replace(
        job, id=f"{job.id}.preview", save_path=preview_path(job), options=job.options.model_copy(update=changes)
    )


def _loudest_part(job: Job, scope: Scope) -> Trim:
    """Three seconds of the speech, inside of the job's own `trim`; less where that has less."""
    trim, track = job.options.trim, job.options.audio_track or ""
    with InputFile(job.audio, "audio") as file, scope.stage(STAGE):
        loud = loudness(scope, file, stage=STAGE, track=track, trim=trim)
    begin = trim.start if trim is not None else Fraction(0)
    start = begin + Fraction(loudest(loud, LENGTH_S) or 0).limit_denominator(1000)
    end = start + LENGTH_S
    return Trim(start, end if trim is None or trim.end is None else min(end, trim.end))
