"""The verb `dh report`: its flags, and writing the page or printing the summary. And the same of `dh render`."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhcli.command import flags, job_flags
from dhcli.command.choices import path_value
from dhcli.command.setup import chosen_models
from dhcli.command.streams import answer, say
from dhcli.command.wording import count

if TYPE_CHECKING:
    from dhcli.command.selection import Selection
    from dhcli.jobs.options import Job
    from dhcli.overview.beside import SheetWriter
    from dhcli.overview.collect import Entry
    from dhcli.overview.look import Pictures
    from dhcli.overview.writing import RunPage

SOURCES = "Result files, outputs, folders with results, or manifests."
OUTPUT = "The page to write; an earlier page is replaced."
SINCE = "Only jobs that ended since then: 12h, 3d, or a date or time as 2026-12-01T22:00."
ONLY_FAILED = "Only jobs without a video: failed, cancelled, killed, never run."
PICTURES = "Do not look at the finished videos: quick, and nobody is seen on the page."
JSON = "The summary as JSON on stdout; see dh schema report."
LOOKING = "looking at the videos"
AGO = re.compile(r"(\d{1,6})([mhd])")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}

Sources = Annotated[
    list[Path], typer.Argument(metavar="SOURCE...", parser=path_value, help=SOURCES, show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", parser=path_value, help=OUTPUT, rich_help_panel=flags.WHERE),
]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help=SINCE, rich_help_panel=flags.WHAT)]
OnlyFailed = Annotated[bool, typer.Option("--failed", metavar="", help=ONLY_FAILED, rich_help_panel=flags.WHAT)]
NoPictures = Annotated[bool, typer.Option("--no-pictures", metavar="", help=PICTURES, rich_help_panel=flags.HOW)]
PagePath = Annotated[
    Path | None,
    typer.Option(
        "--report",
        parser=path_value,
        metavar="FILE",
        help="The page of the run, for people, as dh report makes it.",
        rich_help_panel=flags.WHERE,
    ),
]
SheetsBeside = Annotated[
    bool,
    typer.Option(
        "--preview",
        metavar="",
        help="Put a contact sheet beside each output: SAVE_PATH.jpg, five mouths with those of the original.",
        rich_help_panel=flags.WHERE,
    ),
]
JsonSummary = Annotated[bool, typer.Option("--json", metavar="", help=JSON, rich_help_panel=flags.SHOW)]


def report(
    sources: Sources,
    output: Output = None,
    since: Since = None,
    failed: OnlyFailed = False,
    no_pictures: NoPictures = False,
    var: job_flags.Variables = None,
    results_dir: flags.ResultsDir = None,
    device: flags.DeviceName = "auto",
    models_dir: flags.ModelsDirs = None,
    json_: JsonSummary = False,
) -> None:
    """Say what became of many jobs: as one page with pictures, or as JSON."""
    from dhcli.command.selection import refuse_foreign_reports, usage, variables_of
    from dhcli.overview.collect import NothingFoundError, collect
    from dhcli.overview.collect import since as ended_since
    from dhcli.overview.summary import has_failed, row_of, summary_of
    from dhcli.overview.writing import OWN_PAGE, write_page

    if output is None and not json_:
        usage("give the page to write, as -o night.html, or --json")
    begin = since_when(since) if since is not None else None
    refuse_foreign_reports({OWN_PAGE: output})
    try:
        entries = collect(sources, results_dir, variables_of(var))
    except NothingFoundError as error:
        usage(str(error))
    entries = entries if begin is None else ended_since(entries, begin)
    rows = {id(one): row_of(one) for one in entries}
    entries = [one for one in entries if not failed or has_failed(rows[id(one)])]
    summary = summary_of(rows[id(one)] for one in entries)
    if json_:
        answer([summary.model_dump_json()])
    if output is None:
        return
    seen: dict[Path, Pictures] = {}
    if not no_pictures:
        seen = _looked_at(entries, models_dir, device)
    write_page(output, entries, summary, seen)
    say([f"{count(summary.jobs, 'job')}, {summary.worth_a_look} worth a look, on {output}"])


def since_when(text: str) -> dt.datetime:
    """The time of --since. Ends with usage where it is none."""
    from dhcli.command.selection import usage

    now = dt.datetime.now(dt.UTC)
    if match := AGO.fullmatch(text):
        return now - dt.timedelta(**{UNITS[match[2]]: int(match[1])})
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        usage(f"--since {text}: expected 90m, 12h, 3d, or a date or time as 2026-12-01 or 2026-12-01T22:00")


def _looked_at(entries: Sequence[Entry], models_dir: Sequence[Path] | None, device: str) -> dict[Path, Pictures]:
    """The pictures of the page. Ends the call where a signal comes."""
    from dhcli.command.console import CountBar
    from dhcli.overview.look import Looker
    from dhcli.runtime.signals import StopSignals

    models = chosen_models(models_dir, device)
    looker, bar = Looker(lambda: models.finder), CountBar(sys.stderr, LOOKING, "video")
    with StopSignals(lambda _: looker.cancel(), lambda _: None) as signals:
        pictures = looker.look(entries, bar)
    if signals.number is not None:
        say(["dh report: interrupted; nothing was written"])
        raise typer.Exit(128 + signals.number)
    return pictures


def page_of_run(path: Path | None, *, quiet: bool) -> RunPage | None:
    """What makes the page of `dh render --report`, with a bar on a terminal; None without it."""
    if path is None:
        return None
    from dhcli.command.console import CountBar
    from dhcli.overview.writing import RunPage

    return RunPage() if quiet else RunPage(CountBar(sys.stderr, LOOKING, "video"))


def sheets_of_run(root: Path | None, *, wanted: bool) -> SheetWriter | None:
    """What writes the sheets of `dh render --preview`; None without it."""
    if not wanted:
        return None
    from dhcli.overview.beside import SheetWriter

    return SheetWriter(root)


def refuse_sheets(chosen: Selection, result_path: Callable[[Job], Path], stall_timeout_s: float) -> None:
    """End with usage if a sheet of --preview is a file of a job, or would replace a file that dh did not write."""
    from dhcli.command.selection import refuse_foreign_reports, refuse_taken
    from dhcli.disk.names import sheet_path
    from dhcli.reports import SHEET

    paths = [sheet_path(one.save_path) for one in chosen.jobs]
    refuse_taken("--preview", paths, chosen.all_jobs, result_path, stall_timeout_s)
    for path in paths:
        refuse_foreign_reports({SHEET: path}, stall_timeout_s)
