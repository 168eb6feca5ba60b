"""The verb `dh score`: its flags, and printing the report as a table or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dhcli.command import flags
from dhcli.command.choices import path_value
from dhcli.command.setup import chosen_models
from dhcli.command.streams import answer, say
from dhcli.command.wording import count

VIDEO = "The video to look at."
AGAINST = "Its original: what the picture was before. Only the frames that both have are compared."
AUDIO = "What it is to have said; default: its own sound."
MODEL = "The model that hears the sound."
JSON = "The report as JSON on stdout; see dh schema score."
Video = Annotated[Path, typer.Argument(metavar="VIDEO", parser=path_value, help=VIDEO, show_default=False)]
Against = Annotated[
    Path | None,
    typer.Option("--against", metavar="FILE", parser=path_value, help=AGAINST, rich_help_panel=flags.WHAT),
]
Audio = Annotated[
    Path | None, typer.Option("--audio", metavar="FILE", parser=path_value, help=AUDIO, rich_help_panel=flags.WHAT)
]
ModelName = Annotated[str, typer.Option("--model", metavar="NAME", help=MODEL, rich_help_panel=flags.HOW)]
JsonReport = Annotated[bool, typer.Option("--json", metavar="", help=JSON, rich_help_panel=flags.SHOW)]


def score(
    video: Video,
    against: Against = None,
    audio: Audio = None,
    model: ModelName = "dh-base",
    device: flags.DeviceName = "auto",
    models_dir: flags.ModelsDirs = None,
    json_: JsonReport = False,
) -> None:
    """Say how the mouth of any video moves and looks: with the sound, and beside its original."""
    from dhcli.command.console import table_lines
    from dhcli.runtime.interruptible import SignalledError
    from dhcli.score.report import heading, rows
    from dhcli.score.run import Request
    from dhcli.score.run import score as measured

    models = chosen_models(models_dir, device)
    try:
        report = measured(Request(video, against, audio, model), models)
    except SignalledError as end:
        say(["dh score: interrupted; nothing was done"])
        raise typer.Exit(end.exit_code) from None
    if json_:
        answer([report.model_dump_json()])
        return
    answer(heading(report))
    answer(table_lines(("figure", "value", "read it as"), rows(report)))
    say([*(f"dh score: warning: {one.message} [{one.code}]" for one in report.warnings)])
    say([f"dh score: {count(len(report.warnings), 'warning')}"])
