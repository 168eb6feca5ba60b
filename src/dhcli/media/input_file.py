"""Input files, opened once: whether they are the same as when they were hashed, and how ffmpeg reads them.

They reach ffmpeg as file descriptors. The file that was checked and hashed is the file that is rendered, and ffmpeg
never takes a name (`-y.mp4`, `a:b`, `img%03d.png`) for an option, a protocol or a pattern.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from dhcli.disk.boundary import open_file_strays
from dhcli.disk.descriptor import descriptor_path
from dhcli.disk.hashes import is_settled
from dhcli.disk.regular import FileStamp
from dhcli.disk.writes import Writes
from dhcli.errors import Code, DhError, WarningCode
from dhcli.media.containers.extent import Extent, find_extent
from dhcli.media.web import Download, address_of

HASH_BLOCK_BYTES = 1 << 20
CHEAP_BYTES = 4 << 20
"""A file of this size is hashed in 3 to 12 ms; it is hashed again instead of trusting its times."""


FFMPEG_NAME = re.compile(r"(?:subfile,[\w,]*:)?file:/proc/self/fd/\d+")
"""How ffmpeg calls an open file."""
PART = "subfile"
"""The protocol of ffmpeg that reads a part of a file."""


class InputFile:
    """A regular file, opened for reading once. Its descriptor stays the same file whatever happens to its name."""

    def __init__(
        self,
        path: str | Path,
        role: str,
        *,
        root: Path | None = None,
        folder: int | None = None,
        download: Download | None = None,
    ) -> None:
        """`role` ("video", "audio") begins every message about the file. It may not lie outside of `root`.

        With `folder`, a descriptor of the folder that holds the file, only the file's name is looked up. With
        `download`, what came from the address `path` is taken over, and is inside of any `root`.

        Raises DhError input.missing, input.not_regular, input.unreadable, input.empty.
        """
        self.path = Path(path if download is None else download.name)
        self.address = "" if download is None else download.name
        """Where it was downloaded from; "" for a file of this machine."""
        self.role = role
        self.root = root
        self.trusted_times = True
        """False: `check_unchanged` compares the content even where the file's times are the same."""
        self._sha256: str | None = None
        self._on_wrong_sha256: Callable[[], None] = lambda: None
        self._was_written: Callable[[], bool] = lambda: False
        self._extent: Extent | None = None
        self.begin, self.demuxer = 0, ""
        """How much rubbish is in front, bytes; and what its name says that it is, where ffmpeg cannot tell."""
        self.remarks: dict[WarningCode, str] = {}
        """What was odd while its pictures were decoded: a message for each code."""
        try:
            # A FIFO without O_NONBLOCK waits for its writer for ever.
            at = self.path if folder is None else self.path.name
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            self.fd = os.open(at, flags, dir_fd=folder) if download is None else download.fd
        except OSError as error:
            raise self._cannot_open(error) from error
        mode = os.fstat(self.fd).st_mode
        self.stamp = FileStamp.of(self.fd)
        self.bytes = self.stamp.size
        self._settled = is_settled(self.stamp.ctime_ns)
        if not stat.S_ISREG(mode) or not self.bytes:
            self.close()
            raise self._unfit(mode)
        if root is not None and download is None and (real := open_file_strays(self.fd, self.path, root)):
            self.close()
            raise self.error(
                "input.unreadable", f"leads to {real}, outside of {root}", hint="Put the file below that folder."
            )

    def _cannot_open(self, error: OSError) -> DhError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            if address := address_of(self.path):
                web = address.lower().startswith(("http:", "https:"))
                hint = f"Download it, and give the path of the file{', or use --allow-net' if web else ''}."
                return self.error("input.missing", f"is an address ({address}), and dh reads no addresses", hint=hint)
            if self.path.name == "-":
                finding = "there is no such file, and dh reads no input from a pipe"
                return self.error("input.missing", finding, hint="Write it to a file first, and give its path.")
            if twin := _twin(self.path):
                finding = f"there is no such file, but there is {twin!r}, whose name has its accents in another form"
                return self.error("input.missing", finding, hint=f"Copy that file's name: {twin!a}.")
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

    def _unfit(self, mode: int) -> DhError:
        if stat.S_ISREG(mode):
            return self.error("input.empty", "has no bytes", hint="Its copy or download was probably not finished.")
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
        return self.error("input.not_regular", f"is {kind}", hint="Give a file.")

    @property
    def label(self) -> str:
        return f"{self.role} {self.address or self.path}"

    @property
    def url(self) -> str:
        """The file as an argument of ffmpeg, which has to inherit `pass_fds`. Raises DhError input.unreadable."""
        whole, part = fd_url(self.fd, self.path), self.extent
        if (part.begin, part.end) == (0, self.bytes):
            return whole
        return f"{PART},,start,{part.begin},end,{part.end},,:{whole}"

    def open_as(self, begin: int, demuxer: str) -> None:
        """Read it from byte `begin` on, with the named demuxer of ffmpeg; "" lets ffmpeg find out."""
        self.begin, self.demuxer, self._extent = begin, demuxer, None

    @property
    def extent(self) -> Extent:
        """The part of the file that ffmpeg is to read. Raises DhError input.unreadable."""
        if self._extent is None:
            try:
                self._extent = find_extent(self.fd, self.bytes, self.path.suffix, self.begin)
            except OSError as error:
                hint = "Check the disk."
                raise self.error("input.unreadable", f"reading failed: {error.strerror}", hint=hint) from error
        return self._extent

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return (self.fd,)

    def error(self, code: Code, finding: str, *, hint: str, stderr_tail: Iterable[str] = ()) -> DhError:
        """An error about this file: `finding` follows its role and path in the message."""
        named = FFMPEG_NAME.sub(lambda _: self.path.name, finding)
        return DhError(code, f"{self.label}: {named}.", hint=hint, stderr_tail=stderr_tail)

    def sha256(self, on_block: Callable[[], None] = lambda: None) -> str:
        """SHA-256 of the whole content, hexadecimal; computed once. `on_block` is called after every MiB.

        Raises DhError input.unreadable, and whatever `on_block` raises.
        """
        if self._sha256 is None:
            self._sha256 = self._hash(on_block)
        return self._sha256

    def set_sha256(self, sha256: str, on_wrong: Callable[[], None]) -> None:
        """Use a hash that is known already. `on_wrong` is called where the content turns out to have another one."""
        self._sha256, self._on_wrong_sha256 = sha256, on_wrong

    def watch(self, writes: Writes) -> None:
        """Notice writes from now on, even those whose content and times are set back before the next check."""
        watched = writes.watch(self.fd)
        self._was_written = lambda: writes.wrote(watched)

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
        """The first `count` bytes, fewer where the file is shorter. Raises OSError."""
        return os.pread(self.fd, count, 0)

    def check_unchanged(self, on_block: Callable[[], None] = lambda: None, *, cheap_bytes: int = CHEAP_BYTES) -> None:
        """Raise DhError input.changed where the content is not the one that was opened and hashed.

        Where the times differ, the content is hashed again: `touch`, `chmod` and a new hard link change only times.
        Where the times are the same, it is hashed again if a later write may have left them so: they are too recent,
        or not trusted. A file of up to `cheap_bytes` is always hashed again, since writes through mmap set no times.
        """
        now = FileStamp.of(self.fd)
        if now.size != self.bytes:
            raise self._changed(f"{self.bytes} bytes then, {now.size} now")
        if self._was_written():
            raise self._changed("somebody wrote to it")
        if self._sha256 is None:  # nothing about it goes into a cache, so that its times are enough
            if not now.same_content(self.stamp):
                raise self._changed("its times are others now")
            return
        if now == self.stamp and self._settled and self.trusted_times and self.bytes > cheap_bytes:
            return
        settled = is_settled(now.ctime_ns)
        if self._hash(on_block) != self._sha256:
            self._on_wrong_sha256()
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

    def __exit__(self, *_: object) -> None:
        self.close()


def _twin(path: Path) -> str:
    """The name of a file in the same folder that looks the same: é can be one character, or e with an accent."""
    with contextlib.suppress(OSError):
        wanted = unicodedata.normalize("NFC", path.name)
        with os.scandir(path.parent) as entries:
            return next((entry.name for entry in entries if unicodedata.normalize("NFC", entry.name) == wanted), "")
    return ""


def fd_url(fd: int, path: Path) -> str:
    """An open file as ffmpeg's `file` protocol takes it; by absolute path on systems that are not Linux.

    Raises DhError env.no_proc.
    """
    return f"file:{descriptor_path(fd) if sys.platform == 'linux' else path.absolute()}"
