"""The jobs that the command line selects, and its checks; what is wrong ends the call as wrong usage, exit code 2.

The jobs are those of a manifest, or of --audio and --video; --set, --job and --shard apply.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from dhcli.errors import DhError, ManifestError
from dhcli.jobs.conflicts import STDIN, find_overwritten, inputs_of
from dhcli.jobs.matrix import Pair
from dhcli.jobs.options import Job
from dhcli.manifest import Manifest, check_overrides, jobs_of_flags, load_manifest, single_job
from dhcli.reports import Kind, replaceable
from dhcli.runtime.disk_calls import DiskCalls, OnStep

if TYPE_CHECKING:
    from dhcli.networks.model import Precision
    from dhcli.networks.network import Device


MOST_TOLD = 5
"""Names of files that a message lists at most."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The jobs of a call."""

    manifest: Path | None
    jobs: tuple[Job, ...]
    """The chosen ones."""
    all_jobs: tuple[Job, ...]
    """All jobs of the manifest: reports must not overwrite the files of the others, either."""


@dataclass(frozen=True, slots=True)
class JobChoice:
    """What the command line says of the jobs, as it was typed."""

    manifest: str | None
    audios: Sequence[str] | None = None
    videos: Sequence[str] | None = None
    save_path: str | None = None
    out: str | None = None
    pair: Pair = "product"
    ids: Sequence[str] | None = None
    shard: str | None = None
    model: str | None = None
    sets: Sequence[str] | None = None
    variables: Sequence[str] | None = None


def chosen_jobs(
    choice: JobChoice, root: Path | None = None, results_dir: Path | None = None, stall_timeout_s: float | None = None
) -> Selection:
    """The jobs to which a choice leads. `root`, `results_dir` and `stall_timeout_s` are the flags of those names."""
    overrides = {"model": choice.model} if choice.model is not None else {}
    overrides |= _pairs_of("--set", "KEY", choice.sets)
    with _usage_where_invalid():
        check_overrides(overrides)
    variables = variables_of(choice.variables)
    if choice.manifest is None:
        if variables:
            usage("--var gives values to the variables of a manifest; there is none")
        return _of_flags(choice, overrides, root, results_dir, stall_timeout_s)
    if any(given is not None for given in (choice.audios, choice.videos, choice.save_path, choice.out)):
        usage("give a manifest or --audio, --video and --out or --save-path, not both")
    source = None if choice.manifest == "-" else Path(choice.manifest)
    loaded = load_manifest(
        source,
        overrides=overrides,
        variables=variables,
        root=root,
        results_dir=results_dir,
        stall_timeout_s=stall_timeout_s,
    )
    return Selection(loaded.path, _selected(loaded, choice.ids, choice.shard), loaded.jobs)


def variables_of(texts: Sequence[str] | None) -> dict[str, str]:
    """The values of --var. Ends with usage where one of them has no name."""
    return dict(_pairs_of("--var", "NAME", texts))


def _of_flags(
    choice: JobChoice,
    overrides: Mapping[str, str],
    root: Path | None,
    results_dir: Path | None,
    stall_timeout_s: float | None,
) -> Selection:
    """The jobs of --audio and --video: one with --save-path, whose files are what they are called, or many."""
    audios, videos, save_path, out = choice.audios, choice.videos, choice.save_path, choice.out
    if not audios or not videos or (save_path is None and out is None):
        usage("give a manifest, or --audio, --video and --out or --save-path")
    if save_path is not None and out is not None:
        usage("give --out or --save-path, not both")
    with _usage_where_invalid():
        if out is not None:
            made = jobs_of_flags(audios, videos, out, choice.pair, overrides, root, results_dir, stall_timeout_s)
            return Selection(None, _selected(made, choice.ids, choice.shard), made.jobs)
        assert save_path is not None
        if len(audios) > 1 or len(videos) > 1:
            usage("--save-path is the output of one job; give --out for several")
        if choice.ids or choice.shard is not None:
            usage("--job and --shard choose among several jobs; there is one")
        jobs = single_job(audios[0], videos[0], save_path, overrides, root, results_dir, stall_timeout_s).jobs
        return Selection(None, jobs, jobs)


