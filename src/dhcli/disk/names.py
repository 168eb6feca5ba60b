"""The names that dh derives from an output's: its result's, and those of its working files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dhcli.disk.lock import lock_path
from dhcli.disk.part import part_path
from dhcli.disk.scratch import scratch_path

MAX_NAME_BYTES = 250
"""Longest id that names a file; file systems take 255 bytes, of which `.json` has five."""
ID_BYTES_KEPT = 200
WORKING_SUFFIXES = (".dh-part", ".dh-part-scratch", ".dh-lock")
"""Suffixes of the names of `working_paths`; no other file of dh has them."""


def result_path(save_path: Path, job_id: str, results_dir: Path | None = None) -> Path:
    """`<save_path>.json`, or `<id>.json` in `results_dir`; an id too long for a name is cut, and gets a hash."""
    if results_dir is None:
        return save_path.with_name(f"{save_path.name}.json")
    name = os.fsencode(job_id.replace("%", "%25").replace("/", "%2F"))
    if len(name) > MAX_NAME_BYTES:
        start = name[:ID_BYTES_KEPT].decode("utf-8", "ignore")
        return results_dir / f"{start}.{hashlib.sha256(name).hexdigest()[:16]}.json"
    return results_dir / f"{os.fsdecode(name)}.json"


def sheet_path(save_path: Path) -> Path:
    """Where the contact sheet of an output lies: `<save_path>.jpg`."""
    return save_path.with_name(f"{save_path.name}.jpg")


def working_paths(path: Path) -> tuple[Path, ...]:
    """The files that dh makes and removes beside an output, a result or a report while it writes it."""
    return part_path(path), scratch_path(path), lock_path(path)
