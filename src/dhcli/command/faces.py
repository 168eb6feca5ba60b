"""The verb `dh faces`: its flags, the table of persons, and their sheet."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dhcli.command import flags
from dhcli.command.choices import path_value
from dhcli.command.setup import chosen_models
from dhcli.command.streams import answer, say
from dhcli.command.wording import count

if TYPE_CHECKING:
    from dhcli.render.models import Models
    from dhcli.sheets.faces import Cast, Person

VIDEO = "The video, or a picture, to look through."
OUTPUT = "The sheet to write. Default: VIDEO.faces.jpg in the current folder."
JSON = "The same as JSON on stdout."
Video = Annotated[Path, typer.Argument(metavar="VIDEO", parser=path_value, help=VIDEO, show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", parser=path_value, help=OUTPUT, rich_help_panel=flags.WHERE),
]
JsonFaces = Annotated[bool, typer.Option("--json", metavar="", help=JSON, rich_help_panel=flags.SHOW)]


def faces(
    video: Video,
    output: Output = None,
    device: flags.DeviceName = "auto",
    models_dir: flags.ModelsDirs = None,
    json_: JsonFaces = False,
) -> None:
    """Say who is in a video, and which value of the option face means whom."""
    from dhcli.command.console import table_lines
    from dhcli.command.selection import refuse_foreign_reports, usage
    from dhcli.overview.beside import write_sheet
    from dhcli.reports import SHEET
    from dhcli.sheets.draw_faces import draw_faces, seen_text, value_of

    sheet = output or Path(f"{video.name}.faces.jpg")
    if sheet.exists() and video.exists() and sheet.samefile(video):
        usage(f"-o {sheet} would overwrite the video")
    refuse_foreign_reports({dataclasses.replace(SHEET, flag="-o"): sheet})
    cast = _cast(video, chosen_models(models_dir, device))
    write_sheet(sheet, draw_faces(cast))
    if json_:
        answer([json.dumps({"sheet": str(sheet), "chosen_at_s": cast.chosen_at_s, "persons": _json(cast.persons)})])
        return
    rows = [
        (str(number), value_of(one), ", ".join(one.values[1:]), seen_text(cast, one))
        for number, one in enumerate(cast.persons, 1)
    ]
    if rows:
        answer(table_lines(("", "face:", "also", "seen"), rows))
    answer([f"sheet: {sheet}"])
    say([f"dh faces: {count(len(rows), 'person')}"])


def _cast(video: Path, models: Models) -> Cast:
    """Who is there. Ends the call where a signal comes."""
    from dhcli.command.console import CountBar
    from dhcli.runtime.interruptible import SignalledError, interruptible
    from dhcli.sheets.faces import STAGE, find_persons

    bar = CountBar(sys.stderr, "looking for faces", "frame")
    try:
        with interruptible(STAGE, "the look at the video") as scope:
            return find_persons(scope, models.finder, video, bar)
    except SignalledError as end:
        say(["dh faces: interrupted; nothing was written"])
        raise typer.Exit(end.exit_code) from None
    finally:
        bar.close()


def _json(persons: tuple[Person, ...]) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "values": one.values,
            "box": None if one.box is None else [round(value) for value in dataclasses.astuple(one.box)],
            "width_px": one.width_px,
            "usable": one.usable,
            "seen_s": one.seen,
            "share": one.share,
        }
        for number, one in enumerate(persons, 1)
    ]
