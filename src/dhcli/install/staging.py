"""A new model's folder, made beside its place and renamed into it when it is whole.

A folder that is not whole has a name of its own, in which no model is looked for. One that a killed process left is
removed by the next `dh models add`: its lock is free then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dhcli.disk.regular import open_regular
from dhcli.disk.rename import exchange, rename_new
from dhcli.errors import DhError
from dhcli.install.content import refuse_large, unopened
from dhcli.install.remove import files_of, others_in
from dhcli.networks.bundle import search_path, user_places
from dhcli.networks.descriptor import DESCRIPTOR

PREFIX = ".dh-adding-"
LOCK, UNLOCKED = "lock", "unlocked"
BLOCK_BYTES = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
OnBytes = Callable[[str, int, int | None], None]
"""Takes which file is read or fetched, how many bytes are done, and of how many; None: not known."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A file of the new model."""

    path: Path
    bytes: int
    sha256: str


def destination(models_dirs: Sequence[Path]) -> Path:
    """The folder that new models go into: the first of --models-dir and DH_MODELS_DIR, else the user's.

    Raises DhError model.missing without a home.
    """
    folder = next(iter(user_places(models_dirs)), None)
    if folder is None:
        raise DhError(
            "model.missing",
            "There is no folder for new models: no home, no DH_MODELS_DIR, no --models-dir.",
            hint="Name a folder: --models-dir DIR.",
        )
    return folder.absolute()


def refuse_taken(name: str, place: Path, models_dirs: Sequence[Path], *, replace: bool) -> None:
    """Raise DhError model.incompatible where a model has this name already, and may not be replaced."""
    for other in search_path(models_dirs):
        folder, here = other.absolute() / name, other.absolute() == place
        if not os.path.lexists(folder):
            continue
        if here and replace:
            _refuse_loss(folder)
            continue
        raise DhError(
            "model.incompatible",
            f"There is a model '{name}' already: {folder}.",
            hint="Choose another --name" + (", or replace it with --replace." if here else "."),
        )


def _refuse_loss(folder: Path) -> None:
    """Raise DhError model.incompatible where something is here that is no part of a model: it would go with it."""
    if folder.is_symlink():
        return  # it goes, and the folder stays
    try:
        others = others_in(folder, files_of(folder) if os.path.lexists(folder / DESCRIPTOR) else ())
    except OSError as error:
        raise unwritable(folder, error) from error
    if others:
        raise DhError(
            "model.incompatible",
            f"{folder}: it is not replaced, as it has what is no part of a model: {', '.join(others)}.",
            hint="Put that elsewhere, or choose another --name.",
        )


@contextlib.contextmanager
def staging(place: Path) -> Iterator[Path]:
    """A new empty folder in `place`, which is made where missing; it is gone after the block.

    Raises DhError model.missing where no folder can be made there.
    """
    try:
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        folder = place / f"{PREFIX}{secrets.token_hex(4)}"
        folder.mkdir()
    except OSError as error:
        raise unwritable(place, error) from error
    try:
        with (folder / UNLOCKED).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / UNLOCKED).rename(folder / LOCK)  # held before another `dh models add` can look for it
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what killed processes left; what has no lock yet is just being made."""
    for left in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (left / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)


def copied(source: Path, target: Path, on_bytes: OnBytes) -> Copied:
    """Copy a file and hash what is written. Raises DhError model.missing, .corrupt, .incompatible, env.disk_full."""
    try:
        descriptor = open_regular(source)
    except OSError as error:
        raise unopened(source, error) from error
    digest, done = hashlib.sha256(), 0
    try:
        with os.fdopen(descriptor, "rb") as read, target.open("xb") as write:
            size = os.fstat(read.fileno()).st_size
            refuse_large(str(source), size)
            while block := read.read(BLOCK_BYTES):
                done += len(block)
                refuse_large(str(source), done)
                digest.update(block)
                write.write(block)
                on_bytes(source.name, done, size)
            write.flush()
            os.fsync(write.fileno())
    except OSError as error:
        raise unwritable(target, error) from error
    return Copied(target, done, digest.hexdigest())


def write_text(path: Path, text: str) -> None:
    """Write a small file to the disk. Raises DhError as `copied` does."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def put_in_place(folder: Path, place: Path, *, replace: bool) -> Path:
    """Rename the finished model `folder`, which lies in a staging folder of `place`, to its name there.

    In one step, so that a model is there before, after, or at both times, and always whole. What was replaced goes with
    the staging folder. Raises DhError.
    """
    target = place / folder.name
    staged = f"{folder.parent.name}/{folder.name}"
    within = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if replace and os.path.lexists(target):
            if not exchange(staged, folder.name, within):
                target.rename(folder.parent / "replaced")
                folder.rename(target)
        else:
            rename_new(staged, folder.name, within)
        os.fsync(within)
    except FileExistsError as error:
        raise DhError(
            "model.incompatible",
            f"There is a model '{folder.name}' already: {target}.",
            hint="Choose another --name, or replace it with --replace.",
        ) from error
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        os.close(within)
    return target


def unwritable(path: Path, error: OSError) -> DhError:
    """What keeps a file from being written."""
    found = f"{path}: {error.strerror or error}."
    if error.errno in FULL:
        return DhError("env.disk_full", found, hint="Make room there, or name another folder with --models-dir.")
    return DhError("model.missing", found, hint="Name a folder that you may write to: --models-dir DIR.")
