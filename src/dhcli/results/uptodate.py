"""Whether an earlier output is up to date, the reason if it is not, and what the next attempt needs of its result.

Only contents (hashes) and options decide, never times or paths. `result.py` reads and writes the files.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from dhcli.jobs.options import LIKE, JobOptions
from dhcli.results.parts import FileContent, LastSuccess, ModelInfo, PutInPlace, without_surrogates
from dhcli.results.result import RENDER_VERSION, JobResult, same_place
from dhcli.types import Numbers

NOT_RENDERED = frozenset({"label", "model"})
"""Options without an effect on pixels or sound. A model is compared by its hash instead of its name."""
SHORT_HASH = 12
"""Digits of a model's hash in messages."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """All that decides pixels and sound: contents and options. Paths and times do not."""

    audio_sha256: str
    video_sha256: str
    model: ModelInfo
    face_finder: ModelInfo
    options: Mapping[str, JsonValue]
    family_version: int
    """Version of the code of the model's family, which may come with another package."""
    photo_sha256: str | None = None
    """Hash of the photo that the option `face` names; it replaces the path in the fingerprint."""
    precision: Numbers | None = None
    """Of the main network, if the user asks for one. Without that, an output of any precision is up to date."""
    enhancer: ModelInfo | None = None
    """Of the option of that name, whose value it replaces in the fingerprint."""

    @property
    def fingerprint(self) -> str:
        """One hash over all of them and `RENDER_VERSION`."""
        # An option at its default says nothing: a later dh with one option more finds the output up to date.
        usual = usual_options()
        options = {
            name: value
            for name, value in self.options.items()
            if name not in NOT_RENDERED and (name not in usual or value != usual[name])
        }
        if self.photo_sha256 is not None:
            options["face"] = LIKE + self.photo_sha256
        if self.enhancer is not None:
            options["enhancer"] = self.enhancer.sha256
        content = {
            "audio": self.audio_sha256,
            "video": self.video_sha256,
            "model": self.model.sha256,
            "family_version": self.family_version,
            "face_finder": self.face_finder.sha256,
            "options": options,
            "render_version": RENDER_VERSION,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@functools.cache
def usual_options() -> Mapping[str, JsonValue]:
    """The defaults of all options, as a result has them."""
    return JobOptions().model_dump(mode="json")


def why_render(
    previous: JobResult, ingredients: Ingredients, save_path: Path, strict: Collection[str] = ()
) -> str | None:
    """The reason to render the job again; None if the earlier output is up to date and has no `strict` warning."""
    success = _standing(previous)
    if previous.output is None:  # a failed attempt that replaced no file leaves an earlier success up to date
        replaced = previous.status == "running" or previous.put_in_place is not None
        if replaced or success is None or success.fingerprint != ingredients.fingerprint:
            return _how_it_ended(previous)
    assert success is not None
    if success.fingerprint != ingredients.fingerprint:
        changes = "; ".join(_changes(previous, ingredients))
        return f"stale: {changes or 'what decides its content has changed'}"
    if ingredients.precision not in {None, before := success.precision} and before is not None:
        return f"stale: precision {before} -> {ingredients.precision}"
    output = success.output
    try:
        size = save_path.stat().st_size
    except OSError:
        return "stale: the output is gone"
    if size != output.bytes:
        return f"stale: the output has {size} bytes, and had {output.bytes}"
    told = [*previous.warnings, *success.warnings]
    code = next((warning.code for warning in told if warning.code in strict), None)
    return None if code is None else f"the last render had the warning {code}, which --strict names"


def _standing(previous: JobResult) -> LastSuccess | None:
    """The success whose output lies on the disk: the result's own, or the one before it."""
    if previous.output is None:
        return previous.last_success
    limit = previous.options.get("limit_frames")
    return LastSuccess(
        fingerprint=previous.fingerprint,
        limit_frames=limit if isinstance(limit, int) else None,
        precision=previous.environment.precision,
        output=previous.output,
        warnings=previous.warnings,
    )


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
        ("photo", inputs.photo, now.photo_sha256),
    ):
        if old is not None and new is not None and old.sha256 != new:
            yield f"the {name} has changed"
    both_photos = inputs.photo is not None and now.photo_sha256 is not None
    unnamed = NOT_RENDERED | {"face"} if both_photos else NOT_RENDERED
    for name in sorted((previous.options.keys() | now.options.keys()) - unnamed):
        usual = usual_options().get(name)  # an older result lacks options that came later
        old_value, new_value = previous.options.get(name, usual), now.options.get(name, usual)
        if old_value != new_value:
            yield f"{name} {json.dumps(old_value)} -> {json.dumps(new_value)}"
    bundles = (
        ("model", environment.model, now.model),
        ("face finder", environment.face_finder, now.face_finder),
        ("enhancer", environment.enhancer, now.enhancer),
    )
    for what, before, after in bundles:
        if before is not None and after is not None and before.sha256 != after.sha256:
            was, is_now = before.sha256[:SHORT_HASH], after.sha256[:SHORT_HASH]
            yield f"the {what} has changed ({before.name} {was} -> {is_now})"
    if environment.render_version != RENDER_VERSION:
        yield f"dh renders in another way (version {environment.render_version} -> {RENDER_VERSION})"


