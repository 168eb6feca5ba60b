"""The verb `dh preview`: three seconds of one job, rendered at once, and their contact sheet."""

from __future__ import annotations

from typing import Annotated

import typer

from dhcli.command import flags, job_flags
from dhcli.command.setup import chosen_models, open_caches, refusal_event, verbosity
from dhcli.command.streams import answer

JOB = "The job; may be left out where there is only one."
Manifest = Annotated[str, job_flags.MANIFEST]
JobId = Annotated[str | None, typer.Option("--job", metavar="ID", help=JOB, rich_help_panel=flags.WHAT)]


def preview(
    manifest: Manifest,
    job: JobId = None,
    var: job_flags.Variables = None,
    model: job_flags.Model = None,
    set_: job_flags.Sets = None,
    device: flags.DeviceName = "auto",
    models_dir: flags.ModelsDirs = None,
    cache_dir: flags.CacheDir = None,
    cache_size: flags.CacheSize = 2048,
    verbose: flags.Verbose = 0,
    quiet: flags.Quiet = False,
) -> None:
    """Render the loudest three seconds of one job, and show its mouths beside those of the original."""
    from dhcli.command import selection
    from dhcli.command.console import Audience
    from dhcli.disk.names import result_path, sheet_path
    from dhcli.overview.preview import preview_path, render_preview
    from dhcli.reports import SHEET
    from dhcli.runs.settings import Settings

    audience = Audience(as_json=False, progress="auto", verbosity=verbosity(quiet=quiet, verbose=verbose))
    with refusal_event(audience):
        ids = [job] if job is not None else None
        chosen = selection.chosen_jobs(selection.JobChoice(manifest, ids=ids, model=model, sets=set_, variables=var))
        if len(chosen.jobs) > 1:
            selection.usage(f"name one of the {len(chosen.jobs)} jobs, as --job {chosen.jobs[0].id}")
        hashes, probes = open_caches(cache_dir, cache_size << 20)
        models = chosen_models(models_dir, device)
        settings = Settings(models=models, manifest=chosen.manifest, hashes=hashes, probes=probes)
        output = preview_path(chosen.jobs[0])
        files = [output, result_path(output, ""), sheet_path(output)]
        selection.refuse_taken("the preview", files, chosen.all_jobs, settings.result_path)
        selection.refuse_foreign_reports({SHEET: sheet_path(output)})
        code = render_preview(chosen.jobs[0], settings, audience)
    if code:
        raise typer.Exit(code)
    answer([str(sheet_path(output))])
