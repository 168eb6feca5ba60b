"""The command line: verbs, flags, help and exit codes. Everything heavy is imported inside the commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dhcli import __version__
from dhcli.errors import FAILED, OK, RESULTS_LOST, DhError

if TYPE_CHECKING:
    from dhcli.attempt import Preview, Settings
    from dhcli.events import Event
    from dhcli.options import Job

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Renders talking-head video in batches: a manifest in, lip-synced videos and result files out.",
    epilog="Example: dh render night.yaml --json. Exit codes: 0 all done, 1 a job failed, 2 usage, 65/66 manifest, "
    "69 this machine, 74 results lost, 75 try later, 128+N signal N.",
)
models_app = typer.Typer(no_args_is_help=True, help="The models that are installed.")
app.add_typer(models_app, name="models")


class IfExists(StrEnum):
    """What to do where the output exists."""

    skip = "skip"
    overwrite = "overwrite"
    fail = "fail"


class ProgressKind(StrEnum):
    """How progress is shown."""

    auto = "auto"
    bar = "bar"
    plain = "plain"
    none = "none"


class SchemaKind(StrEnum):
    """The formats that have a JSON Schema."""

    manifest = "manifest"
    result = "result"
    model = "model"
    event = "event"


WHAT, HOW, WHERE, SHOW = "What to render", "How", "Where", "What to show"

ManifestPath = Annotated[str | None, typer.Argument(help="YAML file with the jobs; - reads stdin.", show_default=False)]
AudioPath = Annotated[str | None, typer.Option("--audio", help="Speech of a single job.", rich_help_panel=WHAT)]
VideoPath = Annotated[str | None, typer.Option("--video", help="Video of a single job.", rich_help_panel=WHAT)]
SavePath = Annotated[str | None, typer.Option("--save-path", help="Output of a single job.", rich_help_panel=WHAT)]
JobIds = Annotated[
    list[str] | None, typer.Option("--job", metavar="ID", help="Only this job; may be repeated.", rich_help_panel=WHAT)
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Only the I-th of N parts of the jobs, I from 0.", rich_help_panel=WHAT),
]
Model = Annotated[str | None, typer.Option(help="Model for all jobs.", rich_help_panel=HOW)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any job option, for all jobs.", rich_help_panel=HOW),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", rich_help_panel=HOW)]
ModelsDirs = Annotated[
    list[Path] | None, typer.Option("--models-dir", help="Another folder with models.", rich_help_panel=WHERE)
]
ResultsDir = Annotated[
    Path | None,
    typer.Option(help="Folder for the result files, as ID.json; default: beside each output.", rich_help_panel=WHERE),
]
Stall = Annotated[
    float, typer.Option("--stall-timeout", min=1, help="Seconds without any progress.", rich_help_panel=HOW)
]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more.", rich_help_panel=SHOW)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Speak only of trouble.", rich_help_panel=SHOW)]
Json = Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.", rich_help_panel=SHOW)]


@app.callback()
def dh(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """The options before the verb; `--version` itself is answered in `main`."""
    del version


@app.command(
    epilog="Examples: `dh render night.yaml` · `dh render --audio a.wav --video v.mp4 --save-path out.mp4` · "
    "`dh render night.yaml --job promo --set gain=1.2`"
)
def render(
    manifest: ManifestPath = None,
    audio: AudioPath = None,
    video: VideoPath = None,
    save_path: SavePath = None,
    job: JobIds = None,
    shard: Shard = None,
    limit_frames: Annotated[
        int | None, typer.Option(min=1, help="Only this many frames of each.", rich_help_panel=WHAT)
    ] = None,
    if_exists: Annotated[
        IfExists,
        typer.Option(
            help="skip: what is up to date stays, what dh made earlier is replaced; overwrite: render everything; "
            "fail: an existing output is an error.",
            rich_help_panel=HOW,
        ),
    ] = IfExists.skip,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="Stop at the first failed job.", rich_help_panel=HOW)
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds that one job may take.", rich_help_panel=HOW)
    ] = None,
    stall_timeout: Stall = 60.0,
    device: DeviceName = "auto",
    model: Model = None,
    set_: Sets = None,
    models_dir: ModelsDirs = None,
    results_dir: ResultsDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, write nothing.", rich_help_panel=SHOW)
    ] = False,
    json_: Json = False,
    progress: Annotated[
        ProgressKind, typer.Option(help="auto: a bar on a terminal, lines elsewhere.", rich_help_panel=SHOW)
    ] = ProgressKind.auto,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Render the jobs of a manifest, or one job given by --audio, --video and --save-path."""
    path, jobs = _jobs(manifest, (audio, video, save_path), job, shard, model, set_)
    settings = _settings(path, device, models_dir, results_dir, if_exists, limit_frames, stall_timeout, timeout)
    if dry_run:
        raise typer.Exit(_preview(settings, jobs, as_json=json_))
    from dhcli.batch import Batch
    from dhcli.console import JsonLines, People, tolerant

    stderr = tolerant(sys.stderr)
    terminal = stderr.isatty() and os.environ.get("TERM") != "dumb"
    wanted = progress is not ProgressKind.none and not quiet
    bar = wanted and (progress is ProgressKind.bar or (progress is ProgressKind.auto and terminal))
    people = People(stderr, bar=bar, progress=wanted, verbosity=-1 if quiet else verbose)
    lines = JsonLines(sys.stdout) if json_ else None

    def emit(event: Event) -> None:
        people(event)
        if lines is not None:
            lines(event)

    summary = Batch(settings, emit, fail_fast=fail_fast).run(jobs, path)
    lost = lines is not None and lines.broken is not None
    raise typer.Exit(RESULTS_LOST if lost and summary.exit_code in {OK, FAILED} else summary.exit_code)


