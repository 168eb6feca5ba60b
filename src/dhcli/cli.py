"""The command line: the verbs, with their flags, help and exit codes.

Each verb imports what it needs when it runs: `dh --help` must not wait for NumPy or ONNX Runtime.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dhcli.command.bench import bench
from dhcli.command.cache import cache_app
from dhcli.command.choices import FacePrecision, IfExists, PairKind, ProgressKind, SchemaKind
from dhcli.command.demo import demo
from dhcli.command.entry import exit_code_of, run
from dhcli.command.faces import faces
from dhcli.command.flags import (
    AllowNet,
    CacheDir,
    CacheSize,
    DeviceName,
    DryRun,
    FailFast,
    Force,
    IfThere,
    Json,
    JunitPath,
    LimitFrames,
    LockWait,
    LogPath,
    MaxDuration,
    MaxFailures,
    MetricsPath,
    MinDisk,
    Mkdir,
    ModelsDirs,
    NoCache,
    OnFinish,
    OnlyFailed,
    PrecisionName,
    ProgressHow,
    Quiet,
    ResultsDir,
    Retries,
    RetryPoison,
    Root,
    RunLock,
    Stall,
    Strict,
    Threads,
    Timeout,
    Verbose,
    Verify,
)
from dhcli.command.job_flags import (
    AudioPath,
    Expand,
    JobIds,
    ManifestPath,
    ManyFiles,
    Model,
    Out,
    Pairs,
    SavePath,
    Sets,
    Shard,
    Variables,
    VideoPath,
)
from dhcli.command.models import models_app
from dhcli.command.preview_job import preview
from dhcli.command.report import PagePath, SheetsBeside, page_of_run, refuse_sheets, report, sheets_of_run
from dhcli.command.score import score
from dhcli.command.setup import (
    chosen_models,
    failure_limit,
    open_caches,
    open_web,
    refusal_event,
    strict_warnings,
    verbosity,
)
from dhcli.command.streams import answer, say
from dhcli.command.verb import App
from dhcli.command.wording import count, error_lines
from dhcli.errors import FAILED, OK, RESULTS_LOST, DhError

if TYPE_CHECKING:
    from dhcli.command.console import Audience
    from dhcli.command.selection import Selection
    from dhcli.reports import Reports
    from dhcli.runs.settings import Policy, Settings

app = App(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Renders talking-head video in batches: a manifest in, lip-synced videos and result files out.",
    epilog="Example: dh render night.yaml\n\nExit codes: 0 all done, 1 a job failed, 2 usage, 65/66 manifest, "
    "69 this machine, 74 results lost, 75 try later, 128+N signal N.",
)


@app.callback()
def dh(
    version: Annotated[bool, typer.Option("--version", metavar="", help="Print the version and end.")] = False,
) -> None:
    """Declare the options before the verb. `dh --version` alone never comes here: `entry.run` answers it at once."""
    del version


@app.command(
    cls=ManyFiles,
    epilog="Examples:\n\ndh render night.yaml\n\ndh render night.yaml --job promo --set gain=1.2\n\n"
    "dh render --audio takes/*.wav --video anna.mp4 --out out",
)
def render(
    manifest: ManifestPath = None,
    audio: AudioPath = None,
    video: VideoPath = None,
    save_path: SavePath = None,
    out: Out = None,
    pair: Pairs = PairKind.product,
    job: JobIds = None,
    shard: Shard = None,
    var: Variables = None,
    limit_frames: LimitFrames = None,
    if_exists: IfThere = IfExists.skip,
    force: Force = False,
    verify: Verify = False,
    only_failed: OnlyFailed = False,
    retry_poison: RetryPoison = False,
    retries: Retries = 1,
    max_failures: MaxFailures = None,
    lock_wait: LockWait = 0.0,
    run_lock: RunLock = None,
    fail_fast: FailFast = False,
    strict: Strict = None,
    timeout: Timeout = None,
    stall_timeout: Stall = 60.0,
    max_duration: MaxDuration = 14400.0,
    device: DeviceName = "auto",
    precision: PrecisionName = FacePrecision.auto,
    threads: Threads = 0,
    model: Model = None,
    set_: Sets = None,
    models_dir: ModelsDirs = None,
    results_dir: ResultsDir = None,
    cache_dir: CacheDir = None,
    cache_size: CacheSize = 2048,
    no_cache: NoCache = False,
    allow_net: AllowNet = False,
    root: Root = None,
    log_file: LogPath = None,
    metrics_file: MetricsPath = None,
    junit: JunitPath = None,
    report_: PagePath = None,
    preview_: SheetsBeside = False,
    on_finish: OnFinish = None,
    mkdir: Mkdir = True,
    min_disk: MinDisk = 256,
    dry_run: DryRun = False,
    json_: Json = False,
    progress: ProgressHow = ProgressKind.auto,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Render the jobs of a manifest, or those of --audio and --video."""
    from dhcli.command import selection
    from dhcli.command.console import Audience
    from dhcli.reports import JUNIT, METRICS, PAGE, Reports, Wanted, is_command
    from dhcli.runs.retry import Retry
    from dhcli.runs.settings import Policy, Settings

    if on_finish is not None and not is_command(on_finish):
        selection.usage("--on-finish: expected a command")
    if force and if_exists is IfExists.fail:
        selection.usage("give --force or --if-exists fail, not both")
    warnings = strict_warnings(strict)
    ours = {"--log-file": log_file, "--metrics-file": metrics_file, "--junit": junit, "--report": report_}
    ours["--run-lock"] = run_lock
    dead = selection.unanswered((log_file, metrics_file, junit, report_), stall_timeout)
    ours = {flag: path for flag, path in ours.items() if path not in dead}
    # Before the first report is written: a refused manifest is reported too, and must not be overwritten by that.
    selection.refuse_reports_over_manifest(ours, manifest, stall_timeout)
    audience = Audience(
        as_json=json_,
        progress=progress.value,
        verbosity=verbosity(quiet=quiet, verbose=verbose, for_programs=json_ and progress is ProgressKind.auto),
        stall_timeout_s=stall_timeout,
    )
    page, sheets = page_of_run(report_, quiet=quiet or json_), sheets_of_run(root, wanted=preview_ and not dry_run)
    files = Wanted() if dry_run else Wanted(log_file, metrics_file, junit, on_finish, report_)
    with (
        Reports(files, audience, audience.stdout_lost, stall_timeout, {} if dry_run else dead, page, sheets) as reports,
        refusal_event(reports, lambda: reports.began),
    ):
        choice = selection.JobChoice(manifest, audio, video, save_path, out, pair.value, job, shard, model, set_, var)
        chosen = selection.chosen_jobs(choice, root, results_dir, stall_timeout)
        hashes, probes = open_caches(cache_dir, cache_size << 20, stall_timeout, wanted=not no_cache)
        settings = Settings(
            models=chosen_models(models_dir, device, threads, precision),
            manifest=chosen.manifest,
            if_exists=(IfExists.overwrite if force else if_exists).value,
            verify=verify,
            retry_poison=retry_poison,
            strict=warnings,
            make_folders=mkdir,
            results_dir=results_dir,
            limit_frames=limit_frames,
            stall_timeout_s=stall_timeout,
            timeout_s=timeout,
            lock_wait_s=lock_wait,
            max_duration_s=max_duration,
            root=root,
            min_disk_bytes=min_disk << 20,
            hashes=hashes,
            probes=probes,
            web=open_web(cache_dir, stall_timeout, cached=not no_cache) if allow_net else None,
        )
        selection.refuse_reports_over_jobs(ours, chosen.all_jobs, settings.result_path, results_dir, stall_timeout)
        if page is not None:
            page.models = settings.models
        if sheets is not None:
            sheets.models = settings.models
            refuse_sheets(chosen, settings.result_path, stall_timeout)
        kinds = ((JUNIT, junit), (METRICS, metrics_file), (PAGE, report_))
        replaced = {kind: path for kind, path in kinds if path not in dead}
        selection.refuse_foreign_reports(replaced, stall_timeout)
        policy = Policy(Retry(retries), failure_limit(max_failures, fail_fast=fail_fast), only_failed, run_lock)
        carry_out = _preview if dry_run else _render
        raise typer.Exit(reports.exit_code(carry_out(settings, chosen, policy, audience, reports)))


