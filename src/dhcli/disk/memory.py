"""Files in memory."""

from __future__ import annotations

import os
import sys
import tempfile


def memory_file() -> int:
    """A descriptor of an empty file in memory; where the system has none, of a nameless one in TMPDIR."""
    if sys.platform == "linux":
        return os.memfd_create("dh", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
