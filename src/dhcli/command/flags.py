"""The flags that verbs share: name, metavar, help text and panel of each, declared once.

docs/cli.md repeats the help texts word for word; a test compares them. Each verb decides what its flags do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dhcli.command.choices import FacePrecision, IfExists, ProgressKind, folder_value, path_value
from dhcli.command.complete import models
from dhcli.command.units import mebibytes, seconds

WHAT, HOW, WHERE, SHOW = "What to render", "How", "Where", "What to show"

DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda or cuda:N; auto takes a GPU that works, else the CPU, with a warning if it has a driver.",
        rich_help_panel=HOW,
    ),
]
PrecisionName = Annotated[
    FacePrecision,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Numbers of the main network: auto, int8 (for CPUs, auto there), fp32 (auto on a GPU) or fp16 (for GPUs).",
        rich_help_panel=HOW,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        min=0,
        max=64,
        help="Threads of the main network and of OpenCV; 0: one a core, half of that for OpenCV, at most 4.",
        rich_help_panel=HOW,
    ),
]
ModelsDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--models-dir",
        parser=path_value,
        metavar="DIR",
        help="Another folder with models, searched first; may be repeated.",
        rich_help_panel=WHERE,
    ),
]
ResultsDir = Annotated[
    Path | None,
    typer.Option(
        parser=path_value,
        metavar="DIR",
        help="Folder for the result files, as ID.json; made where missing. Default: beside the outputs.",
        rich_help_panel=WHERE,
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        parser=path_value,
        metavar="DIR",
        help="Folder for what dh need not do twice; made where missing. Default: dh in the user's cache folder.",
        rich_help_panel=WHERE,
    ),
]
CacheSize = Annotated[
    int,
    typer.Option(
        "--cache-size",
        metavar="MIB",
        parser=mebibytes,
        envvar="DH_CACHE_SIZE",
        show_envvar=False,
        help="Most that analyses and probes may take in the cache folder; 0 keeps no new ones.",
        rich_help_panel=WHERE,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", metavar="", help="Do all anew: the cache is neither read nor written.", rich_help_panel=HOW
    ),
]
AllowNet = Annotated[
    bool,
    typer.Option(
        "--allow-net",
        metavar="",
        help="Download inputs from http and https addresses into the cache.",
        rich_help_panel=HOW,
    ),
]
Stall = Annotated[
    float,
    typer.Option(
        "--stall-timeout",
        metavar="SECONDS",
        parser=seconds(least=1),
        help="A job fails when nothing has moved in it for this long.",
        rich_help_panel=HOW,
    ),
]
MaxDuration = Annotated[
    float,
    typer.Option(
        "--max-duration",
        metavar="SECONDS",
        parser=seconds(least=1),
        help="A job fails when one of its inputs is longer than this.",
        rich_help_panel=HOW,
    ),
]


Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="DIR",
        parser=folder_value,
        help="The folder that no path of a job may leave, by .. or a link: for manifests of strangers.",
        rich_help_panel=WHERE,
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        metavar="",
        help="Say what is read and what happens.",
        rich_help_panel=SHOW,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", metavar="", help="Speak only of trouble; silent on success.", rich_help_panel=SHOW),
]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.", autocompletion=models)]
ModelNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="The models' names; all models where none is named.", autocompletion=models),
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Events as JSON lines on stdout.", rich_help_panel=SHOW)]


LogPath = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        parser=path_value,
        metavar="FILE",
        help="Append all that happens, as JSON lines, to this file.",
        rich_help_panel=WHERE,
    ),
]
MetricsPath = Annotated[
    Path | None,
    typer.Option(
        "--metrics-file",
        parser=path_value,
        metavar="FILE",
        help="How the run ended, for Prometheus' textfile collector.",
        rich_help_panel=WHERE,
    ),
]
JunitPath = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        parser=path_value,
        metavar="FILE",
        help="The jobs as JUnit XML, for CI systems.",
        rich_help_panel=WHERE,
    ),
]
OnFinish = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Run this after the run, without a shell, with DH_EXIT_CODE and others set; 60 s at most.",
        rich_help_panel=HOW,
    ),
]
Mkdir = Annotated[
    bool,
    typer.Option(
        "--mkdir/--no-mkdir",
        metavar="",
        help="Make missing folders of outputs, or fail their jobs.",
        rich_help_panel=WHERE,
    ),
]
MinDisk = Annotated[
    int,
    typer.Option(
        metavar="MIB", parser=mebibytes, help="Stop where less than this is free beside an output.", rich_help_panel=HOW
    ),
]
OnlyFailed = Annotated[
    bool,
    typer.Option(
        "--only-failed",
        metavar="",
        help="Only jobs that were tried and not finished: failed, cancelled or killed.",
        rich_help_panel=WHAT,
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", metavar="", help="Render everything: --if-exists overwrite.", rich_help_panel=HOW),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        metavar="",
        help="Read inputs and outputs anew; skip an output only where its content has the recorded hash.",
        rich_help_panel=HOW,
    ),
]
RetryPoison = Annotated[
    bool,
    typer.Option(
        "--retry-poison", metavar="", help="Try jobs once more that killed dh twice in a row.", rich_help_panel=HOW
    ),
]
Retries = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, max=100, help="Further attempts at a job after a transient error.", rich_help_panel=HOW
    ),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(
        metavar="N|N%", help="Start no more jobs once N, or N % of the jobs, have failed.", rich_help_panel=HOW
    ),
]
Strict = Annotated[
    str | None,
    typer.Option(
        "--strict",
        metavar="WARNING,...",
        help="A job with one of these warnings fails, and its output is not put in place.",
        rich_help_panel=HOW,
    ),
]
LockWait = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        parser=seconds(least=0),
        help="Wait so long for another dh that writes the same output or holds the run lock.",
        rich_help_panel=HOW,
    ),
]
RunLock = Annotated[
    Path | None,
    typer.Option(
        parser=path_value, metavar="FILE", help="Try later (75) where another run holds this file.", rich_help_panel=HOW
    ),
]
LimitFrames = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Only the first N frames of each job: a quick look.", rich_help_panel=WHAT),
]
IfThere = Annotated[
    IfExists,
    typer.Option(
        "--if-exists",
        metavar="CHOICE",
        help="skip: what is up to date stays, what dh made earlier is replaced; overwrite: everything is rendered; "
        "fail: an existing output fails its job.",
        rich_help_panel=HOW,
    ),
]
FailFast = Annotated[
    bool,
    typer.Option(
        "--fail-fast/--keep-going", metavar="", help="Stop at the first failed job, or go on.", rich_help_panel=HOW
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=seconds(least=1),
        help="A job fails when it takes longer than this.",
        rich_help_panel=HOW,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", metavar="", help="Say what would be done and why; write nothing.", rich_help_panel=SHOW),
]
ProgressHow = Annotated[
    ProgressKind,
    typer.Option(
        "--progress",
        metavar="CHOICE",
        help="auto: a bar on a terminal, lines elsewhere, trouble alone with --json; bar, plain, none: that.",
        rich_help_panel=SHOW,
    ),
]
