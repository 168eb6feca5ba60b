"""What the command line selects: the jobs of a manifest or the one of three flags, overrides, ids, a shard.

It owns what is wrong usage. It reads the manifest through its reader and opens no input.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from dhcli.conflicts import find_overwritten
from dhcli.errors import DhError, ManifestError
from dhcli.manifest import check_overrides, load_manifest, single_job
from dhcli.options import Job, parse_face

if TYPE_CHECKING:
    from dhcli.families.family import Precision
    from dhcli.inference import Device


MOST_TOLD = 5
"""Of files that would be overwritten: a wrong folder is understood by then."""


def chosen_jobs(
    manifest: str | None,
    single: tuple[str | None, str | None, str | None],
    ids: Sequence[str] | None,
    shard: str | None,
    model: str | None,
    sets: Sequence[str] | None,
    root: Path | None = None,
) -> tuple[Path | None, tuple[Job, ...]]:
    overrides = {"model": model} if model is not None else {}
    for text in sets or ():
        key, separator, value = text.partition("=")
        if not separator:
            usage(f"--set {text}: expected KEY=VALUE")
        overrides[key] = value
    with _usage_where_invalid():
        check_overrides(overrides)
    audio, video, save_path = single
    if manifest is None:
        if audio is None or video is None or save_path is None:
            usage("give a manifest, or --audio, --video and --save-path")
        if ids or shard is not None:
            usage("--job and --shard choose among the jobs of a manifest; there is none")
        with _usage_where_invalid():
            return None, single_job(audio, video, save_path, overrides, root).jobs
    if any(path is not None for path in single):
        usage("give a manifest or --audio, --video and --save-path, not both")
    loaded = load_manifest(None if manifest == "-" else Path(manifest), overrides=overrides, root=root)
    return loaded.path, _selected(loaded.jobs, ids, shard)


def _selected(jobs: tuple[Job, ...], ids: Sequence[str] | None, shard: str | None) -> tuple[Job, ...]:
    if unknown := set(ids or ()) - {job.id for job in jobs}:
        near = difflib.get_close_matches(min(unknown), [job.id for job in jobs], 1)
        usage(f"no job '{min(unknown)}' in the manifest" + (f"; did you mean '{near[0]}'?" if near else ""))
    if ids:
        jobs = tuple(job for job in jobs if job.id in ids)
    if shard is None:
        return jobs
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        usage(f"--shard {shard}: expected I/N with I from 0 to N-1")
    return tuple(job for job in jobs if _shard_of(job.id, int(parts)) == int(part))


def _shard_of(job_id: str, shards: int) -> int:
    """The part, 0 … shards - 1, that a job belongs to; it does not depend on the other jobs of the manifest."""
    return int.from_bytes(hashlib.sha256(job_id.encode("utf-8", "surrogateescape")).digest()[:8], "big") % shards


def refuse_overwriting(files: Mapping[str, Path | None], others: Iterable[tuple[str, Path]]) -> None:
    """Usage, where one of the files that flags name would be written over another one of them, or over `others`."""
    named = [(flag, path) for flag, path in files.items() if path is not None]
    if named and (found := list(itertools.islice(find_overwritten(named, others), MOST_TOLD))):
        usage("; ".join(found))


def files_of(jobs: Sequence[Job], result_path: Callable[[Job], Path]) -> Iterator[tuple[str, Path]]:
    """Everything that jobs read and write."""
    for job in jobs:
        photo = parse_face(job.options.face).photo
        inputs = [("the video", job.video), ("the audio", job.audio), *([("the photo", photo)] if photo else [])]
        for what, path in (*inputs, ("the output", job.save_path), ("the result", result_path(job))):
            yield f"{what} of the job {job.id},", path


def chosen_device(text: str, precision: Precision) -> Device:
    """The device of `--device`, which has to take the numbers of `--precision`."""
    from dhcli.inference import parse_device

    try:
        device = parse_device(text)
    except DhError:
        usage(f"--device {text}: expected auto, cpu, cuda or cuda:N")
    if device.kind == "cuda" and device.required and precision == "int8":
        usage(f"--device {text} --precision int8: numbers of 8 bits are for CPUs; a GPU takes fp32 or fp16")
    return device


@contextlib.contextmanager
def _usage_where_invalid() -> Iterator[None]:
    """What stands on the command line and not in a file is usage, exit 2, even where a manifest could say it, too."""
    try:
        yield
    except ManifestError as error:
        if error.code == "manifest.unreadable":  # the current folder is gone
            raise
        usage("\n".join(error.problems))


def usage(message: str) -> NoReturn:
    raise typer.BadParameter(message)
