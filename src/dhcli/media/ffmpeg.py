"""Finding ffmpeg, opening inputs for it, starting it, and saying why it failed. Knows nothing about frames or samples.

Inputs are opened once and reach ffmpeg as file descriptors: the file that was checked and hashed is the file that is
rendered, and no name (`-y.mp4`, `a:b`, `img%03d.png`) is ever parsed as an option, a protocol or a pattern.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import imageio_ffmpeg

from dhcli.disk.boundary import open_file_strays
from dhcli.disk.descriptor import descriptor_path
from dhcli.disk.hashes import is_settled
from dhcli.disk.regular import FileStamp
from dhcli.disk.writes import Writes
from dhcli.errors import NONE_LEFT, DhError
from dhcli.jobs.options import Trim
from dhcli.media.input_limits import CPU_BASE_S, MAX_ALLOC_BYTES, confine, fence_argv
from dhcli.media.shortage import or_shortage
from dhcli.runtime.child import GUARD, STDERR_LINES, Child, exit_text
from dhcli.runtime.scope import Scope
from dhcli.runtime.threads import start_thread

SET_VARIABLE = "Correct the variable DH_FFMPEG, or unset it to use the bundled ffmpeg."
SOUND_FILTER = "aresample=async=1:first_pts=0"
"""Silence where the time stamps have a gap: a sound that starts late stays late, as its copy in the output does."""
HASH_BLOCK_BYTES = 1 << 20
CHEAP_BYTES = 4 << 20
"""A file of this size is hashed in 3 to 12 ms; it is hashed again instead of trusting its times."""
VERSION_TIMEOUT_S = 30

_introductions: dict[str, tuple[str, str]] = {}
"""Version and introduction of every program that was asked."""


@functools.cache
def _bundled() -> str:
    """The ffmpeg of imageio-ffmpeg, by its place: the library would run each one that it finds, in our environment.

    Where a distribution has left it out, one of this Python's or of the system's.
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
    found = shutil.which(wanted)
    if found:
        return found
    if not Path(wanted).exists():
        raise DhError("env.ffmpeg_missing", f"There is no ffmpeg at {wanted}.", hint=SET_VARIABLE)
    if os.sep not in wanted:
        hint = f"For the file in the current folder, write ./{wanted}."
        raise DhError("env.ffmpeg_missing", f"There is no {wanted} in the folders of PATH.", hint=hint)
    raise DhError("env.ffmpeg_unusable", f"{wanted} is not a program that can be run.", hint=f"Try: chmod +x {wanted}")


def _ask(program: str, option: str) -> str:
    """What `program` prints. As a child with a guard: where dh is killed meanwhile, it does not outlive it."""
    try:
        child = Child("ffmpeg", [program, "-hide_banner", option], on_flood=lambda _: None)
    except OSError as error:
        raise _not_started(program, error) from error
    late = threading.Timer(VERSION_TIMEOUT_S, child.kill)
    late.daemon = True
    try:
        start_thread(late)
        answer = child.stdout.read()
        code = child.wait()
    finally:
        late.cancel()
        child.close()
    if code:
        hint = "Run it by hand; a program of another machine, or a missing library, is the usual cause."
        if code < 0:
            hint = f"Run it by hand with {option}; it has {VERSION_TIMEOUT_S} s to answer."
        raise DhError(
            "env.ffmpeg_unusable",
            f"{program} {option} ended with {exit_text(code)}.",
            hint=hint,
            stderr_tail=child.tail(),
        )
    return answer.decode("utf-8", "backslashreplace")


def _not_started(program: str, error: OSError) -> DhError:
    """Why the system did not start `program`, or the guard before it."""
    if error.errno in NONE_LEFT:
        return DhError(
            "env.limits",
            f"ffmpeg could not be started: {error.strerror}.",
            hint="Raise the limits of open files, processes or memory (ulimit -n, -u, -v; pids.max of a container).",
        )
    if isinstance(error, FileNotFoundError) and error.filename == GUARD[0]:
        found = f"ffmpeg cannot be started: there is no {GUARD[0]}, which ends it where dh is killed."
        return DhError("env.ffmpeg_unusable", found, hint="Install a shell; dash or busybox will do.")
    if isinstance(error, FileNotFoundError):
        return DhError("env.ffmpeg_missing", f"There is no ffmpeg at {program}.", hint=SET_VARIABLE)
    return DhError("env.ffmpeg_unusable", f"{program} does not start: {error.strerror}.", hint=SET_VARIABLE)


def _introduction(program: str) -> tuple[str, str]:
    """The version of `program`, and all that it says of its build and its libraries; it is asked once."""
    if program not in _introductions:
        text = _ask(program, "-version")
        found = re.match(r"ffmpeg version (\S+)", text)
        if not found:
            raise DhError("env.ffmpeg_unusable", f"{program} does not introduce itself as ffmpeg.", hint=SET_VARIABLE)
        _introductions[program] = found[1], text
    return _introductions[program]


