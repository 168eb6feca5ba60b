"""The folder that the paths of a service's jobs may not leave: where a path or an open file really lies.

It answers questions about places; what a stray path means is the caller's business.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dhcli.disk.descriptor import descriptor_path


def strays(path: Path, root: Path) -> Path | None:
    """Where `path` leads, all symbolic links followed, if that is not below `root`; None where it is."""
    return _outside(Path(os.path.realpath(path)), root)


def open_file_strays(fd: int, path: Path, root: Path) -> Path | None:
    """The same for a file that is open: between a look at its path and its opening, a link could have been swapped.

    Raises DhError env.no_proc.
    """
    if sys.platform != "linux":
        return strays(path, root)
    # A deleted file still has its last path here, with " (deleted)" behind it.
    return _outside(descriptor_path(fd).readlink(), root)


def _outside(real: Path, root: Path) -> Path | None:
    return None if real.is_relative_to(os.path.realpath(root)) else real
