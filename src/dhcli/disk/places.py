"""Which paths are the same file, or will be, however they are spelled. Reads the disk and writes nothing."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from dhcli.disk.case_folding import folds_case

T = TypeVar("T")


class Spot(NamedTuple):
    """A name below an existing folder; with the name "", the file of this device and inode."""

    device: int
    inode: int
    name: str
    """Like `/a.mp4`, or `/new/a.mp4` where the folder `new` does not exist yet."""
    folder: str = ""
    """A path of the folder."""

    @property
    def key(self) -> tuple[int, int, str]:
        """Equal for all names that some file system treats as one file."""
        return self.device, self.inode, _folded(self.name)


Spots = tuple[Spot, ...]
"""All that identifies one path: its name, the file that is there, and where a link leads."""


class Places(Generic[T]):
    """A mapping from files to values; a file that does not exist yet is identified by its future place.

    A path costs one `lstat`, and its folder one `stat`. Whether a folder ignores case is checked only where two names
    differ just in case.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[int, int, str], list[tuple[Spot, T]]] = {}
        self._folders: dict[str, tuple[int, int, str, str]] = {}
        self._folding: dict[tuple[int, int], bool] = {}

    def name(self, path: Path) -> Spot:
        """The name of `path`, whatever is there."""
        return self._name(str(path.absolute()))

    def spots(self, path: Path) -> Spots:
        """All spots of `path`: two paths with a common one are the same file."""
        text = str(path.absolute())
        name = self._name(text)
        try:
            status = os.lstat(text)
        except OSError:
            return (name,)
        if not stat.S_ISLNK(status.st_mode):
            return name, Spot(status.st_dev, status.st_ino, "")
        target = self._name(os.path.realpath(text))
        try:
            status = path.stat()
        except OSError:  # the target does not exist yet
            return name, target
        return name, target, Spot(status.st_dev, status.st_ino, "")

    def add(self, spots: Spots, value: T) -> None:
        """Add a value to a file."""
        for spot in spots:
            self._values.setdefault(spot.key, []).append((spot, value))

    def at(self, spots: Spots) -> Iterator[T]:
        """The values of a file; a value comes once for each spot that matches."""
        for spot in spots:
            for known, value in self._values.get(spot.key, ()):
                if known.name == spot.name or self._folds(spot):
                    yield value

    def _folds(self, spot: Spot) -> bool:
        key = spot.device, spot.inode
        if key not in self._folding:
            self._folding[key] = folds_case(Path(spot.folder))
        return self._folding[key]

    def _name(self, text: str) -> Spot:
        parent, _, name = text.rpartition("/")
        anchor = self._folders.get(parent)
        if anchor is None:
            anchor = self._folders[parent] = _anchor(parent)
        device, inode, folder, below = anchor
        return Spot(device, inode, f"{below}/{name}", folder)


def _anchor(folder: str) -> tuple[int, int, str, str]:
    """Device, inode and path of the deepest folder that exists, and what is missing below it."""
    at = folder
    while True:
        try:
            status = Path(at or "/").stat()
        except OSError:
            if not at:
                return 0, 0, "/", folder
            at = at.rpartition("/")[0]
            continue
        return status.st_dev, status.st_ino, at or "/", folder[len(at) :]


def _folded(name: str) -> str:
    """A name without case, and with `é` written as `e` with an accent, as file systems do that ignore case."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
