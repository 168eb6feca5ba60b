"""The folders in the cache, what dh's files in them look like, and a way into them that no link leads out of.

Folders are opened one from within the other: a link, or a folder that is swapped meanwhile, leads nowhere.
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
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
DISK_BLOCK_BYTES = 4096
"""What the smallest file takes on the disk."""


@dataclass(frozen=True, slots=True)
class Room:
    """A folder in the cache, and what dh's files in it look like."""

    kind: str
    path: tuple[str, ...]
    """From the cache's folder on."""
    name: re.Pattern[str]
    temporary: str
    """Begins the names of files that are being written."""
    begin: bytes

    def holds(self, name: str) -> bool:
        """Whether the name is that of one of dh's files."""
        return name.startswith(self.temporary) or self.name.fullmatch(name) is not None


HASHES_FILE = "hashes"
ENTRY_BEGIN = b"dhstore1"
HASHES = Room("hash", (), re.compile(HASHES_FILE), ".hashes-", b"dh-hashes ")


def entries_of(kind: str) -> Room:
    """The room of a store's entries of one kind."""
    return Room(kind, (STORE, kind), re.compile(r"[0-9a-f]{64}"), ".new-", ENTRY_BEGIN)


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a room, by its name one of dh's."""

    room: Room
    name: str
    bytes: int
    """What it takes on the disk."""
    used_ns: int

    @property
    def temporary(self) -> bool:
        return self.name.startswith(self.room.temporary)


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
    """A descriptor of a folder in an open one, to which no link leads. Raises OSError where there is none."""
    folder = os.dup(root)
    for name in path:
        with closing(folder):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=folder)
            try:
                folder = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            except OSError as error:
                if error.errno in {errno.ENOTDIR, errno.ELOOP}:  # so systems call a link, wherever it leads
                    raise NotADirectoryError(errno.ENOTDIR, "a link or a file, not a folder", name) from error
                raise
    return folder


def begins(folder: int, name: str, begin: bytes) -> bool:
    """Whether there is a file of that name, no link, whose first bytes are these."""
    try:
        with closing(open_regular(name, follow=False, within=folder)) as fd:
            return os.pread(fd, len(begin), 0) == begin
    except OSError:
        return False


def is_blank(folder: int, name: str) -> bool:
    """A file without content, or only with the zeros that a loss of power leaves. Raises FileNotFoundError."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(found.st_mode) and (not found.st_size or begins(folder, name, bytes(min(found.st_size, 4096))))


def files_in(folder: int, room: Room) -> Iterator[Found]:
    """The files that are dh's by their names, in the open folder of a room."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # another process removed or renamed it
                if room.holds(entry.name) and entry.is_file(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    yield Found(room, entry.name, taken(info.st_size), info.st_mtime_ns)


def rooms_in(root: int) -> list[Room]:
    """The rooms of the cache in this folder."""
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
