"""The ffmpeg program: where it is, its version, and which encoders it has."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import sys
import threading
from pathlib import Path

import imageio_ffmpeg

from dhcli.errors import NONE_LEFT, DhError
from dhcli.runtime.child import GUARD, Child, Command, exit_text
from dhcli.runtime.threads import start_thread

SET_VARIABLE = "Correct the variable DH_FFMPEG, or unset it to use the bundled ffmpeg."
VERSION_TIMEOUT_S = 30

_versions: dict[str, tuple[str, str]] = {}
"""By program: its version, and all that `-version` prints."""


@functools.cache
def _bundled() -> str:
    """The ffmpeg of imageio-ffmpeg; where a distribution left it out, one of this Python's folder or of PATH.

    Its path is looked up here: the library itself would run every ffmpeg that it finds, in our environment. Raises
    DhError env.ffmpeg_missing.
    """
    if named := os.environ.get("IMAGEIO_FFMPEG_EXE"):
        return named
    inside = (Path(imageio_ffmpeg.__file__).parent / "binaries").glob("ffmpeg-*")
    for program in (*map(str, inside), str(Path(sys.prefix) / "bin" / "ffmpeg"), "ffmpeg"):
        if shutil.which(program):
            return program
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise DhError(
            "env.ffmpeg_missing",
            f"No ffmpeg: {error}",
            hint="Reinstall imageio-ffmpeg, or let the variable DH_FFMPEG name an ffmpeg program.",
        ) from error


def find_ffmpeg() -> str:
    """The ffmpeg program to run: what the variable DH_FFMPEG names, else the one bundled with imageio-ffmpeg.

    Raises env.ffmpeg_missing and env.ffmpeg_unusable.
    """
    wanted = os.environ.get("DH_FFMPEG") or _bundled()
    if program := shutil.which(wanted):
        return program
    if not Path(wanted).exists():
        raise DhError("env.ffmpeg_missing", f"There is no ffmpeg at {wanted}.", hint=SET_VARIABLE)
    if os.sep not in wanted:
        hint = f"For the file in the current folder, write ./{wanted}."
        raise DhError("env.ffmpeg_missing", f"There is no {wanted} in the folders of PATH.", hint=hint)
    raise DhError("env.ffmpeg_unusable", f"{wanted} is not a program that can be run.", hint=f"Try: chmod +x {wanted}")


def _run(program: str, *options: str) -> tuple[bytes, int, tuple[str, ...]]:
    """Stdout, exit code and last lines of stderr of `program`. Raises DhError env.*.

    It runs as a child with a guard, so that it ends with dh when dh is killed meanwhile.
    """
    try:
        child = Child("ffmpeg", Command((program, "-hide_banner", *options)), on_flood=lambda _: None)
    except OSError as error:
        raise not_started(program, error) from error
    late = threading.Timer(VERSION_TIMEOUT_S, child.kill)
    late.daemon = True
    try:
        start_thread(late)
        answer = child.stdout.read()
        code = child.wait()
    finally:
        late.cancel()
        child.close()
    return answer, -1 if code is None else code, tuple(child.tail())


def complaint(program: str, *options: str) -> str:
    """What `program` says where it does not do something; "" where it does. Raises DhError env.*."""
    _, code, said = _run(program, "-v", "error", "-nostdin", *options)
    return "" if code == 0 else next(iter(said), exit_text(code))


def _ask(program: str, option: str) -> str:
    """What `program` prints on stdout, given one option. Raises DhError env.*."""
    answer, code, said = _run(program, option)
    if code:
        hint = "Run it by hand; a program of another machine, or a missing library, is the usual cause."
        if code < 0:
            hint = f"Run it by hand with {option}; it has {VERSION_TIMEOUT_S} s to answer."
        raise DhError(
            "env.ffmpeg_unusable",
            f"{program} {option} ended with {exit_text(code)}.",
            hint=hint,
            stderr_tail=said,
        )
    return answer.decode("utf-8", "backslashreplace")


def not_started(program: str, error: OSError) -> DhError:
    """The error for a `program`, or its guard, that the system did not start."""
    if error.errno in NONE_LEFT:
        return DhError(
            "env.limits",
            f"ffmpeg could not be started: {error.strerror}.",
            hint="Raise the limits of open files, processes or memory (ulimit -n, -u, -v; pids.max of a container).",
        )
    if isinstance(error, FileNotFoundError) and error.filename == GUARD[0]:
        return DhError(
            "env.ffmpeg_unusable",
            f"ffmpeg cannot be started: there is no {GUARD[0]}, which ends it where dh is killed.",
            hint="Install a shell; dash or busybox will do.",
        )
    if isinstance(error, FileNotFoundError):
        return DhError("env.ffmpeg_missing", f"There is no ffmpeg at {program}.", hint=SET_VARIABLE)
    return DhError("env.ffmpeg_unusable", f"{program} does not start: {error.strerror}.", hint=SET_VARIABLE)


def _version(program: str) -> tuple[str, str]:
    """The version of `program`, and all that `-version` prints; `program` runs once in the life of the process."""
    if program not in _versions:
        text = _ask(program, "-version")
        first_line = re.match(r"ffmpeg version (\S+)", text)
        if not first_line:
            raise DhError("env.ffmpeg_unusable", f"{program} does not introduce itself as ffmpeg.", hint=SET_VARIABLE)
        _versions[program] = first_line[1], text
    return _versions[program]


def ffmpeg_version(program: str) -> str:
    """The version of `program`, such as "7.1". Raises env.ffmpeg_missing and env.ffmpeg_unusable."""
    return _version(program)[0]


def asked_version() -> str | None:
    """The version of ffmpeg if it is known already, else None. Starts no process, so that it never waits."""
    try:
        version = _versions.get(find_ffmpeg())
    except DhError:
        return None
    return version[0] if version is not None else None


def ffmpeg_build(program: str) -> str:
    """A hash of version, build options and libraries: two programs with the same one decode alike. Raises as above."""
    return hashlib.sha256(_version(program)[1].encode()).hexdigest()


@functools.cache
def ffmpeg_encoders(program: str) -> frozenset[str]:
    """The encoders that `program` was built with; a hardware encoder among them may still find no hardware."""
    return frozenset(re.findall(r"^ [VAS][F.][S.][X.][B.][D.] (\w+)", _ask(program, "-encoders"), re.MULTILINE))
