"""The folder of the cache. It may be any folder that a user names, so what is not dh's is never changed or removed.

A file is dh's where its name and its first bytes are, and nothing is touched in a folder that is not the cache's. The
methods with an underscore touch the disk; they are called by way of `ask`, which does not wait for ever.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dhcli.disk.mark import TAG, has_strangers, is_ours, is_tagged, mark
from dhcli.disk.patience import PATIENCE_S, Ask, Patience
from dhcli.disk.regular import open_regular
from dhcli.disk.sections import DIRECTORY, HASHES, Found, Room, begins, below, closing, files_in, is_blank, rooms_in
from dhcli.errors import describe

STRAY_S = 3600.0
"""A temporary file that old belongs to a process that was killed while it wrote."""
AT_ONCE = 256
"""Files that are looked at or removed in one call: so few take less than the limit of a call, on any disk."""
NO_FOLDER = "there is no home, and neither --cache-dir nor DH_CACHE_DIR names a folder"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """What the files of one kind take."""

    entries: int
    bytes: int


class NotACacheError(OSError):
    """The folder is the user's."""

    def __init__(self) -> None:
        super().__init__(f"it has other files in it and no {TAG} of dh; name a folder that is empty or new")


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is read."""

    ask: Ask
    fd: int | None
    """None where all of it is in `begin`."""
    size: int
    begin: bytes

    def read(self, count: int, at: int) -> bytes:
        """Raises OSError."""
        fd = self.fd
        return b"" if fd is None else self.ask(lambda: os.pread(fd, count, at))

    def close(self) -> None:
        """Done with it."""
        fd = self.fd
        if fd is not None:
            with contextlib.suppress(OSError):  # what was only read has nothing to lose
                self.ask(lambda: os.close(fd))


class NewFile:
    """A file on its way into a room: under another name until `put`, and gone if it never comes to that."""

    def __init__(self, ask: Ask, folder: int, name: str) -> None:
        """Takes over the descriptor of the room's folder. Raises OSError where it takes no file."""
        self._ask, self._folder, self._name = ask, folder, name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(name, flags, 0o600, dir_fd=folder)
        self._there = False

    def write(self, data: bytes) -> None:
        """Append. Raises OSError."""
        self._ask(lambda: self._write(memoryview(data)))

    def _write(self, left: memoryview) -> None:
        while left:
            left = left[os.write(self._fd, left) :]

    def overwrite(self, at: int, data: bytes) -> None:
        """Write in the middle. Raises OSError."""
        self._ask(lambda: os.pwrite(self._fd, data, at))

    def put(self, name: str) -> None:
        """Give it its name, in place of the file that has it. Raises OSError."""
        self._ask(lambda: os.replace(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder))
        self._there = True

    def close(self) -> None:
        """Done with it."""
        with contextlib.suppress(OSError):  # whatever ends the writing is told; what is left is swept up later
            self._ask(self._close)

    def _close(self) -> None:
        try:
            os.close(self._fd)
            if not self._there:
                os.unlink(self._name, dir_fd=self._folder)
        finally:
            os.close(self._folder)