def _pairs_of(flag: str, key: str, texts: Sequence[str] | None) -> dict[str, str]:
    """The values of a flag that takes KEY=VALUE. The last of equal keys counts."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator:
            usage(f"{flag} {text}: expected {key}=VALUE")
        found[name] = value
    return found


def _selected(manifest: Manifest, ids: Sequence[str] | None, shard: str | None) -> tuple[Job, ...]:
    """The jobs that --job and --shard choose. An id counts as a pattern only where no job has it."""
    jobs = manifest.jobs
    if ids:
        known = {job.id for job in jobs}
        named: set[str] = set()
        for text in ids:
            found = {text} & known or set(fnmatch.filter(known, text))
            if not found:
                _refuse_id(text, manifest)
            named |= found
        jobs = tuple(job for job in jobs if job.id in named)
    if shard is None:
        return jobs
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        usage(f"--shard {shard}: expected I/N with I from 0 to N-1")
    return tuple(job for job in jobs if _shard_of(job.id, int(parts)) == int(part))


def _refuse_id(text: str, manifest: Manifest) -> NoReturn:
    if text in manifest.skipped:
        usage(f"the manifest leaves the job '{text}' out: it has 'skip: true'")
    near = difflib.get_close_matches(text, [job.id for job in manifest.jobs], 1)
    usage(f"no job '{text}' in the manifest" + (f"; did you mean '{near[0]}'?" if near else ""))


def _shard_of(job_id: str, shards: int) -> int:
    """The part, from 0 to shards - 1, that a job belongs to. It depends on the id alone, not on the other jobs."""
    return int.from_bytes(hashlib.sha256(job_id.encode("utf-8", "surrogateescape")).digest()[:8], "big") % shards


def unanswered(paths: Iterable[Path | None], stall_timeout_s: float) -> dict[Path, DhError]:
    """The paths whose disk does not respond, each with the error `stalled`."""
    on_disk, found = DiskCalls(stall_timeout_s), dict[Path, DhError]()
    for path in filter(None, paths):
        try:
            on_disk(str(path), functools.partial(os.path.lexists, path))
        except DhError as error:
            found[path] = error
    return found


def refuse_reports_over_manifest(
    reports: Mapping[str, Path | None], manifest: str | None, stall_timeout_s: float | None = None
) -> None:
    """End with usage if two reports name the same file, or one of them names the manifest.

    Raises DhError stalled if one of their disks does not respond for `stall_timeout_s`.
    """
    path = STDIN if manifest == "-" else Path(manifest) if manifest is not None else None
    _refuse(_given(reports), [("the manifest", path)] if path is not None else [], (), stall_timeout_s)


def refuse_foreign_reports(reports: Mapping[Kind, Path | None], stall_timeout_s: float | None = None) -> None:
    """End with usage if a report would replace a file that dh did not write. Raises DhError stalled as above."""
    on_disk = DiskCalls(stall_timeout_s)
    for kind, path in reports.items():
        if path is None:
            continue
        try:
            on_disk(str(path), functools.partial(replaceable, path, kind))
        except DhError as error:
            if error.code != "output.exists":
                raise
            usage(f"{error.message} {error.hint}")


def refuse_taken(
    flag: str,
    paths: Iterable[Path],
    jobs: Sequence[Job],
    result_path: Callable[[Job], Path],
    stall_timeout_s: float | None = None,
) -> None:
    """End with usage if one of these files, which `flag` is to write, is a file of a job. Raises DhError stalled."""
    _refuse([(flag, path) for path in paths], _read(jobs), _written(jobs, result_path), stall_timeout_s)


def refuse_reports_over_jobs(
    reports: Mapping[str, Path | None],
    jobs: Sequence[Job],
    result_path: Callable[[Job], Path],
    results_dir: Path | None,
    stall_timeout_s: float | None = None,
) -> None:
    """End with usage if a report names a file of a job, or the folder for results. Raises DhError stalled as above."""
    folders = (results_dir, *results_dir.absolute().parents) if results_dir is not None else ()
    read = (*_read(jobs), *(("the folder for results", at) for at in folders))
    _refuse(_given(reports), read, _written(jobs, result_path), stall_timeout_s)


def _refuse(
    named: Sequence[tuple[str, Path]],
    read: Iterable[tuple[str, Path]],
    written: Iterable[tuple[str, Path]],
    stall_timeout_s: float | None,
) -> None:
    flags = ", ".join(f"{flag} {path}" for flag, path in named[:MOST_TOLD])

    def look(on_step: OnStep) -> list[str]:
        return list(itertools.islice(find_overwritten(named, read, written, on_step), MOST_TOLD))

    if named and (found := DiskCalls(stall_timeout_s).in_steps(flags, look)):
        usage("; ".join(found))


def _given(reports: Mapping[str, Path | None]) -> list[tuple[str, Path]]:
    return [(flag, path) for flag, path in reports.items() if path is not None]


def _read(jobs: Sequence[Job]) -> Iterator[tuple[str, Path]]:
    for job in jobs:
        for what, path in inputs_of(job):
            yield f"the {what} of the job {job.id},", path


def _written(jobs: Sequence[Job], result_path: Callable[[Job], Path]) -> Iterator[tuple[str, Path]]:
    for job in jobs:
        yield f"the output of the job {job.id},", job.save_path
        yield f"the result of the job {job.id},", result_path(job)


def chosen_device(text: str, precision: Precision) -> Device:
    """The device of `--device`. Ends with usage if it cannot run the network at `--precision`."""
    from dhcli.networks.network import parse_device

    try:
        device = parse_device(text)
    except DhError:
        usage(f"--device {text}: expected auto, cpu, cuda or cuda:N")
    if device.kind == "cuda" and device.required and precision == "int8":
        usage(f"--device {text} --precision int8: numbers of 8 bits are for CPUs; a GPU takes fp32 or fp16")
    return device


@contextlib.contextmanager
def _usage_where_invalid() -> Iterator[None]:
    """Turn a ManifestError into wrong usage: what is wrong stands on the command line and in no manifest."""
    try:
        yield
    except ManifestError as error:
        if error.code == "manifest.unreadable":  # the current folder is gone
            raise
        usage("\n".join(error.problems))


def usage(message: str) -> NoReturn:
    raise typer.BadParameter(message)