@app.command()
def check(
    manifest: ManifestPath = None,
    job: JobIds = None,
    model: Model = None,
    set_: Sets = None,
    device: DeviceName = "auto",
    models_dir: ModelsDirs = None,
    results_dir: ResultsDir = None,
    json_: Json = False,
) -> None:
    """Find out everything that can be known without rendering: the manifest, the inputs, the plan."""
    path, jobs = _jobs(manifest, (None, None, None), job, None, model, set_)
    settings = _settings(path, device, models_dir, results_dir, IfExists.skip, None, 60.0, None)
    raise typer.Exit(_preview(settings, jobs, as_json=json_))


@app.command()
def doctor(device: DeviceName = "auto", models_dir: ModelsDirs = None) -> None:
    """Try what a render needs of this machine: ffmpeg, the device, the models, disk and limits."""
    from dhcli.console import print_lines
    from dhcli.doctor import examine

    findings = list(examine(device, tuple(models_dir or ())))
    print_lines((f"{'ok  ' if f.error is None else 'FAIL'} {f.what}: {f.found}" for f in findings), sys.stdout)
    errors = [finding.error for finding in findings if finding.error is not None]
    for error in errors:
        print_lines([f"{error.message} [{error.code}]", f"    {error.hint}"])
    raise typer.Exit(errors[0].info.exit_code if errors else OK)


