"""The verb `dh bench`: its flags, and printing the report as a table or as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from dhcli.command import flags, job_flags
from dhcli.command.choices import FacePrecision
from dhcli.command.setup import chosen_models
from dhcli.command.streams import answer, say

AUDIO, VIDEO = "Speech to render; default: the sample's.", "Video to render; default: the sample's."
SIZE = "Bring the clip to this size first, as 1280x720 or 720p; may be repeated."
JSON = "The report as JSON on stdout; see dh schema bench."
Audio = Annotated[str | None, typer.Option("--audio", metavar="FILE", help=AUDIO, rich_help_panel=flags.WHAT)]
Video = Annotated[str | None, typer.Option("--video", metavar="FILE", help=VIDEO, rich_help_panel=flags.WHAT)]
Sizes = Annotated[list[str] | None, typer.Option("--size", metavar="SIZE", help=SIZE, rich_help_panel=flags.WHAT)]
JsonReport = Annotated[bool, typer.Option("--json", metavar="", help=JSON, rich_help_panel=flags.SHOW)]


def bench(
    audio: Audio = None,
    video: Video = None,
    size: Sizes = None,
    limit_frames: flags.LimitFrames = None,
    device: flags.DeviceName = "auto",
    precision: flags.PrecisionName = FacePrecision.auto,
    threads: flags.Threads = 0,
    model: job_flags.Model = None,
    set_: job_flags.Sets = None,
    models_dir: flags.ModelsDirs = None,
    json_: JsonReport = False,
) -> None:
    """Render a clip, or the sample, cold and warm, and say how long each stage takes."""
    from dhcli.bench.clip import parse_size, sample
    from dhcli.bench.report import table
    from dhcli.bench.run import UnfinishedError, measure
    from dhcli.command.selection import JobChoice, chosen_jobs, usage
    from dhcli.runs.settings import Settings

    try:
        sizes = [parse_size(text) for text in size or ()]
    except ValueError as error:
        usage(f"--size {error}")
    models = chosen_models(models_dir, device, threads, precision)
    if audio is None or video is None:
        speech, avatar = map(str, sample())
        audio, video = speech if audio is None else audio, avatar if video is None else video
    # The save path is a placeholder, since `measure` renders to a temporary folder; no input can lie below a file.
    choice = JobChoice(None, [audio], [video], f"{video}/out.mp4", model=model, sets=set_)
    (job,) = chosen_jobs(choice).jobs
    settings = Settings(models, limit_frames=limit_frames)
    try:
        report = measure(job, sizes, settings, lambda text: say([f"dh bench: {text}"]))
    except UnfinishedError as end:
        raise typer.Exit(*end.args) from None
    answer([report.model_dump_json()] if json_ else table(report))
