"""Whether a path or an open file really lies below a folder, such as the one that a service's jobs may not leave."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dhcli.disk.descriptor import descriptor_path


def strays(path: Path, root: Path) -> Path | None:
    """Where `path` leads when all symbolic links are followed; None where that is below `root`."""
    return _outside(Path(os.path.realpath(path)), root)


def open_file_strays(fd: int, path: Path, root: Path) -> Path | None:
    """The same for an open file: its path alone could have led elsewhere before the file was opened.

    Raises DhError env.no_proc.
    """
    if sys.platform != "linux":
        return strays(path, root)
    # A deleted file still has its last path here, with " (deleted)" behind it.
    return _outside(descriptor_path(fd).readlink(), root)


def _outside(real: Path, root: Path) -> Path | None:
    return None if real.is_relative_to(os.path.realpath(root)) else real
