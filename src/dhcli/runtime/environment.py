"""The environment of ffmpeg and of the shell that guards it: a list of variables, and no others.

Others could do harm: `FFREPORT=file=x` makes ffmpeg overwrite x, and `AV_LOG_FORCE_COLOR` puts colour codes into the
messages that dh reads. A shell imports functions and options (`SHELLOPTS=noexec`). Without LANG and LC_*, all messages
are in English, as dh expects them.
"""

from __future__ import annotations

import functools
import os

KNOWN = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR"),
        # Where libraries are found, and settings of the C library: dh itself was loaded with the same.
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
        *("GLIBC_TUNABLES", "MALLOC_ARENA_MAX"),
        # For a script in DH_FFMPEG that encodes on a GPU.
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
    }
)
PREFIX = "DH_"
"""Variables that begin so are passed on as well, for scripts in DH_FFMPEG."""


LIBRARIES = "LD_LIBRARY_PATH"


@functools.cache
def given_library_path() -> str | None:
    """LD_LIBRARY_PATH as it was at the first call, which comes before OpenCV is imported.

    OpenCV puts folders of its own in front, and an empty name behind them, which means the current folder: every child
    would load a `libc.so.6` that lies there beside strangers' media.
    """
    return os.environ.get(LIBRARIES)


def given_environment() -> dict[str, str]:
    """The environment in which the user started dh."""
    environment = dict(os.environ)
    environment.pop(LIBRARIES, None)
    path = given_library_path()
    return environment if path is None else environment | {LIBRARIES: path}


def child_environment() -> dict[str, str]:
    """The part of it that a child gets."""
    given = given_environment().items()
    return {name: value for name, value in given if name in KNOWN or name.startswith(PREFIX)}
