"""Conflicts between jobs: an id used twice, or a file that two jobs write or that the run also reads.

No two jobs or reports may write or remove the same file. Paths are compared by the file that they lead to, through
links and `..`. The file system is read but not changed. Whether an input exists or an output can be written is checked
later, when the job runs.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from dhcli.disk.boundary import strays
from dhcli.disk.names import WORKING_SUFFIXES, working_paths
from dhcli.disk.places import Places, Spots
from dhcli.jobs.formats import clash
from dhcli.jobs.options import Job, parse_face
from dhcli.runtime.disk_calls import OnStep, ignore_step

STDIN = Path("/dev/stdin")
"""Leads to the file of standard input, if the shell redirected one."""

Owner = TypeVar("Owner")
Conflict: TypeAlias = tuple[Job, str, str]
"""The job, its key, and what is wrong with it."""


def find_conflicts(
    jobs: Sequence[Job],
    result_path: Callable[[Job], Path],
    manifest: Path | None = None,
    results_dir: Path | None = None,
    on_step: OnStep = ignore_step,
) -> Iterator[Conflict]:
    """All conflicts. Every job must have its id. About a second for 10,000 jobs.

    `on_step` is called with the files of each job before they are looked at, which may take long on a network disk.
    """
    yield from _same_ids(jobs)
    written: _Written[Job] = _Written()
    of_result = "save_path" if results_dir is None else "id"
    for job in jobs:
        on_step(_files_of(job))
        for key, path in (("save_path", job.save_path), (of_result, result_path(job))):
            spots = written.places.spots(path)
            other = next(written.places.at(spots), None)
            if other is None:
                written.add(_Claim(job, path, key), spots)
            elif other.owner.id != job.id or key == "save_path":  # the same id twice is reported above
                yield job, key, f"{path} is already written by {_name(other.owner, path, other.path)}"
                break  # the results of the same output collide as well: one line is enough
    yield from _overwritten(jobs, written, manifest, on_step)
    for folder in _with_parents(results_dir):
        if claim := written.owner(written.places.spots(folder)):
            yield claim.owner, claim.key, f"{claim} has the name of a folder that is made for results, {folder}"


def _overwritten(
    jobs: Sequence[Job], written: _Written[Job], manifest: Path | None, on_step: OnStep
) -> Iterator[Conflict]:
    if manifest is not None and (claim := written.owner(written.places.spots(manifest))):
        yield claim.owner, claim.key, f"{claim} would overwrite the manifest"
    read: set[Path] = set()
    for job in jobs:
        on_step(_files_of(job))
        for what, path in inputs_of(job):
            if path in read:
                continue
            read.add(path)
            if claim := written.owner(written.places.spots(path)):
                whose = "this job" if claim.owner is job else _name(job, path, claim.path)
                yield claim.owner, claim.key, f"{claim} would overwrite the {what} of {whose}"


def find_overwritten(
    reports: Sequence[tuple[str, Path]],
    read: Iterable[tuple[str, Path]],
    written: Iterable[tuple[str, Path]] = (),
    on_step: OnStep = ignore_step,
) -> Iterator[str]:
    """A line for each of the `reports` (flag, path) that is also another report or a file that the run reads or writes.

    Devices such as /dev/null and /dev/stderr are left out: several reports may go there. `on_step` is called with each
    file before it is looked at.
    """
    ours: _Written[str] = _Written()
    for flag, path in reports:
        if path.exists() and not path.is_file():
            continue
        spots = ours.places.spots(path)
        if claim := ours.owner(spots):
            yield f"{flag} {path} is {_file(claim)}, too"
        ours.add(_Claim(flag, path), spots)
    if not ours.claims:
        return
    used = list(written)
    for what, path in (*read, *used):
        on_step(f"{what} {path}")
        if claim := ours.owner(ours.places.spots(path)):
            yield f"{claim.owner} would overwrite {what} {path}"
    for what, path in used if ours.named_like_working_files else ():
        for working in working_paths(path):
            for claim in ours.places.at((ours.places.name(working),)):
                yield f"{claim.owner} {claim.path} has the name of a working file of {what} {path}"


def inputs_of(job: Job) -> tuple[tuple[str, Path], ...]:
    """The files that the job reads, each with its role: audio, video, photo."""
    photo = parse_face(job.options.face).photo
    inputs = (("audio", job.audio), ("video", job.video))
    return inputs if photo is None else (*inputs, ("photo", photo))


def find_strays(jobs: Sequence[Job], root: Path, on_step: OnStep = ignore_step) -> Iterator[Conflict]:
    """Every path of the jobs that leads out of `root`: by `..`, by a symbolic link, or because it is absolute.

    `on_step`: as for `find_conflicts`.
    """
    for job in jobs:
        on_step(_files_of(job))
        inputs = (("face" if what == "photo" else what, path) for what, path in inputs_of(job))
        for key, path in (*inputs, ("save_path", job.save_path)):
            if real := strays(path, root):
                way = "" if real == path else f" leads to {real}, which"
                yield job, key, f"{path}{way} is outside of {root}; put the file below that folder"


def find_unfit(jobs: Sequence[Job]) -> Iterator[Conflict]:
    """Options that do not go with the ending of the job's output."""
    for job in jobs:
        if found := clash(job.save_path, job.options.encoder, job.options.audio_codec):
            yield job, *found


