"""The manifest: reading the file, and its checks.

`load_manifest` returns the checked jobs, or raises one error with every problem of the file and its line. The inputs
that the jobs name are not opened here.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from dhcli.disk.names import result_path
from dhcli.errors import ManifestError
from dhcli.jobs import strict_yaml
from dhcli.jobs.conflicts import STDIN, Conflict, find_conflicts, find_strays, find_unfit, with_ids
from dhcli.jobs.documents import parse, suffix_of
from dhcli.jobs.files import Files
from dhcli.jobs.keys import PATHS
from dhcli.jobs.matrix import MatrixReader, Pair
from dhcli.jobs.options import Job
from dhcli.jobs.problems import Problems
from dhcli.jobs.reader import JobReader
from dhcli.jobs.strict_yaml import MappingNode
from dhcli.jobs.variables import without_variables
from dhcli.runtime.disk_calls import DiskCalls, OnStep

NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The jobs of one batch."""

    path: Path | None
    """Absolute; None for standard input and for a single job from the command line."""
    sha256: str
    """Of the bytes of the file; for a single job, of its paths and options."""
    jobs: tuple[Job, ...]
    skipped: frozenset[str] = frozenset()
    """Ids of the jobs that the manifest leaves out by `skip`."""


def load_manifest(
    source: Path | None,
    *,
    stdin: BinaryIO | None = None,
    overrides: Mapping[str, str] = NO_OVERRIDES,
    variables: Mapping[str, str] = NO_OVERRIDES,
    root: Path | None = None,
    results_dir: Path | None = None,
    stall_timeout_s: float | None = None,
) -> Manifest:
    """Read and check a manifest. `source` None or `-` means standard input.

    Paths in a file are relative to its folder, paths from standard input to the current folder. `overrides` are job
    options as text; they win over the jobs and the defaults. `variables` are values for `vars:`. No path may lead out
    of `root`. Results will be written to `results_dir`, or beside the outputs without it.

    Raises ManifestError (`.unreadable`, `.syntax`, `.limit`, `.invalid` or `.conflict`) with every problem of the file,
    and DhError stalled if a disk does not respond for `stall_timeout_s`. A pipe or terminal may take any time.
    """
    from_stdin = source is None or str(source) == "-"
    name = "<stdin>" if from_stdin else str(source)
    on_disk = DiskCalls(stall_timeout_s)
    path, folder, data = _read(None if from_stdin else source, stdin, name, on_disk)
    try:
        document = parse(data, name, suffix_of(path))
    except strict_yaml.StrictYamlError as error:
        raise ManifestError(error.code, error.problems) from error
    problems = Problems(name)
    document = without_variables(document, variables, os.environ, problems)
    reader = JobReader(folder, problems, overrides)
    read = reader.read(document)
    if isinstance(document, MappingNode) and (matrix := document.values.get("matrix")) is not None:
        read += MatrixReader(reader, Files(folder, on_disk, root), problems).read(matrix)
    named = with_ids(read)  # also where some are left out: that must not name the others anew
    jobs = tuple(job for job in named if job.index not in reader.skipped)
    conflicts, strays = _in_the_way(jobs, path or STDIN, root, results_dir, on_disk)
    for job, key, text in conflicts:
        at = key if (job.index, key) in reader.lines else "save_path"  # which the id was made of
        line = reader.lines.get((job.index, at), job.line)
        problems.add(line, f"jobs[{job.index}].{at}", text + _of_pair(job, reader), conflict=True)
    for job, key, text in strays:
        problems.add(reader.lines.get((job.index, key), job.line), f"jobs[{job.index}].{key}", text)
    problems.raise_any()
    skipped = frozenset(job.id for job in named if job.index in reader.skipped)
    return Manifest(path, hashlib.sha256(data).hexdigest(), jobs, skipped)


def single_job(
    audio: str | Path,
    video: str | Path,
    save_path: str | Path,
    overrides: Mapping[str, str] = NO_OVERRIDES,
    root: Path | None = None,
    results_dir: Path | None = None,
    stall_timeout_s: float | None = None,
) -> Manifest:
    """A manifest of the one job that the command line gives. Checked, and raises, like `load_manifest`."""
    texts = {"audio": str(audio), "video": str(video), "save_path": str(save_path)}
    problems = Problems("dh")
    jobs = with_ids(JobReader(_current_folder("dh"), problems, overrides).single(texts))
    conflicts, strays = _in_the_way(jobs, None, root, results_dir, DiskCalls(stall_timeout_s))
    for _, _, text in conflicts:
        problems.add(None, "--save-path", text, conflict=True)
    for _, key, text in strays:
        problems.add(None, _flag(key), text)
    problems.raise_any()
    content = json.dumps([texts, dict(overrides)], sort_keys=True).encode()
    return Manifest(None, hashlib.sha256(content).hexdigest(), jobs)


