"""All names that dh makes out of an output's: that of its result, and those of the files it works with."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dhcli.disk.lock import lock_path
from dhcli.disk.part import part_path
from dhcli.disk.scratch import scratch_path

MAX_NAME_BYTES = 250
"""Of an id that names a file: every file system takes 255 bytes, and `.json` is five."""
ID_BYTES_KEPT = 200
WORKING_SUFFIXES = (".dh-part", ".dh-part-scratch", ".dh-lock")
"""Of all that `working_paths` names, and of nothing else."""


def result_path(save_path: Path, job_id: str, results_dir: Path | None = None) -> Path:
    """`<save_path>.json`, or `<id>.json` in `results_dir`; an id too long for a name is cut, and gets a hash."""
    if results_dir is None:
        return save_path.with_name(f"{save_path.name}.json")
    name = os.fsencode(job_id.replace("%", "%25").replace("/", "%2F"))
    if len(name) > MAX_NAME_BYTES:
        start = name[:ID_BYTES_KEPT].decode("utf-8", "ignore")
        return results_dir / f"{start}.{hashlib.sha256(name).hexdigest()[:16]}.json"
    return results_dir / f"{os.fsdecode(name)}.json"


def working_paths(path: Path) -> tuple[Path, ...]:
    """What is made and removed beside an output, a result or a report while it is written."""
    return part_path(path), scratch_path(path), lock_path(path)
