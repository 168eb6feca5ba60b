"""The environment of ffmpeg and of the shell that guards it: known variables, and no others.

ffmpeg obeys variables that nobody means when he starts dh: `FFREPORT=file=x` overwrites x, and `AV_LOG_FORCE_COLOR`
puts colours between the words that dh reads. A shell imports functions and options (`SHELLOPTS=noexec`). Without LANG
and LC_*, all messages are in English, which is what dh looks for.
"""

from __future__ import annotations

import functools
import os

KNOWN = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR"),
        # Where libraries come from, and which C library they stand on: dh itself was loaded the same way.
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
        *("GLIBC_TUNABLES", "MALLOC_ARENA_MAX"),
        # For a script in DH_FFMPEG that encodes on a GPU.
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
    }
)
PREFIX = "DH_"
"""All that begins so goes on as well: this is how a script in DH_FFMPEG gets what it needs."""


LIBRARIES = "LD_LIBRARY_PATH"


@functools.cache
def given_library_path() -> str | None:
    """LD_LIBRARY_PATH as it was at the first call, which comes before OpenCV is imported.

    OpenCV puts folders of its own in front, and an empty name behind them. That means the current folder: a `libc.so.6`
    beside strangers' media would run in every child.
    """
    return os.environ.get(LIBRARIES)


def given_environment() -> dict[str, str]:
    """The environment that the user gave us."""
    environment = dict(os.environ)
    environment.pop(LIBRARIES, None)
    path = given_library_path()
    return environment if path is None else environment | {LIBRARIES: path}


def child_environment() -> dict[str, str]:
    """What a child gets of it."""
    given = given_environment().items()
    return {name: value for name, value in given if name in KNOWN or name.startswith(PREFIX)}
