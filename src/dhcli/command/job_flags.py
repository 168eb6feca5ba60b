"""The flags that say which jobs: a manifest, or files, and the choice among them.

docs/cli.md repeats the help texts word for word; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dhcli.command.choices import PairKind
from dhcli.command.complete import job_ids, models, settings
from dhcli.command.flags import HOW, SHOW, WHAT
from dhcli.command.verb import Verb

MANIFEST: Any = typer.Argument(
    metavar="MANIFEST", help="File with the jobs: YAML, JSON or CSV; - reads standard input.", show_default=False
)
ManifestPath = Annotated[str | None, MANIFEST]
AudioPath = Annotated[
    list[str] | None,
    typer.Option(
        "--audio",
        metavar="FILE...",
        help="Speech, instead of a manifest: files, or a pattern as 'takes/*.wav'.",
        rich_help_panel=WHAT,
    ),
]
VideoPath = Annotated[
    list[str] | None,
    typer.Option(
        "--video", metavar="FILE...", help="Who speaks: videos or pictures, or a pattern.", rich_help_panel=WHAT
    ),
]
SavePath = Annotated[
    str | None,
    typer.Option(
        "--save-path", metavar="FILE", help="Output of a single job: .mp4, .mov, .mkv or .webm.", rich_help_panel=WHAT
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder for the outputs of --audio and --video, or a template of them with its ending.",
        rich_help_panel=WHAT,
    ),
]
Pairs = Annotated[
    PairKind,
    typer.Option(
        "--pair",
        metavar="CHOICE",
        help="product: every --audio with every --video; zip: the first with the first, and so on.",
        rich_help_panel=WHAT,
    ),
]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        help="Value of a variable that the manifest declares; may be repeated.",
        rich_help_panel=WHAT,
    ),
]
Expand = Annotated[
    bool,
    typer.Option(
        "--expand", metavar="", help="Print the jobs as a plain manifest, and check no more.", rich_help_panel=SHOW
    ),
]
JobIds = Annotated[
    list[str] | None,
    typer.Option(
        "--job",
        metavar="ID",
        help="Only this job, or those of a pattern; may be repeated.",
        rich_help_panel=WHAT,
        autocompletion=job_ids,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Only the I-th of N parts of the jobs, I from 0 to N-1; each job is in the same part in every run.",
        rich_help_panel=WHAT,
    ),
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="Model for all jobs.", rich_help_panel=HOW, autocompletion=models)
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any job option, for all jobs; may be repeated; wins over the manifest.",
        rich_help_panel=HOW,
        autocompletion=settings,
    ),
]


class ManyFiles(Verb):
    """A verb whose --audio and --video take what the shell makes of `takes/*.wav`: any number of files."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flag in front of each of its files: `--audio a b` becomes `--audio a --audio b`."""
    found: list[str] = []
    flag, values = "", 0
    for number, text in enumerate(arguments):
        if text == "--":
            return [*found, *arguments[number:]]
        if text.startswith("-") and text != "-" and not (flag and not values):
            name, given, _ = text.partition("=")
            flag, values = name if name in ("--audio", "--video") else "", len(given)
        elif flag:
            found += [flag] if values else []
            values += 1
        found.append(text)
    return found
