"""Jobs as a plain manifest: no defaults, presets, variables or matrix, and every path absolute."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dhcli.errors import DhError
from dhcli.jobs.keys import VERSION, is_id
from dhcli.jobs.options import Job, JobOptions
from dhcli.jobs.strict_yaml import NULLS, UNPRINTABLE

PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n"})
"""Other readers of YAML take them for truth values."""


def plain_jobs(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The keys of each job: id, paths, and the options that are not the default.

    An id that a job got from its output stands there only where `id` may be so; without it the job gets it again.
    Raises DhError input.unreadable for a path that no manifest can hold, as its name is no UTF-8.
    """
    defaults = JobOptions().model_dump(mode="json")
    listed: list[dict[str, Any]] = []
    for job in jobs:
        options = job.options.model_dump(mode="json")
        keys: dict[str, Any] = {"id": job.id} if is_id(job.id) else {}
        keys |= {"audio": _text(job.audio), "video": _text(job.video), "save_path": _text(job.save_path)}
        listed.append(keys | {key: value for key, value in options.items() if value != defaults[key]})
    return listed


def expanded(jobs: Sequence[Job], *, as_json: bool = False) -> list[str]:
    """The lines of a manifest with these jobs, in YAML or JSON. Raises as `plain_jobs`."""
    listed = plain_jobs(jobs)
    if as_json:
        return json.dumps({"version": int(VERSION), "jobs": listed}, indent=2).splitlines()
    lines = [f"version: {VERSION}", "jobs:" if jobs else "jobs: []"]
    for keys in listed:
        lines += [f"{'    ' if key != next(iter(keys)) else '  - '}{key}: {_written(keys[key])}" for key in keys]
    return lines


def _text(path: Path) -> str:
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DhError(
            "input.unreadable",
            f"{path}: its name is not UTF-8, so no manifest can hold it.",
            hint="Rename the file, or give it on the command line.",
        ) from error
    return text


def _written(value: Any) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS and value not in NULLS:
        return value
    text = json.dumps(value, ensure_ascii=False)
    # JSON leaves some characters as they are that a manifest has only as escapes.
    return UNPRINTABLE.sub(lambda found: f"\\U{ord(found[0]):08x}", re.sub("[\x85\u2028\u2029\ufeff]", _escaped, text))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
