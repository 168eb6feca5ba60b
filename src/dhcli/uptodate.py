"""Whether an earlier result still holds; where it does not, why; and what else it tells the next attempt.

Decided by contents and options alone. How results get to the disk and how hashes are found is not known here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from dhcli.result import RENDER_VERSION, JobResult, ModelInfo

NOT_RENDERED = frozenset({"label", "model"})
"""Options without an effect on pixels or sound; a model counts by its hash, whatever it is called."""
SHORT_HASH = 12
"""Digits that tell two models apart in a message."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """All that decides pixels and sound: contents and options, never paths, times or places."""

    audio_sha256: str
    video_sha256: str
    model: ModelInfo
    options: Mapping[str, JsonValue]

    @property
    def fingerprint(self) -> str:
        """One hash for all of them, and for the version of dh's way to render."""
        content = {
            "audio": self.audio_sha256,
            "video": self.video_sha256,
            "model": self.model.sha256,
            "options": {name: value for name, value in self.options.items() if name not in NOT_RENDERED},
            "render_version": RENDER_VERSION,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def why_render(previous: JobResult, ingredients: Ingredients, save_path: Path) -> str | None:
    """Why the job has to be rendered again, or None where the earlier output is up to date."""
    if previous.output is None:
        return _how_it_ended(previous)
    if previous.fingerprint != ingredients.fingerprint:
        changes = "; ".join(_changes(previous, ingredients))
        return f"stale: {changes or 'what decides its content has changed'}"
    try:
        size = save_path.stat().st_size
    except OSError:
        return "stale: the output is gone"
    if size != previous.output.bytes:
        return f"stale: the output has {size} bytes, and had {previous.output.bytes}"
    return None


def _how_it_ended(previous: JobResult) -> str:
    if previous.status == "running":
        return "the last attempt was killed"
    return f"the last attempt {'failed' if previous.status == 'failed' else 'was cancelled'}" + (
        f" ({previous.error.code})" if previous.error is not None and previous.status == "failed" else ""
    )


def _changes(previous: JobResult, now: Ingredients) -> Iterator[str]:
    inputs, environment = previous.inputs, previous.environment
    for name, old, new in (
        ("audio", inputs.audio, now.audio_sha256),
        ("video", inputs.video, now.video_sha256),
    ):
        if old is not None and old.sha256 != new:
            yield f"the {name} has changed"
    for name in sorted((previous.options.keys() | now.options.keys()) - NOT_RENDERED):
        before, after = previous.options.get(name), now.options.get(name)
        if before != after:
            yield f"{name} {json.dumps(before)} -> {json.dumps(after)}"
    model = environment.model
    if model is not None and model.sha256 != now.model.sha256:
        yield f"the model has changed ({model.name} {model.sha256[:SHORT_HASH]} -> {now.model.sha256[:SHORT_HASH]})"
    if environment.render_version != RENDER_VERSION:
        yield f"dh renders in another way (version {environment.render_version} -> {RENDER_VERSION})"


def killed_in_a_row(previous: JobResult | None, fingerprint: str) -> int:
    """How often in a row the process died while it rendered just this; changed inputs or options begin anew.

    Only under the output's lock: there, whoever wrote `running` is dead.
    """
    if previous is None or previous.fingerprint not in {None, fingerprint}:
        return 0
    return previous.killed_before + (previous.status == "running")


def made_by_dh(previous: JobResult | None) -> bool:
    """An output that exists is dh's own and may be replaced."""
    if previous is None:
        return False
    return previous.output is not None or previous.owns_output or previous.status == "running"