def killed_in_a_row(previous: JobResult | None, fingerprint: str) -> int:
    """How many attempts in a row, with the same inputs and options, ended because the process was killed.

    The caller must hold the lock of the output: only then does `running` mean that its writer is dead.
    """
    if previous is None or previous.fingerprint not in {None, fingerprint}:
        return 0
    return previous.killed_before + (previous.status == "running")


@dataclass(frozen=True, slots=True)
class Legacy:
    """What the result of an earlier attempt says about the file at the output's path."""

    last_success: LastSuccess | None = None
    put_in_place: PutInPlace | None = None
    """Set if an attempt died or failed close to the rename of its output."""
    written: tuple[FileContent, ...] = ()
    """Size and hash of every file that dh may have left at the path."""

    def may_own(self, size: int) -> bool:
        """Whether dh may have written a file of `size` bytes; only its hash proves it."""
        return any(file.bytes == size for file in self.written)

    def owns(self, size: int, sha256: str) -> bool:
        """Whether dh wrote the file of this size and hash. If so, it may be replaced."""
        return FileContent(bytes=size, sha256=sha256) in self.written


def legacy(previous: JobResult | None, save_path: Path, *, beside: bool) -> Legacy:
    """What the result `previous` says about the file at `save_path`.

    `beside`: the result lies beside the output. Then only the name of the file must be the recorded one, not its
    folder, since both files may have been moved together.
    """
    if previous is None:
        return Legacy()
    success, put = _standing(previous), previous.put_in_place
    written: tuple[FileContent, ...] = ()
    if success is not None and _same_place(success.output.path, save_path, beside):
        written += (FileContent(bytes=success.output.bytes, sha256=success.output.sha256),)
    if put is not None and _same_place(put.path, save_path, beside):
        written += put.contents
    return Legacy(success, put, written)


def _same_place(recorded: str, save_path: Path, beside: bool) -> bool:
    if beside:
        return bool(Path(recorded).name == without_surrogates(save_path.name))
    return same_place(recorded, save_path)


def made_by_another_ffmpeg(previous: JobResult, now: str | None) -> str | None:
    """The version of ffmpeg that made the earlier output; None if its major number is that of the version `now`."""
    before = previous.environment.ffmpeg
    return before if before is not None and now is not None and _major(before) != _major(now) else None


def _major(version: str) -> str:
    """`7` of `7.0.2-static` and of `n7.1`; a development build's whole name, such as `N-109468-gd39b34123d`."""
    found = re.match(r"n?(\d+)", version)
    return found[1] if found else version
