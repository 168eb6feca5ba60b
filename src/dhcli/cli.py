"""The command line: verbs, flags, help and exit codes. Everything heavy is imported inside the commands."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dhcli.command.bench import bench
from dhcli.command.cache import cache_app
from dhcli.command.entry import as_bug, exit_code_of, refused, run
from dhcli.command.flags import (
    AudioPath,
    CacheDir,
    CacheSize,
    DeviceName,
    DryRun,
    FacePrecision,
    FailFast,
    Force,
    IfExists,
    IfThere,
    JobIds,
    Json,
    JunitPath,
    LimitFrames,
    LockWait,
    LogPath,
    ManifestPath,
    MaxDuration,
    MaxFailures,
    MetricsPath,
    MinDisk,
    Model,
    ModelsDirs,
    NoCache,
    OnFinish,
    OnlyFailed,
    PrecisionName,
    ProgressHow,
    ProgressKind,
    Quiet,
    ResultsDir,
    Retries,
    RetryPoison,
    Root,
    RunLock,
    SavePath,
    SchemaKind,
    Sets,
    Shard,
    Stall,
    Threads,
    Timeout,
    Verbose,
    Verify,
    VideoPath,
)
from dhcli.command.models import models_app
from dhcli.command.streams import answer, say
from dhcli.command.wording import count, error_lines
from dhcli.errors import FAILED, OK, RESULTS_LOST, DhError
from dhcli.events import Listener

if TYPE_CHECKING:
    from dhcli.disk.hashes import HashCache
    from dhcli.render.models import Models
    from dhcli.render.probes import Probes
    from dhcli.runs.retry import FailureLimit

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Renders talking-head video in batches: a manifest in, lip-synced videos and result files out.",
    epilog="Example: dh render night.yaml\n\nExit codes: 0 all done, 1 a job failed, 2 usage, 65/66 manifest, "
    "69 this machine, 74 results lost, 75 try later, 128+N signal N.",
)
app.add_typer(models_app, name="models")
app.add_typer(cache_app, name="cache")
app.command(epilog="Examples:\n\ndh bench\n\ndh bench --size 720p --size 1080p --json")(bench)


@app.callback()
def dh(
    version: Annotated[bool, typer.Option("--version", metavar="", help="Print the version and end.")] = False,
) -> None:
    """The options before the verb; `--version` itself is answered in `main`."""
    del version


@app.command(
    epilog="Examples:\n\ndh render night.yaml\n\ndh render night.yaml --job promo --set gain=1.2\n\n"
    "dh render --audio a.wav --video v.mp4 --save-path out.mp4"
)
def render(
    manifest: ManifestPath = None,
    audio: AudioPath = None,
    video: VideoPath = None,
    save_path: SavePath = None,
    job: JobIds = None,
    shard: Shard = None,
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
    root: Root = None,
    log_file: LogPath = None,
    metrics_file: MetricsPath = None,
    junit: JunitPath = None,
    on_finish: OnFinish = None,
    min_disk: MinDisk = 256,
    dry_run: DryRun = False,
    json_: Json = False,
    progress: ProgressHow = ProgressKind.auto,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Render the jobs of a manifest, or one job given by --audio, --video and --save-path."""
    from dhcli.command.console import Audience
    from dhcli.command.preview import preview
    from dhcli.command.selection import (
        chosen_jobs,
        refuse_foreign_reports,
        refuse_reports_over_jobs,
        refuse_reports_over_manifest,
        unanswered,
        usage,
    )
    from dhcli.reports import JUNIT, METRICS, Reports, Wanted, is_command
    from dhcli.results.resume import in_order
    from dhcli.runs.batch import Batch
    from dhcli.runs.retry import Retry
    from dhcli.runs.settings import Policy, Settings

    if on_finish is not None and not is_command(on_finish):
        usage("--on-finish: expected a command")
    if force and if_exists is IfExists.fail:
        usage("give --force or --if-exists fail, not both")
    ours = {"--log-file": log_file, "--metrics-file": metrics_file, "--junit": junit, "--run-lock": run_lock}
    dead = unanswered((log_file, metrics_file, junit), stall_timeout)
    ours = {flag: path for flag, path in ours.items() if path not in dead}
    # Before anything is told of a run, and that is written there, even where the manifest is refused.
    refuse_reports_over_manifest(ours, manifest, stall_timeout)
    audience = Audience(
        as_json=json_, progress=progress.value, verbosity=-1 if quiet else verbose, stall_timeout_s=stall_timeout
    )
    files = Wanted() if dry_run else Wanted(log_file, metrics_file, junit, on_finish)
    with (
        Reports(files, audience, audience.stdout_lost, stall_timeout, {} if dry_run else dead) as reports,
        _refusal_told(reports, lambda: reports.began),
    ):
        single = (audio, video, save_path)
        chosen = chosen_jobs(manifest, single, job, shard, model, set_, root, results_dir, stall_timeout)
        hashes, probes = _cache(cache_dir, cache_size << 20, stall_timeout, wanted=not no_cache)
        settings = Settings(
            models=_models(models_dir, device, threads, precision),
            manifest=chosen.manifest,
            if_exists=(IfExists.overwrite if force else if_exists).value,
            verify=verify,
            retry_poison=retry_poison,
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
        )
        refuse_reports_over_jobs(ours, chosen.all_jobs, settings.result_path, results_dir, stall_timeout)
        replaced = {JUNIT: junit, METRICS: metrics_file}
        refuse_foreign_reports({kind: path for kind, path in replaced.items() if path not in dead}, stall_timeout)
        policy = Policy(Retry(retries), _failure_limit(max_failures, fail_fast=fail_fast), only_failed, run_lock)
        if dry_run:
            order = functools.partial(in_order, only_failed=only_failed)
            raise typer.Exit(reports.exit_code(preview(settings, chosen.jobs, audience, order)))

        def signalled(number: int) -> None:
            audience.hurry()
            reports.signalled(number)

        def ends() -> None:
            audience.hurry()
            reports.hurry()

        summary = Batch(settings, reports, policy, signalled, ends).run(chosen.jobs, chosen.manifest)
        raise typer.Exit(reports.exit_code(summary.exit_code))