@app.command()
def schema(kind: Annotated[SchemaKind, typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of a format."""
    from dhcli import bundle, events, manifest, result

    schemas: dict[SchemaKind, Callable[[], dict[str, Any]]] = {
        SchemaKind.manifest: manifest.manifest_schema,
        SchemaKind.result: result.result_schema,
        SchemaKind.model: bundle.model_schema,
        SchemaKind.event: events.event_schema,
    }
    typer.echo(json.dumps(schemas[kind](), indent=2))


@models_app.command("list")
def models_list(models_dir: ModelsDirs = None) -> None:
    """The models that can be named in a manifest."""
    from dhcli.bundle import available_models, load_bundle

    for name in available_models(models_dir or ()):
        bundle = load_bundle(name, models_dir or ())
        typer.echo(f"{bundle.name}  {bundle.version}  {bundle.licence}  {bundle.description}")


@models_app.command("info")
def models_info(name: str, models_dir: ModelsDirs = None) -> None:
    """Where a model lies, its files and its networks."""
    from dhcli.bundle import load_bundle

    bundle = load_bundle(name, models_dir or ())
    typer.echo(f"{bundle.name} {bundle.version}, family {bundle.family}, {bundle.licence}\n{bundle.description}")
    typer.echo(f"folder  {bundle.folder}\nsha256  {bundle.sha256}")
    for role, file in bundle.files.items():
        typer.echo(f"{role:10} {file.path.name:16} {file.bytes:>10} bytes  {file.sha256}")
    for role, network in bundle.networks.items():
        typer.echo(f"{role:10} takes {'; '.join(map(str, network.inputs))}")
        typer.echo(f"{'':10} gives {'; '.join(map(str, network.outputs))}")


@models_app.command("verify")
def models_verify(names: Annotated[list[str] | None, typer.Argument()] = None, models_dir: ModelsDirs = None) -> None:
    """Read every file of the models and compare it with its hash; all models where none is named."""
    from dhcli.bundle import available_models, load_bundle

    for name in names or available_models(models_dir or ()):
        bundle = load_bundle(name, models_dir or ())
        for role in bundle.files:
            bundle.read(role)
        typer.echo(f"{name}: {len(bundle.files)} files are as they should be")


def _jobs(
    manifest: str | None,
    single: tuple[str | None, str | None, str | None],
    ids: Sequence[str] | None,
    shard: str | None,
    model: str | None,
    sets: Sequence[str] | None,
) -> tuple[Path | None, tuple[Job, ...]]:
    from dhcli.manifest import load_manifest, single_job

    overrides = {"model": model} if model is not None else {}
    for text in sets or ():
        key, separator, value = text.partition("=")
        if not separator:
            _usage(f"--set {text}: expected KEY=VALUE")
        overrides[key] = value
    audio, video, save_path = single
    if manifest is None:
        if audio is None or video is None or save_path is None:
            _usage("give a manifest, or --audio, --video and --save-path")
        return None, single_job(audio, video, save_path, overrides).jobs
    if any(path is not None for path in single):
        _usage("give a manifest or --audio, --video and --save-path, not both")
    loaded = load_manifest(None if manifest == "-" else Path(manifest), overrides=overrides)
    return loaded.path, _selected(loaded.jobs, ids, shard)


def _selected(jobs: tuple[Job, ...], ids: Sequence[str] | None, shard: str | None) -> tuple[Job, ...]:
    if unknown := set(ids or ()) - {job.id for job in jobs}:
        import difflib

        near = difflib.get_close_matches(min(unknown), [job.id for job in jobs], 1)
        _usage(f"no job '{min(unknown)}' in the manifest" + (f"; did you mean '{near[0]}'?" if near else ""))
    if ids:
        jobs = tuple(job for job in jobs if job.id in ids)
    if shard is None:
        return jobs
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        _usage(f"--shard {shard}: expected I/N with I from 0 to N-1")
    from dhcli.batch import shard_of

    return tuple(job for job in jobs if shard_of(job.id, int(parts)) == int(part))


def _settings(
    manifest: Path | None,
    device: str,
    models_dirs: Sequence[Path] | None,
    results_dir: Path | None,
    if_exists: IfExists,
    limit_frames: int | None,
    stall_timeout_s: float,
    timeout_s: float | None,
) -> Settings:
    from dhcli.attempt import Models, Settings
    from dhcli.inference import parse_device

    return Settings(
        models=Models(models_dirs or (), parse_device(device)),
        manifest=manifest,
        if_exists=if_exists.value,
        results_dir=results_dir,
        limit_frames=limit_frames,
        stall_timeout_s=stall_timeout_s,
        timeout_s=timeout_s,
    )


def _preview(settings: Settings, jobs: Sequence[Job], *, as_json: bool) -> int:
    from dhcli.attempt import Attempt
    from dhcli.console import plan_table, print_lines, print_table
    from dhcli.record import Record

    previews: list[Preview] = []
    for job in jobs:
        record = Record(job, "preview", settings.manifest, 1, 0.0)
        previews.append(Attempt(job, settings, record, lambda *_: None).preview())
        if as_json:
            typer.echo(json.dumps(_preview_json(previews[-1])))
    if not as_json:
        print_table(plan_table([_preview_row(preview) for preview in previews]))
    failed = [preview.error for preview in previews if preview.error is not None]
    counts = {action: sum(p.action == action for p in previews) for action in ("render", "skip", "fail")}
    print_lines([f"{len(jobs)} jobs: {counts['render']} to render, {counts['skip']} up to date, {counts['fail']} bad"])
    runs = [error.info.exit_code for error in failed if error.info.stops == "run"]
    return runs[0] if runs else FAILED if failed else OK


def _preview_row(preview: Preview) -> tuple[str, str, str, str]:
    plan = preview.plan
    frames = f"{plan.frames} at {float(plan.format.fps):.6g} fps" if plan else ""
    what = f"{preview.error.message} [{preview.error.code}]" if preview.error else str(preview.job.save_path)
    return preview.job.id, f"{preview.action}: {preview.reason}" if not preview.error else "fail", frames, what


def _preview_json(preview: Preview) -> dict[str, Any]:
    plan, error = preview.plan, preview.error
    return {
        "job_id": preview.job.id,
        "action": preview.action,
        "reason": preview.reason,
        "code": error.code if error else None,
        "hint": error.hint if error else None,
        "save_path": str(preview.job.save_path).encode("utf-8", "backslashreplace").decode(),
        "frames": plan.frames if plan else None,
        "fps": f"{plan.format.fps.numerator}/{plan.format.fps.denominator}" if plan else None,
        "width": plan.format.width if plan else None,
        "height": plan.format.height if plan else None,
    }


def _usage(message: str) -> NoReturn:
    raise typer.BadParameter(message)


def main() -> None:
    """The console script `dh`."""
    if sys.argv[1:2] == ["--version"]:  # before typer builds its parser
        sys.stdout.write(f"dh {__version__}\n")
        raise SystemExit(OK)
    try:
        app()
    except DhError as error:
        from dhcli.console import print_lines

        hint = [f"    {error.hint}"] if error.hint else []
        print_lines([f"dh: {error.message} [{error.code}]", *hint])
        raise SystemExit(error.info.exit_code) from None
