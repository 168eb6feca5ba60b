"""The sections of the cache: its folders, and the names and first bytes of dh's files in them.

Folders are opened relative to an open one, and links are refused: no link can lead out of the cache.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from dhcli.disk.regular import open_regular

STORE = "store"
DOWNLOAD = "download"
"""Kind of the files that come from the web. They begin as they like; their place and their name are dh's."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
DISK_BLOCK_BYTES = 4096
"""Space of the smallest file on the disk."""


@dataclass(frozen=True, slots=True)
class Section:
    """A folder in the cache, and what identifies dh's files in it."""

    kind: str
    path: tuple[str, ...]
    """Names of the folders that lead to it from the cache's folder."""
    name: re.Pattern[str]
    temporary: str
    """Prefix of the names of unfinished files."""
    begin: bytes
    """First bytes of its files."""

    def holds(self, name: str) -> bool:
        """Whether one of dh's files can have this name."""
        return name.startswith(self.temporary) or self.name.fullmatch(name) is not None


HASHES_FILE = "hashes"
ENTRY_BEGIN = b"dhstore1"
HASHES = Section("hash", (), re.compile(HASHES_FILE), ".hashes-", b"dh-hashes ")


def entries_of(kind: str) -> Section:
    """The section of a store's entries of one kind."""
    begin = b"" if kind == DOWNLOAD else ENTRY_BEGIN
    return Section(kind, (STORE, kind), re.compile(r"[0-9a-f]{64}"), ".new-", begin)


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file in a section with one of dh's names."""

    section: Section
    name: str
    bytes: int
    """Space on the disk."""
    used_ns: int
    """Time of the last use."""

    @property
    def temporary(self) -> bool:
        return self.name.startswith(self.section.temporary)


def taken(size: int) -> int:
    """Bytes that a file of this size takes on the disk."""
    return -(-size // DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    """The descriptor, which is closed at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)


def below(root: int, path: tuple[str, ...], *, make: bool = False) -> int:
    """A descriptor of a folder below an open one, without following links. Raises OSError."""
    folder = os.dup(root)
    for name in path:
        with closing(folder):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=folder)
            try:
                folder = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            except OSError as error:
                if error.errno in {errno.ENOTDIR, errno.ELOOP}:  # how systems report a link
                    raise NotADirectoryError(errno.ENOTDIR, "a link or a file, not a folder", name) from error
                raise
    return folder


def begins(folder: int, name: str, begin: bytes) -> bool:
    """Whether a regular file `name`, no link, begins with these bytes."""
    try:
        with closing(open_regular(name, follow=False, within=folder)) as fd:
            return os.pread(fd, len(begin), 0) == begin
    except OSError:
        return False


def is_blank(folder: int, name: str) -> bool:
    """Whether a file is empty, or has only zeros, as after a power cut. Raises FileNotFoundError."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return False
    return not status.st_size or begins(folder, name, bytes(min(status.st_size, 4096)))


def files_in(folder: int, section: Section) -> Iterator[CacheFile]:
    """The files with dh's names in the open folder of a section."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # another process removed or renamed it
                if section.holds(entry.name) and entry.is_file(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    yield CacheFile(section, entry.name, taken(info.st_size), info.st_mtime_ns)


def sections_in(root: int) -> list[Section]:
    """The sections of the cache in an open folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), closing(below(root, (STORE,))) as store:
        with os.scandir(store) as entries:
            kinds = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return [HASHES, *map(entries_of, kinds)]
    return [HASHES]


def names_in(folder: int) -> Iterator[str]:
    """The names of all that is in an open folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name
