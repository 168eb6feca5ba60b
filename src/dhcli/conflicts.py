"""Whether the jobs of one batch are in each other's way: ids, outputs, and outputs that are inputs.

Paths are compared by where they lead, not by how they are spelled. It looks at the file system and changes nothing;
whether an input exists or an output may be written is not its business.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from dhcli.disk.boundary import strays
from dhcli.options import Job, parse_face

RESULT_SUFFIX = ".json"
"""The result file stands beside the output unless a folder for results is given."""

Conflict: TypeAlias = tuple[Job, str, str]
"""The job, its key, and what is wrong with it."""
Identity: TypeAlias = tuple[int, int, str]
"""Device, inode, and what hangs below it: "" for the file itself, "/new/a.mp4" for what does not exist yet."""


def find_conflicts(jobs: Sequence[Job]) -> Iterator[Conflict]:
    """Everything that stands in a job's way. Each path is looked up once: 10 000 jobs take less than a second."""
    yield from _same_ids(jobs)
    places = _Places()
    written: dict[Identity, tuple[Job, Path]] = {}
    for job in jobs:
        for path in (job.save_path, job.save_path.with_name(job.save_path.name + RESULT_SUFFIX)):
            identities = places.identities(path)
            other = next((written[identity] for identity in identities if identity in written), None)
            if other:
                yield job, "save_path", f"{path} is already written by {_name(*other, path)}"
                break  # the result file of the same output would only say it again
            written.update(dict.fromkeys(identities, (job, path)))
    read: set[Path] = set()
    for job in jobs:
        photo = parse_face(job.options.face).photo
        inputs = [("audio", job.audio), ("video", job.video), *([("photo", photo)] if photo is not None else [])]
        for key, path in inputs:
            if path in read:
                continue
            read.add(path)
            owner = next((written[at] for at in places.identities(path) if at in written), None)
            if owner:
                whose = "this job" if owner[0] is job else _name(job, path, owner[1])
                yield owner[0], "save_path", f"{owner[1]} would overwrite the {key} of {whose}"


def find_overwritten(written: Sequence[tuple[str, Path]], others: Iterable[tuple[str, Path]]) -> Iterator[str]:
    """Every one of the files `written`, each with the flag that names it, that is another one or one of `others`.

    Devices are nobody's: /dev/null and /dev/stderr may be named twice.
    """
    places = _Places()
    flags: dict[Identity, str] = {}
    for flag, path in written:
        if path.exists() and not path.is_file():
            continue
        identities = places.identities(path)
        for other in {flags[identity] for identity in identities if identity in flags}:
            yield f"{flag} {path} is the file of {other}, too"
        flags.update(dict.fromkeys(identities, flag))
    for what, path in others if flags else ():
        for flag in {flags[identity] for identity in places.identities(path) if identity in flags}:
            yield f"{flag} would overwrite {what} {path}"


def find_strays(jobs: Sequence[Job], root: Path) -> Iterator[Conflict]:
    """Every path that leads out of `root`, by `..`, by a symbolic link, or because it is absolute."""
    for job in jobs:
        photo = parse_face(job.options.face).photo
        paths = {"audio": job.audio, "video": job.video, "save_path": job.save_path}
        for key, path in {**paths, **({"face": photo} if photo else {})}.items():
            if real := strays(path, root):
                way = "" if real == path else f" leads to {real}, which"
                yield job, key, f"{path}{way} is outside of {root}; put the file below that folder"


def with_ids(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The jobs, each without an id named after its output: its stem, with folders in front where that is not unique.

    `a/hello.mp4` and `b/hello.mp4` are `a-hello` and `b-hello`, whatever their order.
    """
    taken = {job.id for job in jobs if job.id}
    named: dict[int, str] = {}
    same_stem: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if not job.id:
            same_stem[job.save_path.stem].append(job)
    # Single stems first: the names with folders must avoid them, and not the other way round.
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
    # Only `a-b/c` beside `a/b-c` and their like come here.
    names = [f"{job.save_path.stem}-{job.index}" for job in group]
    while not taken.isdisjoint(names):
        names = [name + "-" for name in names]
    return names


def _last(parts: tuple[str, ...], count: int) -> tuple[str, ...]:
    return parts[max(0, len(parts) - count) :]


def _same_ids(jobs: Sequence[Job]) -> Iterator[Conflict]:
    first: dict[str, Job] = {}
    for job in jobs:
        if job.id and (other := first.setdefault(job.id, job)) is not job:
            yield job, "id", f"'{job.id}' is already the id of jobs[{other.index}] (line {other.line})"


def _name(job: Job, path: Path, beside: Path) -> str:
    """A job and, where it is spelled in another way than `beside`, its path."""
    spelled = "" if path == beside else f", as {path}"
    return f"jobs[{job.index}] (line {job.line}{spelled})"


class _Places:
    """Where paths lead: the same file or the same future file has an identity in common, however it is spelled."""

    def __init__(self) -> None:
        self._folders: dict[Path, tuple[Identity, bool]] = {}

    def identities(self, path: Path) -> tuple[Identity, ...]:
        """The path's place in its folder and, where the file exists, the file: hard links meet there."""
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = _anchor(folder)
        (device, inode, below), folds_case = self._folders[folder]
        tail = f"{below}/{path.name}"
        place = (device, inode, tail.casefold() if folds_case else tail)
        try:
            found = path.stat()
        except OSError:
            return (place,)
        return place, (found.st_dev, found.st_ino, "")


def _anchor(folder: Path) -> tuple[Identity, bool]:
    """The deepest existing folder with what is missing below it, and whether names there ignore case."""
    for at in (folder, *folder.parents):
        try:
            found = at.stat()
        except OSError:
            continue
        below = str(folder)[len(str(at)) :].removeprefix("/")
        return (found.st_dev, found.st_ino, f"/{below}" if below else ""), _folds_case(at, found)
    return (0, 0, str(folder)), False


def _folds_case(folder: Path, found: os.stat_result) -> bool:
    other_case = folder.name.swapcase()
    if other_case == folder.name:
        return False
    try:
        return os.path.samestat(found, folder.with_name(other_case).stat())
    except OSError:
        return False