@app.command(epilog="Examples:\n\ndh check night.yaml\n\ndh check night.yaml --json | jq 'select(.code)'")
def check(
    manifest: ManifestPath = None,
    job: JobIds = None,
    model: Model = None,
    set_: Sets = None,
    device: DeviceName = "auto",
    models_dir: ModelsDirs = None,
    results_dir: ResultsDir = None,
    cache_dir: CacheDir = None,
    root: Root = None,
    max_duration: MaxDuration = 14400.0,
    json_: Json = False,
) -> None:
    """Find out everything that can be known without rendering: the manifest, the inputs, the plan."""
    from dhcli.command.console import Audience
    from dhcli.command.preview import preview
    from dhcli.command.selection import chosen_jobs
    from dhcli.runs.settings import Settings

    audience = Audience(as_json=json_, progress="none", verbosity=0)
    with _refusal_told(audience):
        chosen = chosen_jobs(manifest, (None, None, None), job, None, model, set_, root, results_dir)
        hashes, probes = _cache(cache_dir, 0)
        settings = Settings(
            models=_models(models_dir, device),
            manifest=chosen.manifest,
            results_dir=results_dir,
            max_duration_s=max_duration,
            root=root,
            hashes=hashes,
            probes=probes,
        )
    code = preview(settings, chosen.jobs, audience)
    raise typer.Exit(RESULTS_LOST if audience.stdout_lost() and code in {OK, FAILED} else code)


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
    result = (
        f"{failed} failed ({', '.join(dict.fromkeys(e.code for e in errors.values()))})" if failed else "all is well"
    )
    say([f"{count(checks, 'check')}: {result}"])
    raise typer.Exit(next((exit_code_of(error) for error in errors.values()), OK))


@app.command()
def schema(kind: Annotated[SchemaKind, typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of a format."""
    from dhcli import events, manifest
    from dhcli.bench.report import bench_schema
    from dhcli.networks import descriptor
    from dhcli.results import result

    schemas: dict[SchemaKind, Callable[[], dict[str, Any]]] = {
        SchemaKind.manifest: manifest.manifest_schema,
        SchemaKind.result: result.result_schema,
        SchemaKind.model: descriptor.model_schema,
        SchemaKind.event: events.event_schema,
        SchemaKind.bench: bench_schema,
    }
    answer(json.dumps(schemas[kind](), indent=2).splitlines())


@contextlib.contextmanager
def _refusal_told(listener: Listener, began: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """With --json, a run that cannot start says so to programs, too. An interrupt before the first job is one line.

    So does a run that a bug ends: its reports are made before the traceback goes to stderr.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(["dh: interrupted" if began() else "dh: interrupted; nothing was done"])
        raise
    except DhError as error:
        listener(refused(error))
        raise
    except (typer.Exit, typer.TyperException):  # how every call ends, and wrong usage
        raise
    except Exception as error:
        listener(refused(as_bug(error)))
        raise


def _failure_limit(text: str | None, *, fail_fast: bool) -> FailureLimit | None:
    from dhcli.command.selection import usage
    from dhcli.runs.retry import FailureLimit, parse_failure_limit

    if fail_fast and text is not None:
        usage("give --fail-fast or --max-failures, not both")
    if fail_fast:
        return FailureLimit(1)
    try:
        return parse_failure_limit(text) if text is not None else None
    except ValueError as error:
        usage(f"--max-failures {text}: expected {error}")


def _models(
    folders: Sequence[Path] | None, device: str, threads: int = 0, precision: FacePrecision = FacePrecision.auto
) -> Models:
    from dhcli.command.selection import chosen_device
    from dhcli.render.models import Models

    return Models(folders or (), chosen_device(device, precision.value), threads, precision.value)


def _cache(
    folder: Path | None, limit_bytes: int, stall_timeout_s: float = 60.0, *, wanted: bool = True
) -> tuple[HashCache, Probes]:
    """What is remembered between runs; with a limit of 0 it is read alone."""
    from dhcli.disk.folder import CacheFolder
    from dhcli.disk.hashes import HashCache, cache_folder
    from dhcli.disk.patience import PATIENCE_S
    from dhcli.disk.store import Store
    from dhcli.render.probes import Probes

    if not wanted:
        return HashCache(), Probes()
    # A disk that does not answer is given up long before the job that asks it counts as stalled.
    place = CacheFolder(cache_folder(folder), min(PATIENCE_S, stall_timeout_s / 4))
    return HashCache(place), Probes(Store(place, limit_bytes))


def main() -> None:
    """Run what the command line says, and end the process with its exit code."""
    raise SystemExit(run(app, sys.argv[1:]))
