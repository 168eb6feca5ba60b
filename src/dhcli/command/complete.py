"""What a shell may complete: ids of a manifest's jobs, names of models, options of jobs.

Errors are not shown: where something is wrong, nothing is completed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

ANSWER_S = 2.0
"""Nobody waits longer for a Tab."""


def job_ids(ctx: Any, incomplete: str) -> list[str]:
    """Ids of the manifest that stands on the line."""
    from dhcli.errors import DhError
    from dhcli.manifest import load_manifest

    # The flag that waits for its value is an error, after which the parser gives no names to what is left.
    words = [ctx.params.get("manifest"), *ctx.args]
    manifest = next((word for word in words if isinstance(word, str) and os.path.isfile(word)), None)  # noqa: PTH113
    if manifest is None:
        return []
    try:
        jobs = load_manifest(Path(manifest), stall_timeout_s=ANSWER_S).jobs
    except DhError:
        return []
    return [job.id for job in jobs if job.id.startswith(incomplete)]


def models(ctx: Any, incomplete: str) -> list[str]:
    """Names of the models in the folders of --models-dir and the usual ones."""
    from dhcli.errors import DhError
    from dhcli.networks.bundle import available_models
    from dhcli.runtime.disk_calls import DiskCalls

    folders = [Path(folder) for folder in ctx.params.get("models_dir") or ()]
    try:
        names = DiskCalls(ANSWER_S)("the models", lambda: available_models(folders))
    except DhError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    """KEY=VALUE of an option of jobs where its values are words, else KEY=."""
    from dhcli.jobs.keys import OPTIONS

    found: list[str] = []
    for key, schema in OPTIONS.items():
        words = schema.get("enum") or (["true", "false"] if schema.get("type") == "boolean" else [""])
        found += [f"{key}={word}" for word in words]
    return [text for text in found if text.startswith(incomplete)]