class CacheFolder:
    """The files of a cache. For one thread; any number of processes may share a folder."""

    def __init__(self, path: Path | None, patience_s: float = PATIENCE_S) -> None:
        """A disk that does not answer within `patience_s` is not asked again. Without a path there is nothing."""
        self.path = path
        self._patience = Patience(path, patience_s) if path is not None else None
        self._proved: tuple[int, int] | None = None
        """Device and inode of the folder that is known to be dh's, and marked,"""
        self._refused: tuple[int, int] | None = None
        """and of the one that is known not to be."""
        self._trouble: str | None = None
        self._told = False

    @classmethod
    def at(cls, place: Path | CacheFolder | None) -> CacheFolder:
        """The folder at a path, if it is not one already."""
        return place if isinstance(place, CacheFolder) else cls(place)

    def ask(self, call: Callable[[], T], /) -> T:
        """What a call to the folder's disk gives. Raises what it raises; OSError where the disk does not answer."""
        if self._patience is None:
            raise FileNotFoundError(errno.ENOENT, NO_FOLDER)
        return self._patience(call)

    def note(self, room: Room, error: OSError) -> None:
        """Remember why a room could not take something."""
        if self._trouble is not None:
            return
        if self.path is None:
            self._trouble = NO_FOLDER
        else:
            place = self.path if isinstance(error, NotACacheError) else self.path.joinpath(*room.path)
            self._trouble = f"{place}: {describe(error)}"

    def take_trouble(self) -> str | None:
        """Why something could not be kept; said once in the life of the folder."""
        if self._told or self._trouble is None:
            return None
        self._told = True
        return self._trouble

    @contextlib.contextmanager
    def new_file(self, room: Room, reserve_bytes: int = 0) -> Iterator[NewFile]:
        """A file to be written into a room, which is made where it is missing.

        Raises OSError, also where less than `reserve_bytes` are free on the disk.
        """
        file = self.ask(lambda: self._create(room, reserve_bytes))
        try:
            yield file
        finally:
            file.close()

    def open(self, room: Room, name: str, begin: int, *, used: bool) -> OpenFile:
        """A file with its first `begin` bytes, all in one call; `used` makes it the one that was used last.

        Raises OSError, also for what is no file.
        """
        return self.ask(lambda: self._open(room, name, begin, used=used))

    def read(self, room: Room, name: str, most: int) -> bytes:
        """What is in a file. Raises OSError, also where that is more than `most` bytes."""
        file = self.open(room, name, most, used=False)
        if file.fd is not None:
            file.close()
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
        return file.begin

    def replaceable(self, room: Room, name: str) -> bool:
        """Whether nothing is lost with what has the name: it is dh's, or there is nothing in it. Raises OSError."""
        return self.ask(lambda: self._replaceable(room, name))

    def sweep(self, room: Room) -> None:
        """Remove what killed processes left half written. Raises OSError."""
        self._sweep(self._found(room))

    def evict(self, most: int, but: tuple[Room, str]) -> int:
        """Remove the store's files that were used longest ago until all others take at most `most` bytes.

        `but` is about to be replaced and does not count. Bytes that the rest takes. Raises OSError.
        """
        rooms = [room for room in self._all_rooms() if room != HASHES]
        found = [one for room in rooms for one in self._in_parts(self._found(room))]
        self._sweep(found)
        entries = [one for one in found if not one.temporary and (one.room, one.name) != but]
        total, leaving = sum(one.bytes for one in entries), list[Found]()
        for oldest in sorted(entries, key=lambda one: one.used_ns):
            if total <= most:
                break
            leaving.append(oldest)
            total -= oldest.bytes  # also of what is no file of dh's, and stays: it takes none of the cache's room
        list(self._in_parts(leaving, self._remove))
        return total

    def try_out(self) -> None:
        """Raises OSError where nothing can be kept, as far as that can be told without writing."""
        self.ask(self._try_out)

    def shares(self) -> dict[str, Share]:
        """What there is of each kind. Raises OSError where that cannot be looked at."""
        shares = {room.kind: _share(self._in_parts(self._found(room), self._counts)) for room in self._all_rooms()}
        return {kind: share for kind, share in shares.items() if share.entries}

    def clear(self) -> Share:
        """Remove all of it, and what is half written as well; what that gave back. Raises OSError."""
        rooms = self._all_rooms()
        return _share(found for room in rooms for found in self._in_parts(self._found(room), self._remove))

    def _all_rooms(self) -> list[Room]:
        return [] if self.path is None else self.ask(self._rooms)

    def _in_parts(self, files: Iterable[Found], done: Callable[[Found], bool] = lambda _: True) -> Iterator[Found]:
        """Those of the files for which `done` is true, which may touch the disk, too; `AT_ONCE` of them in a call."""
        left = iter(files)
        while part := self.ask(lambda: [(file, done(file)) for file in itertools.islice(left, AT_ONCE)]):
            yield from (file for file, is_done in part if is_done)

    def _counts(self, found: Found) -> bool:
        return not found.temporary and self._is_ours(found)

    def _try_out(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.close(self._enter((), make=False))
        assert self.path is not None, NO_FOLDER
        nearest = next(place for place in (self.path, *self.path.absolute().parents) if os.path.lexists(place))
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))

    def _rooms(self) -> list[Room]:
        """The rooms that there are. Raises OSError, also where a file has the folder's name."""
        try:
            root = self._enter((), make=False)
        except FileNotFoundError:
            return []
        with closing(root):
            return rooms_in(root)

    def _found(self, room: Room) -> Iterator[Found]:
        """The files in a room that are dh's by their names. Raises OSError."""
        try:
            folder = self._enter(room.path, make=False)
        except (FileNotFoundError, NotADirectoryError):
            return
        with closing(folder):
            yield from files_in(folder, room)

    def _is_ours(self, found: Found) -> bool:
        with closing(self._enter(found.room.path, make=False)) as folder:
            return begins(folder, found.name, found.room.begin)

    def _remove(self, found: Found) -> bool:
        """Remove a file if it is dh's; False where it is not, or is gone already."""
        with contextlib.suppress(FileNotFoundError), closing(self._enter(found.room.path, make=False)) as folder:
            if begins(folder, found.name, found.room.begin):
                os.unlink(found.name, dir_fd=folder)
                return True
        return False

    def _sweep(self, among: Iterable[Found]) -> None:
        now_s = time.time()

        def stray(found: Found) -> bool:
            return found.temporary and now_s - found.used_ns / 1e9 > STRAY_S and self._remove(found)

        list(self._in_parts(among, stray))

    def _open(self, room: Room, name: str, begin: int, *, used: bool) -> OpenFile:
        with closing(self._enter(room.path, make=False)) as folder:
            fd = open_regular(name, follow=False, within=folder)
        try:
            size = os.fstat(fd).st_size
            first = os.pread(fd, min(begin, size), 0)
            if used and first.startswith(room.begin):
                with contextlib.suppress(OSError):  # a folder that may only be read
                    os.utime(fd)  # systems do not keep the time of the last reading
        except BaseException:
            os.close(fd)
            raise
        if len(first) < size:
            return OpenFile(self.ask, fd, size, first)
        os.close(fd)
        return OpenFile(self.ask, None, size, first)

    def _replaceable(self, room: Room, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError), closing(self._enter(room.path, make=False)) as folder:
            return begins(folder, name, room.begin) or is_blank(folder, name)
        return True

    def _create(self, room: Room, reserve_bytes: int) -> NewFile:
        folder = self._enter(room.path, make=True)
        try:
            _refuse_full(folder, reserve_bytes)
            return NewFile(self.ask, folder, f"{room.temporary}{secrets.token_hex(8)}")
        except BaseException:
            os.close(folder)
            raise

    def _enter(self, path: tuple[str, ...], *, make: bool) -> int:
        """A descriptor of a folder in the cache. Raises OSError where it is none, or not dh's."""
        assert self.path is not None, NO_FOLDER
        if make:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(os.open(self.path, DIRECTORY)) as root:  # a link of the user's, to another disk say, may lead here
            self._prove(root, to_mark=make)
            return below(root, path, make=make)

    def _prove(self, root: int, *, to_mark: bool) -> None:
        """Raises NotACacheError where the folder is the user's. `to_mark`: from now on its tag tells whose it is."""
        found = os.fstat(root)
        place = found.st_dev, found.st_ino
        if place == self._proved:
            return
        if not is_tagged(root):
            # Looked at twice: another process may mark it, and then fill it, between the first look and the proof.
            if place == self._refused or not (is_ours(root) or is_tagged(root)):
                self._refused = place
                raise NotACacheError
            if not to_mark:
                return
            if not has_strangers(root):  # else backups would leave out the user's own files, too
                mark(root)
        self._proved = place


def _share(found: Iterator[Found]) -> Share:
    sizes = [one.bytes for one in found]
    return Share(len(sizes), sum(sizes))


def _refuse_full(folder: int, reserve_bytes: int) -> None:
    if reserve_bytes and shutil.disk_usage(folder).free < reserve_bytes:
        raise OSError(f"less than {reserve_bytes >> 20} MiB are free there")
