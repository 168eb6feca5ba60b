"""Files in memory."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def memory_file() -> int:
    """A descriptor of an empty file in memory; where the system has none, of a nameless one in TMPDIR."""
    if sys.platform == "linux":
        return os.memfd_create("dh", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextlib.contextmanager
def in_memory(content: bytes = b"") -> Iterator[int]:
    """The descriptor of a file in memory with this content; it is closed with the block."""
    fd = memory_file()
    try:
        if content:
            os.pwrite(fd, content, 0)
        yield fd
    finally:
        os.close(fd)
