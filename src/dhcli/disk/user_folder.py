"""The folders that the system gives a user for data and caches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

NAME = "dh"


def user_folder(find: Callable[[str], Path]) -> Path | None:
    """What `platformdirs` finds for dh; None without a home, as in a container whose user has no entry in passwd."""
    try:
        folder = find(NAME)
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # older versions say `~/.cache/dh` then