def jobs_of_flags(
    audios: Sequence[str],
    videos: Sequence[str],
    out: str,
    pair: Pair = "product",
    overrides: Mapping[str, str] = NO_OVERRIDES,
    root: Path | None = None,
    results_dir: Path | None = None,
    stall_timeout_s: float | None = None,
) -> Manifest:
    """A manifest of a job for each pair of audio and video, paths or patterns; `out` is a folder or a template.

    Checked, and raises, like `load_manifest`.
    """
    problems, on_disk = Problems("dh"), DiskCalls(stall_timeout_s)
    reader = JobReader(_current_folder("dh"), problems, overrides)
    found = MatrixReader(reader, Files(reader.folder, on_disk, root), problems).of_flags(audios, videos, out, pair)
    jobs = with_ids(found)
    conflicts, strays = _in_the_way(jobs, None, root, results_dir, on_disk)
    for _, _, text in conflicts:
        problems.add(None, "--out", text, conflict=True)
    for _, key, text in strays:
        problems.add(None, "--out" if key == "save_path" else _flag(key), text)
    problems.raise_any()
    texts = [[str(job.audio), str(job.video), str(job.save_path)] for job in jobs]
    content = os.fsencode(json.dumps([texts, dict(overrides)], sort_keys=True, ensure_ascii=True))
    return Manifest(None, hashlib.sha256(content).hexdigest(), jobs)


def check_overrides(overrides: Mapping[str, str]) -> None:
    """Check the job options of the command line alone. Raises ManifestError with a line for each wrong one."""
    problems = Problems("dh")
    JobReader(Path(), problems, overrides)
    problems.raise_any()


def _in_the_way(
    jobs: Sequence[Job], manifest: Path | None, root: Path | None, results_dir: Path | None, on_disk: DiskCalls
) -> tuple[list[Conflict], list[Conflict]]:
    """The conflicts of the jobs; paths out of `root`, and options that do not fit. Raises DhError stalled."""

    def look(on_step: OnStep) -> tuple[list[Conflict], list[Conflict]]:
        conflicts = list(find_conflicts(jobs, _result_in(results_dir), manifest, results_dir, on_step))
        strays = list(find_strays(jobs, root, on_step)) if root is not None else []
        return conflicts, [*strays, *find_unfit(jobs)]

    return on_disk.in_steps("the files of the jobs", look)


def _flag(key: str) -> str:
    """The flag that sets a key of a job."""
    return f"--{key.replace('_', '-')}" if key in PATHS else f"--set {key}"


def _of_pair(job: Job, reader: JobReader) -> str:
    """Which audio and video a job of a matrix is made of: its line alone does not say it."""
    return "" if job.index < reader.count else f" (of {job.audio.name} and {job.video.name})"


def _result_in(folder: Path | None) -> Callable[[Job], Path]:
    return lambda job: result_path(job.save_path, job.id, folder)


def _current_folder(name: str) -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ManifestError(
            "manifest.unreadable", [f"{name}: the current folder is gone; change to one that exists"]
        ) from error


def _read(
    source: Path | None, stdin: BinaryIO | None, name: str, on_disk: DiskCalls
) -> tuple[Path | None, Path, bytes]:
    """Absolute path, folder of relative paths, and content, of which one byte more than allowed is read at most."""
    limit = strict_yaml.MAX_BYTES + 1
    base = _current_folder(name)

    def read(path: Path) -> bytes:
        with path.open("rb") as file:
            return file.read(limit)

    try:
        if source is None:
            stream = stdin or (sys.stdin.buffer if sys.stdin else None)
            if stream is None:
                raise ManifestError("manifest.unreadable", [f"{name}: standard input is closed; give a file"])
            waits = _waits_for_somebody(on_disk(name, lambda: _mode(stream)))
            return None, base, stream.read(limit) if waits else on_disk(name, lambda: stream.read(limit))
        waits = _waits_for_somebody(on_disk(name, source.stat).st_mode)
        data = read(source) if waits else on_disk(name, lambda: read(source))
    except FileNotFoundError as error:
        text = "no such file; give the path of a manifest, or - for standard input"
        raise ManifestError("manifest.unreadable", [f"{name}: {text}"]) from error
    except IsADirectoryError as error:
        raise ManifestError("manifest.unreadable", [f"{name}: a folder; give a file in it"]) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        text = f"cannot be read by user {os.geteuid()}: {reason}"
        raise ManifestError("manifest.unreadable", [f"{name}: {text}"]) from error
    if waits:  # the folder of /dev/fd/63 or /dev/stdin is nobody's folder of inputs
        return None, base, data
    path = Path(os.path.normpath(base / source))
    return path, path.parent, data


def _mode(stream: BinaryIO) -> int:
    """Of what the stream reads; 0 where that is no open file."""
    try:
        return os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return 0


def _waits_for_somebody(mode: int) -> bool:
    """A pipe, as in `dh render <(make-manifest)`, a socket or a terminal: its writer may take any time."""
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