def _preview(settings: Settings, chosen: Selection, policy: Policy, audience: Audience, _: Reports) -> int:
    from dhcli.command.preview import preview as foreseen
    from dhcli.results.resume import in_order

    return foreseen(settings, chosen.jobs, audience, functools.partial(in_order, only_failed=policy.only_failed))


def _render(settings: Settings, chosen: Selection, policy: Policy, audience: Audience, reports: Reports) -> int:
    from dhcli.command.carry_out import render_jobs

    return render_jobs(settings, chosen.jobs, chosen.manifest, policy, audience, reports)


@app.command(
    cls=ManyFiles,
    epilog="Examples:\n\ndh check night.yaml\n\ndh check night.yaml --json | jq 'select(.code)'\n\n"
    "dh check night.yaml --expand > plain.yaml",
)
def check(
    manifest: ManifestPath = None,
    audio: AudioPath = None,
    video: VideoPath = None,
    save_path: SavePath = None,
    out: Out = None,
    pair: Pairs = PairKind.product,
    job: JobIds = None,
    var: Variables = None,
    model: Model = None,
    set_: Sets = None,
    device: DeviceName = "auto",
    models_dir: ModelsDirs = None,
    results_dir: ResultsDir = None,
    cache_dir: CacheDir = None,
    root: Root = None,
    max_duration: MaxDuration = 14400.0,
    json_: Json = False,
    expand: Expand = False,
) -> None:
    """Find out everything that can be known without rendering: the manifest, the inputs, the plan."""
    from dhcli.command.console import Audience
    from dhcli.command.preview import preview as foreseen
    from dhcli.command.selection import JobChoice, chosen_jobs
    from dhcli.jobs.expanded import expanded
    from dhcli.runs.settings import Settings

    audience = Audience(as_json=json_, progress="none", verbosity=verbosity(for_programs=json_))
    with refusal_event(audience):
        choice = JobChoice(manifest, audio, video, save_path, out, pair.value, job, None, model, set_, var)
        chosen = chosen_jobs(choice, root, results_dir)
        if expand:
            answer(expanded(chosen.jobs, as_json=json_))
            return
        hashes, probes = open_caches(cache_dir, 0)
        settings = Settings(
            models=chosen_models(models_dir, device),
            manifest=chosen.manifest,
            make_folders=True,
            results_dir=results_dir,
            max_duration_s=max_duration,
            root=root,
            hashes=hashes,
            probes=probes,
        )
    code = foreseen(settings, chosen.jobs, audience)
    raise typer.Exit(RESULTS_LOST if audience.stdout_lost() and code in {OK, FAILED} else code)


