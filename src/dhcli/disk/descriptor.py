"""Open files by a path of their own: /proc/self/fd/N is the file, whatever has happened to its name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dhcli.errors import DhError


def descriptor_path(fd: int) -> Path:
    """The path, for us and for a child that inherits `fd`. Linux only. Raises DhError env.no_proc."""
    path = Path(f"/proc/self/fd/{fd}")
    try:
        if os.path.samestat(path.stat(), os.fstat(fd)):
            return path
    except OSError:  # not mounted, that of other processes, or forbidden
        pass
    raise DhError(
        "env.no_proc",
        "/proc/self/fd does not lead to open files; ffmpeg gets its files by it.",
        hint="Mount it: mount -t proc proc /proc (in a chroot or a container, too).",
    )


def check_descriptors() -> None:
    """Raise DhError env.no_proc where `descriptor_path` would."""
    if sys.platform != "linux":
        return
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor_path(root)
    finally:
        os.close(root)
