"""The verb `dh demo`: the sample that comes with dh, rendered into the current folder."""

from __future__ import annotations

import typer

from dhcli.command import flags
from dhcli.command.setup import chosen_models, open_caches, refusal_event, verbosity
from dhcli.command.streams import say

OUTPUT = "dh-demo.mp4"


def demo(
    device: flags.DeviceName = "auto",
    models_dir: flags.ModelsDirs = None,
    cache_dir: flags.CacheDir = None,
    json_: flags.Json = False,
) -> None:
    """Render the sample that comes with dh into the current folder."""
    from dhcli.bench.clip import sample
    from dhcli.command.carry_out import render_jobs
    from dhcli.command.console import Audience
    from dhcli.errors import OK
    from dhcli.manifest import single_job
    from dhcli.reports import Reports, Wanted
    from dhcli.runs.settings import Policy, Settings

    audience = Audience(as_json=json_, progress="auto", verbosity=verbosity(for_programs=json_))
    with (
        Reports(Wanted(), audience, audience.stdout_lost) as reports,
        refusal_event(reports, lambda: reports.began),
    ):
        jobs = single_job(*sample(), OUTPUT).jobs
        hashes, probes = open_caches(cache_dir, 2048 << 20)
        settings = Settings(models=chosen_models(models_dir, device), hashes=hashes, probes=probes)
        code = reports.exit_code(render_jobs(settings, jobs, None, Policy(), audience, reports))
    if code == OK and not json_:
        say(["dh demo: now your own: dh render --audio SPEECH --video PERSON --save-path new.mp4"])
    raise typer.Exit(code)