app.command(epilog="Example: dh preview night.yaml --job promo --set gain=1.2")(preview)
app.command(epilog="Examples:\n\ndh report out/ -o night.html\n\ndh report night.yaml --since 12h --json")(report)
app.command(epilog="Examples:\n\ndh faces two-people.mp4\n\ndh faces two-people.mp4 --json")(faces)
app.command(epilog="Examples:\n\ndh score out.mp4\n\ndh score out.mp4 --against original.mp4 --json")(score)
app.command(epilog="Example: dh demo")(demo)
app.add_typer(models_app, name="models")


@app.command()
def doctor(device: DeviceName = "auto", models_dir: ModelsDirs = None) -> None:
    """Try what a render needs of this machine: ffmpeg, the device, the models, disk and limits."""
    from dhcli.command.doctor import examine

    errors: dict[str, DhError] = {}
    checks = failed = 0
    for finding in examine(device, tuple(models_dir or ())):
        answer([f"{'ok  ' if finding.error is None else 'FAIL'} {finding.what}: {finding.found}"])
        checks += 1
        if finding.error is not None:
            failed += 1
            errors.setdefault(finding.error.message, finding.error)
    say(line for error in errors.values() for line in error_lines(error))
    codes = ", ".join(dict.fromkeys(error.code for error in errors.values()))
    say([f"{count(checks, 'check')}: {f'{failed} failed ({codes})' if failed else 'all is well'}"])
    raise typer.Exit(next((exit_code_of(error) for error in errors.values()), OK))


@app.command()
def schema(kind: Annotated[SchemaKind, typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of a format."""
    from dhcli.command.schemas import schema_text

    answer(schema_text(kind).splitlines())


app.command(epilog="Examples:\n\ndh bench\n\ndh bench --size 720p --size 1080p --json")(bench)
app.add_typer(cache_app, name="cache")


def main() -> None:
    """Run what the command line says, and end the process with its exit code."""
    raise SystemExit(run(app, sys.argv[1:]))
