"""Paths of open files: /proc/self/fd/N leads to the open file, whatever has happened to its name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dhcli.errors import DhError


def descriptor_path(fd: int) -> Path:
    """The path of an open file, for this process and for a child that inherits `fd`. Raises DhError env.no_proc.

    Linux only.
    """
    path = Path(f"/proc/self/fd/{fd}")
    try:
        if os.path.samestat(path.stat(), os.fstat(fd)):
            return path
    except OSError:  # /proc is not mounted, shows another process, or is forbidden
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
