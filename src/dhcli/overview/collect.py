"""From what the user names (results, outputs, folders, manifests) to one entry for each job."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dhcli.disk.names import result_path
from dhcli.errors import DhError
from dhcli.jobs.formats import ENCODERS, ending_of
from dhcli.manifest import NO_OVERRIDES, load_manifest
from dhcli.results.result import JobResult, UnreadableResultError, read_result

MOST_FILES = 200_000
"""JSON files that are looked at in a folder; a night has some thousand."""
PREVIEW = tuple(f".preview{ending}.json" for ending in ENCODERS)
"""Ends of the names of previews' results: they are no jobs of a night."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One job, and what is known of it."""

    job_id: str
    save_path: str
    result_path: Path
    result: JobResult | None
    """None: the job has no result, or one that cannot be read."""
    trouble: str = ""
    """Why there is no result."""
    status: str = ""
    """What a run just said of the job, where the result tells less: skipped."""

    @property
    def state(self) -> str:
        """succeeded, skipped, failed, cancelled, running; `missing` without a result."""
        if self.status:
            return self.status
        return "missing" if self.result is None else self.result.status


class NothingFoundError(Exception):
    """What the user named leads to no job. The text says why."""


def collect(
    sources: Sequence[Path], results_dir: Path | None = None, variables: Mapping[str, str] = NO_OVERRIDES
) -> list[Entry]:
    """The entries of all sources, each job once, in the order in which they are found.

    `results_dir` is where the jobs of manifests have their results; None: beside their outputs. `variables` are values
    for the manifests' `vars:`. Raises NothingFoundError, and ManifestError for a file that is neither a result nor a
    manifest.
    """
    found: dict[str, Entry] = {}
    for source in sources:
        own = list(_entries(source, results_dir, variables))
        if not own:
            raise NothingFoundError(f"{source}: no result of dh is in this folder")
        for entry in own:
            found.setdefault(os.path.realpath(entry.result_path), entry)
    return list(found.values())


def since(entries: Iterable[Entry], begin: dt.datetime) -> list[Entry]:
    """Those of jobs that began or ended at or after a time, and those without a result."""
    return [one for one in entries if one.result is None or (one.result.finished_at or one.result.started_at) >= begin]


def _entries(source: Path, results_dir: Path | None, variables: Mapping[str, str]) -> Iterator[Entry]:
    if source.is_dir():
        yield from filter(None, map(entry_of, _files(source)))
        return
    if ending_of(source) in ENCODERS:
        path = result_path(source, "")
        yield entry_of(path) or Entry(source.stem, str(source), path, None, "There is no result beside this video.")
        return
    if source.suffix.lower() == ".json" and (entry := entry_of(source)) is not None:
        yield entry
        return
    for job in load_manifest(source, results_dir=results_dir, variables=variables).jobs:
        path = result_path(job.save_path, job.id, results_dir)
        nothing = Entry(job.id, str(job.save_path), path, None, "No run has written a result for it.")
        yield entry_of(path) or nothing


def _files(folder: Path) -> Iterator[Path]:
    """JSON files of a folder and those below it, by name; hidden folders and previews left out."""
    left = MOST_FILES
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".json") and not name.startswith(".") and not name.endswith(PREVIEW):
                left -= 1
                if left < 0:
                    return
                yield Path(at, name)


def entry_of(path: Path) -> Entry | None:
    """The entry of a result file; None where there is none, or a file that is no result of dh."""
    try:
        result = read_result(path)
    except UnreadableResultError as error:
        name = path.name.removesuffix(".json")
        return Entry(name, str(path.with_name(name)), path, None, f"The result is damaged: {error}")
    except (DhError, OSError):
        return None
    return None if result is None else Entry(result.job_id, _save_path(path, result), path, result)


def _save_path(path: Path, result: JobResult) -> str:
    """Where the job's output is, as far as its result tells."""
    for part in (result.output, result.last_success.output if result.last_success else None, result.put_in_place):
        if part is not None:
            return part.path
    beside = path.absolute().with_suffix("")
    return str(beside) if ending_of(beside) in ENCODERS else ""
