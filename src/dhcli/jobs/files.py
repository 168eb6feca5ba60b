"""Patterns of file names, as `takes/*.wav`: the files that one names, in a stable order, and whether it names a path.

`*`, `?` and `[a-z]` stand for parts of one name, `**` for folders in any number. Names that begin with a dot are only
found by patterns that say the dot, as in a shell.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable
from pathlib import Path

from dhcli.disk.boundary import strays
from dhcli.runtime.disk_calls import DiskCalls, OnStep

MAX_FILES = 100_000
"""Of one pattern. `/**` would go on for hours."""


def is_pattern(text: str) -> bool:
    """Whether the text may name several files."""
    return any(sign in text for sign in "*?[")


class Files:
    """Finds the files of patterns. Relative ones start at `folder`, absolute itself; none leads out of `root`."""

    def __init__(self, folder: Path, on_disk: DiskCalls, root: Path | None = None) -> None:
        self._folder, self._on_disk, self._root = folder, on_disk, root

    def path(self, text: str) -> Path:
        return Path(os.path.normpath(self._folder / text))

    def find(self, text: str) -> list[Path] | None:
        """The files that match, sorted by path; None: the text is a path, of a file that may exist or not.

        A text that is the very name of a file is its path, whatever it contains. Raises ValueError, with what is wrong,
        where no file matches, too many do, or the pattern leads out of `root`; and DhError stalled.
        """
        if not is_pattern(text) or "\0" in text:
            return None
        return self._on_disk.in_steps(f"the files of '{text}'", lambda on_step: self._look(text, on_step))

    def _look(self, text: str, on_step: OnStep) -> list[Path] | None:
        if os.path.lexists(self._folder / text):
            return None
        names = text.split("/")
        before = "/".join(names[: next(i for i, name in enumerate(names) if is_pattern(name))])
        start = self.path(before or ("/" if text.startswith("/") else "."))
        if self._root is not None and strays(start, self._root):
            raise ValueError(f"'{text}' is outside of {self._root}; put the files below that folder")
        found: set[Path] = set()
        for name in glob.iglob(text, root_dir=self._folder, recursive=True):  # noqa: PTH207 - Path.glob takes no `..`
            on_step(f"the files of '{text}': {name}")
            path = self.path(name)
            if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a folder may not be entered
                found.add(path)
            if len(found) > MAX_FILES:
                raise ValueError(f"more than {MAX_FILES} files match '{text}'")
        if not found:
            raise ValueError(f"no file matches '{text}'")
        return sorted(found)

    def matcher(self, text: str) -> Callable[[Path], bool]:
        """A function that says whether the pattern names a path. The disk is not read for it."""
        whole = self.path(text)
        if not is_pattern(text):
            return lambda path: path == whole
        patterns = whole.parts if text.startswith("/") else Path(os.path.normpath(text)).parts

        def matches(path: Path) -> bool:
            if path == whole:
                return True
            parts = path.parts if text.startswith("/") else Path(os.path.relpath(path, self._folder)).parts
            return _match(parts, patterns)

        return matches


def _match(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    """Whether the names match the patterns, one by one. All ways are followed at once: `**` costs no backtracking."""
    ways = {0}
    for pattern in patterns:
        if pattern == "**":
            ways = set(range(min(ways), len(parts) + 1)) if ways else ways
        else:
            ways = {way + 1 for way in ways if way < len(parts) and fnmatch.fnmatchcase(parts[way], pattern)}
    return len(parts) in ways
