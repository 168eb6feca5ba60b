"""Taking a model of the user's away: its files, and nothing else that lies in its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dhcli.errors import DhError
from dhcli.networks.bundle import shipped, user_places
from dhcli.networks.descriptor import DESCRIPTOR, NAME, read_descriptor

MADE_BY_ADD = (".onnx", ".npz")
"""Endings of the files that go with a model whose descriptor cannot be read."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was done."""

    folder: Path
    files: tuple[str, ...]
    left: tuple[str, ...]
    """Names in the folder that are no files of the model: they stay, and the folder with them."""


def remove_model(name: str, models_dirs: Sequence[Path] = ()) -> Removed:
    """Remove the first of the user's models of this name.

    The descriptor goes last: after a kill the rest is still there under its name, to be removed again. A link to a
    folder goes, and the folder stays. Raises DhError model.missing, model.incompatible.
    """
    places = [place.absolute() for place in user_places(models_dirs)]
    ours = {place.resolve() for place in shipped("models", "models")}
    named = re.fullmatch(NAME, name)  # "../x" names no model
    folder = next((place / name for place in places if named and _is_model(place / name)), None)
    if folder is None or folder.parent.resolve() in ours:
        where = next((place / name for place in ours if named and _is_model(place / name)), None)
        if where is not None:
            raise DhError("model.incompatible", f"{where}: the model '{name}' comes with dh and stays.")
        searched = ", ".join(map(str, places)) or "no folder, as there is no home"
        raise DhError("model.missing", f"There is no model '{name}' in {searched}.", hint="`dh models list` shows all.")
    try:
        if folder.is_symlink():
            folder.unlink()
            return Removed(folder, (), ())
        names = files_of(folder)
        for one in (*names, DESCRIPTOR):
            (folder / one).unlink(missing_ok=True)
        left = others_in(folder, ())
        if not left:
            folder.rmdir()
    except OSError as error:
        raise DhError("model.missing", f"{folder}: it cannot be removed: {error.strerror}.") from error
    return Removed(folder, (*names, DESCRIPTOR), left)


def _is_model(folder: Path) -> bool:
    """Whether a model is there, or a link that may lead to none."""
    return folder.is_symlink() or os.path.lexists(folder / DESCRIPTOR)


def files_of(folder: Path) -> tuple[str, ...]:
    """Names of the model's files in its folder, the descriptor aside."""
    try:
        named = [file.path for file in read_descriptor(folder / DESCRIPTOR).files.values()]
    except DhError:
        named = [one.name for one in folder.iterdir() if one.suffix in MADE_BY_ADD]
    return tuple(sorted({name for name in named if os.path.lexists(folder / name)}))


def others_in(folder: Path, files: Sequence[str]) -> tuple[str, ...]:
    """Names in a model's folder that are neither among `files` nor its descriptor."""
    return tuple(sorted({one.name for one in folder.iterdir()} - {*files, DESCRIPTOR}))