def with_ids(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The jobs with an id each. A job without one gets the stem of its output, with folders in front if needed.

    `a/hello.mp4` and `b/hello.mp4` become `a-hello` and `b-hello`, in whichever order they stand.
    """
    taken = {job.id for job in jobs if job.id}
    named: dict[int, str] = {}
    same_stem: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if not job.id:
            same_stem[job.save_path.stem].append(job)
    # Unique stems first: they need no folder in front, and the longer names must avoid them.
    for group in sorted(same_stem.values(), key=len):
        names = _unique_names(group, taken)
        taken.update(names)
        named |= {job.index: name for job, name in zip(group, names, strict=True)}
    return tuple(job if job.id else replace(job, id=named[job.index]) for job in jobs)


def _unique_names(group: Sequence[Job], taken: set[str]) -> list[str]:
    depth = max(len(job.save_path.parts) for job in group)
    for folders in range(depth):
        names = ["-".join((*_last(job.save_path.parts[1:-1], folders), job.save_path.stem)) for job in group]
        if len(set(names)) == len(names) and taken.isdisjoint(names):
            return names
    # Folders do not tell these apart: `a-b/c` and `a/b-c` both give `a-b-c`.
    names = [f"{job.save_path.stem}-{job.index}" for job in group]
    while not taken.isdisjoint(names):
        names = [name + "-" for name in names]
    return names


def _files_of(job: Job) -> str:
    return f"one of {job.video}, {job.audio}, {job.save_path}"


def _last(parts: tuple[str, ...], count: int) -> tuple[str, ...]:
    return parts[max(0, len(parts) - count) :]


def _same_ids(jobs: Sequence[Job]) -> Iterator[Conflict]:
    first: dict[str, Job] = {}
    for job in jobs:
        if job.id and (other := first.setdefault(job.id, job)) is not job:
            yield job, "id", f"'{job.id}' is already the id of jobs[{other.index}] (line {other.line})"


def _name(job: Job, path: Path, beside: Path) -> str:
    """Index and line of a job for a message; also its path, if it is spelled differently from `beside`."""
    if job.line is None:
        return f"the job of {job.audio} and {job.video}"
    spelled = "" if path == beside else f", as {path}"
    return f"jobs[{job.index}] (line {job.line}{spelled})"


class _Claim(NamedTuple, Generic[Owner]):
    """A file that somebody writes: a job or a report."""

    owner: Owner
    path: Path
    key: str = ""
    """The key of the manifest that the user has to change for another path."""
    beside: Path | None = None
    """Set for a working file, which exists only while this file is written."""

    def __str__(self) -> str:
        return str(self.path) if self.beside is None else f"{self.path}, a working file of {self.beside},"


class _Written(Generic[Owner]):
    """All files that are written or removed, with their owners."""

    def __init__(self) -> None:
        self.places: Places[_Claim[Owner]] = Places()
        self.claims: list[_Claim[Owner]] = []
        self.named_like_working_files = False

    def add(self, claim: _Claim[Owner], spots: Spots) -> None:
        self.places.add(spots, claim)
        self.claims.append(claim)
        self.named_like_working_files |= _like_a_working_file(spots)

    def owner(self, spots: Spots) -> _Claim[Owner] | None:
        """The claim on the file, the first one if there are several; None if nobody writes or removes it."""
        found = next(self.places.at(spots), None)
        if found is None and _like_a_working_file(spots):
            found = next(self._working.at(spots), None)
        return found

    @functools.cached_property
    def _working(self) -> Places[_Claim[Owner]]:
        """The working files of all claims. Made on demand: few files have names like theirs."""
        working: Places[_Claim[Owner]] = Places()
        for claim in self.claims:
            for path in working_paths(claim.path):
                working.add((working.name(path),), claim._replace(path=path, beside=claim.path))
        return working


def _like_a_working_file(spots: Spots) -> bool:
    return any(spot.name.lower().endswith(WORKING_SUFFIXES) for spot in spots)


def _file(claim: _Claim[str]) -> str:
    return f"a working file of {claim.owner}" if claim.beside else f"the file of {claim.owner}"


def _with_parents(folder: Path | None) -> tuple[Path, ...]:
    return () if folder is None else (folder, *folder.absolute().parents)
