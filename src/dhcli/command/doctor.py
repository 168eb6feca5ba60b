"""The checks of `dh doctor`: each tries one thing that a render needs of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dhcli.disk.descriptor import check_descriptors
from dhcli.disk.folder import CacheFolder
from dhcli.disk.hashes import cache_folder
from dhcli.errors import DhError, describe
from dhcli.families.registry import family_of
from dhcli.jobs.options import DEFAULT_MODEL
from dhcli.media.encoders import GPU, why_not
from dhcli.media.ffmpeg_program import ffmpeg_encoders, ffmpeg_version, find_ffmpeg
from dhcli.networks.bundle import available_models, load_bundle, search_path
from dhcli.networks.network import parse_device, runtime_version
from dhcli.render.face_finder import NAME as FACE_FINDER
from dhcli.render.face_finder import finder_bundle
from dhcli.render.models import Models
from dhcli.runtime.disk_calls import DiskCalls, OnStep
from dhcli.runtime.monitor import open_files_allowed
from dhcli.runtime.threads import check_threads

ENCODERS = ("libx264", "libx265", "aac")


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    what: str
    found: str
    error: DhError | None = None


def examine(device: str, models_dirs: tuple[Path, ...]) -> Iterator[Finding]:
    """Run the checks in turn. One that fails does not stop the others."""
    on_disk, places = DiskCalls(), ", ".join(map(str, search_path(models_dirs)))

    def tried(what: str, look: Callable[[OnStep], str], place: str) -> Finding:
        return _try(what, lambda: on_disk.in_steps(place, look))

    yield tried("ffmpeg", lambda _: _ffmpeg(), "ffmpeg")
    yield tried("encoders", lambda _: _encoders(), "ffmpeg")
    names: list[str] = []

    def list_models(_: OnStep) -> str:
        names.extend(available_models(models_dirs))
        return ", ".join(names)

    listed = tried("models", list_models, places)
    if listed.error is not None:
        yield listed
    for name in names:
        yield tried(f"model {name}", lambda on_step, name=name: _model(name, models_dirs, on_step), places)  # type: ignore[misc]
    yield tried(f"device {device}", lambda _: _device(device, models_dirs), f"the models in {places}")
    yield tried("disk", lambda _: _disk(), "the current folder")
    yield tried("cache", lambda _: _cache(), f"the cache in {cache_folder()}")
    yield _try("open files", _open_files)
    yield _try("threads", _threads)
    yield _try("/proc", _proc)


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, look())
    except DhError as error:
        return Finding(what, error.code, error)
    except OSError as error:  # for example: the current folder is gone, or no process can be started
        refusal = DhError(
            "env.limits",
            f"The check of {what} could not be made: {describe(error)}.",
            hint="Start dh in a folder that is there, as a user who may read it and start processes.",
        )
        return Finding(what, refusal.code, refusal)


def _disk() -> str:
    """Free space in the current folder; where outputs go depends on the manifest."""
    folder = Path.cwd()
    return f"{shutil.disk_usage(folder).free >> 20} MiB free in {folder}, the current folder"


def _cache() -> str:
    """The cache folder. A bad one is no failure, since a render works without a cache."""
    folder = cache_folder()
    if folder is None:
        return "none: there is no home, and DH_CACHE_DIR names no folder"
    try:
        CacheFolder(folder).try_out()
    except OSError as error:
        return f"{folder} cannot be used ({describe(error)}): what is not in it yet is done anew in every run"
    return f"{folder}"


def _ffmpeg() -> str:
    program = find_ffmpeg()
    return f"{ffmpeg_version(program)} at {program}"


def _encoders() -> str:
    missing = [name for name in ENCODERS if name not in ffmpeg_encoders(find_ffmpeg())]
    if missing:
        raise DhError(
            "env.ffmpeg_unusable",
            f"{find_ffmpeg()} has no encoder {', '.join(missing)}.",
            hint="Unset DH_FFMPEG to use the ffmpeg that comes with dh, or install a full build.",
        )
    working = [name for name in GPU if not why_not(name)]
    return f"{', '.join(ENCODERS)}; on a GPU: {', '.join(working) or 'none works'}"


def _model(name: str, models_dirs: tuple[Path, ...], on_step: OnStep) -> str:
    if name == FACE_FINDER:
        bundle = finder_bundle(models_dirs)
    else:
        bundle = load_bundle(name, models_dirs)
        family_of(bundle)
    bundle.check_all(on_step)
    return f"version {bundle.version}, {len(bundle.files)} files as they should be, in {bundle.folder}"


def _device(device: str, models_dirs: tuple[Path, ...]) -> str:
    model = Models(models_dirs, parse_device(device)).family(DEFAULT_MODEL).model
    warning = f" ({model.warning})" if model.warning else ""
    return f"{model.provider}, ONNX Runtime {runtime_version()}{warning}"


def _open_files() -> str:
    return f"up to {open_files_allowed()}"


def _threads() -> str:
    return f"{check_threads()} more can be started"


def _proc() -> str:
    check_descriptors()
    return "leads to open files"