def ffmpeg_version(program: str) -> str:
    """The version of `program`, such as "7.1". Raises env.ffmpeg_missing and env.ffmpeg_unusable."""
    return _introduction(program)[0]


def asked_version() -> str | None:
    """The version of ffmpeg, where it was asked for it before; nothing is started, so that this never waits."""
    try:
        known = _introductions.get(find_ffmpeg())
    except DhError:
        return None
    return known[0] if known is not None else None


def ffmpeg_build(program: str) -> str:
    """A hash of version, build options and libraries: two programs with the same one decode alike. Raises as above."""
    return hashlib.sha256(_introduction(program)[1].encode()).hexdigest()


@functools.cache
def ffmpeg_encoders(program: str) -> frozenset[str]:
    """The encoders that `program` was built with; a hardware encoder among them may still find no hardware."""
    return frozenset(re.findall(r"^ [VAS][F.][S.][X.][B.][D.] (\w+)", _ask(program, "-encoders"), re.MULTILINE))


class InputFile:
    """A regular file, opened for reading once; the descriptor stays the same file whatever happens to its name."""

    def __init__(self, path: str | Path, role: str, *, root: Path | None = None, folder: int | None = None) -> None:
        """`role` ("video", "audio") begins every message about the file, which may not lie outside of `root`.

        `folder`, an open one, is where its name is looked up; else its path leads there.

        Raises input.missing, input.not_regular, input.unreadable, input.empty.
        """
        self.path = Path(path)
        self.role = role
        self.root = root
        self.trusted_times = True
        """False: the file's times prove nothing, its content is compared at every check."""
        self._sha256: str | None = None
        self._forget: Callable[[], None] = lambda: None
        self._written: Callable[[], bool] = lambda: False
        try:
            # A FIFO without O_NONBLOCK waits for its writer for ever.
            at = self.path if folder is None else self.path.name
            self.fd = os.open(at, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise self._cannot_open(error) from error
        found = os.fstat(self.fd)
        self.stamp = FileStamp.of(self.fd)
        self.bytes = self.stamp.size
        self._settled = is_settled(self.stamp.ctime_ns)
        if not stat.S_ISREG(found.st_mode) or not self.bytes:
            self.close()
            raise self._no_file(found.st_mode)
        if root is not None and (real := open_file_strays(self.fd, self.path, root)):
            self.close()
            raise self.error(
                "input.unreadable", f"leads to {real}, outside of {root}", hint="Put the file below that folder."
            )

    def _cannot_open(self, error: OSError) -> DhError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return self.error(
                "input.missing",
                "there is no such file",
                hint="Correct the path; in a manifest file it is relative to that file, else to the current folder.",
            )
        if error.errno in (errno.ENXIO, errno.ENODEV):
            return self.error("input.not_regular", "is a socket or device", hint="Give a file.")
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return DhError(
                "env.limits", f"Too many open files at {self.label}.", hint="Raise the limit: ulimit -n 4096"
            )
        return self.error(
            "input.unreadable", f"cannot be opened: {error.strerror}", hint=f"User id {os.getuid()} needs to read it."
        )

    def _no_file(self, mode: int) -> DhError:
        if stat.S_ISREG(mode):
            return self.error("input.empty", "has no bytes", hint="Its copy or download was probably not finished.")
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
        return self.error("input.not_regular", f"is {kind}", hint="Give a file.")

    @property
    def label(self) -> str:
        return f"{self.role} {self.path}"

    @property
    def url(self) -> str:
        """The file as ffmpeg is to open it; needs `pass_fds`."""
        return fd_url(self.fd, self.path)

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return (self.fd,)

    def error(self, code: str, finding: str, *, hint: str, stderr_tail: Iterable[str] = ()) -> DhError:
        """The error that says `finding` about this file."""
        return DhError(code, f"{self.label}: {finding}.", hint=hint, stderr_tail=stderr_tail)

    def sha256(self, on_block: Callable[[], None] = lambda: None) -> str:
        """Hash of the whole content, hexadecimal; read once. `on_block` is called after every MiB.

        Raises input.unreadable, and whatever `on_block` raises.
        """
        if self._sha256 is None:
            self._sha256 = self._hash(on_block)
        return self._sha256

    def known_as(self, sha256: str, forget: Callable[[], None]) -> None:
        """The hash of the content is known already; `forget` is called where it turns out to be another one."""
        self._sha256, self._forget = sha256, forget

    def watch(self, writes: Writes) -> None:
        """Notice writes from now on, also where content and times are set back before the next check."""
        watched = writes.watch(self.fd)
        self._written = lambda: writes.wrote(watched)

    def _hash(self, on_block: Callable[[], None]) -> str:
        digest = hashlib.sha256()
        at = 0
        try:
            while block := os.pread(self.fd, HASH_BLOCK_BYTES, at):
                digest.update(block)
                at += len(block)
                on_block()
        except OSError as error:
            raise self.error("input.unreadable", f"reading failed: {error.strerror}", hint="Check the disk.") from error
        return digest.hexdigest()

    def head(self, count: int) -> bytes:
        """The first bytes."""
        return os.pread(self.fd, count, 0)

    def check_unchanged(self, on_block: Callable[[], None] = lambda: None, *, cheap_bytes: int = CHEAP_BYTES) -> None:
        """Raise input.changed where the content is not the one that was opened and hashed.

        Where its times differ, the content is hashed again and decides: `touch`, `chmod` and a new hard link change
        times alone. Where they are the same, it is hashed again if a later write may have left them so: if they are
        too young, or not trusted. A file of up to `cheap_bytes` always is: writes through mmap do not set times.
        """
        now = FileStamp.of(self.fd)
        if now.size != self.bytes:
            raise self._changed(f"{self.bytes} bytes then, {now.size} now")
        if self._written():
            raise self._changed("somebody wrote to it")
        if self._sha256 is None:  # nothing is kept that was found out about it
            if not now.same_content(self.stamp):
                raise self._changed("its times are others now")
            return
        if now == self.stamp and self._settled and self.trusted_times and self.bytes > cheap_bytes:
            return
        settled = is_settled(now.ctime_ns)
        if self._hash(on_block) != self._sha256:
            self._forget()
            raise self._changed("its content is another one now")
        self.stamp, self._settled = now, settled

    def _changed(self, how: str) -> DhError:
        hint = "Render again when it is complete."
        return self.error("input.changed", f"changed while it was read ({how})", hint=hint)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fd_url(fd: int, path: Path) -> str:
    """An open file as ffmpeg's `file` protocol takes it; by absolute path on systems that are not Linux.

    Raises DhError env.no_proc.
    """
    return f"file:{descriptor_path(fd) if sys.platform == 'linux' else path.absolute()}"


def base_argv(level: str = "warning") -> list[str]:
    """Program and options that every run has in common."""
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", f"level+{level}"]
    return [find_ffmpeg(), *quiet, "-max_alloc", str(MAX_ALLOC_BYTES)]


def input_argv(file: InputFile, *before: str) -> list[str]:
    """One input, fenced in. `before` are further options for it."""
    return [*fence_argv(), *before, "-i", file.url]


def sound_filter(trim: Trim | None) -> str:
    """The filters that every use of a sound begins with: its gaps filled, the part that `trim` means cut out."""
    if trim is None:
        return SOUND_FILTER
    end = "" if trim.end is None else f":end={float(trim.end):.6f}"
    return f"{SOUND_FILTER},atrim=start={float(trim.start):.6f}{end},asetpts=PTS-STARTPTS"


def start(
    scope: Scope,
    name: str,
    argv: Sequence[str],
    *,
    feed: bool = False,
    pass_fds: Sequence[int] = (),
    keep_lines: int = STDERR_LINES,
    cpu_s: int | None = None,
    file_bytes: int | None = None,
) -> Child:
    """Start ffmpeg as a child of the job, with `cpu_s` s of processor time and files of `file_bytes` at most.

    Raises env.ffmpeg_missing, env.ffmpeg_unusable, env.limits, Stopped.
    """
    try:
        child = scope.spawn(name, argv, feed=feed, pass_fds=pass_fds, keep_lines=keep_lines)
    except OSError as error:
        raise _not_started(argv[0], error) from error
    confine(child.pid, cpu_s, file_bytes)
    return child


@contextlib.contextmanager
def running(
    scope: Scope,
    name: str,
    argv: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
    keep_lines: int = STDERR_LINES,
    cpu_s: int = CPU_BASE_S,
) -> Iterator[Child]:
    """A child whose output is read, dead and reaped at the end of the block.

    Raises env.* as `start` does, Stopped; and env.limits in place of what the block raises, where that is the reason.
    """
    child = start(scope, name, argv, pass_fds=pass_fds, keep_lines=keep_lines, cpu_s=cpu_s)
    try:
        yield child
    except DhError as error:
        reason = or_shortage(error, child)
        if reason is error:
            raise
        raise reason from error
    finally:
        scope.release(child)


def beating(scope: Scope, stage: str, lines: Iterable[str]) -> Iterator[str]:
    """The same lines; each is a sign of life of `stage`."""
    for line in lines:
        scope.beat(stage)
        yield line


def lines_of(child: Child) -> Iterator[str]:
    """What the child writes to stdout, line by line, as it comes."""
    with open(child.stdout.fileno(), encoding="ascii", errors="replace", closefd=False) as lines:
        yield from lines
