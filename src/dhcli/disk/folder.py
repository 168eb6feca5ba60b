"""The folder of the cache. A user may name any folder, so that only dh's own files are ever changed or removed.

A file is dh's by its name and its first bytes, and nothing is changed in a folder that is not the cache's. The methods
with an underscore access the disk; they are called through `ask`, which does not wait for ever.
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

from dhcli.disk.cache_files import NewFile, OpenFile
from dhcli.disk.mark import TAG, has_foreign_files, is_ours, is_tagged, mark
from dhcli.disk.patience import PATIENCE_S, Patience
from dhcli.disk.regular import open_regular
from dhcli.disk.sections import (
    DIRECTORY,
    HASHES,
    CacheFile,
    Section,
    begins,
    below,
    closing,
    files_in,
    is_blank,
    sections_in,
)
from dhcli.errors import describe

STRAY_S = 3600.0
"""A temporary file of this age belongs to a process that was killed while it wrote."""
AT_ONCE = 256
"""Files that are looked at or removed in one call: so few take less than the limit of a call, on any disk."""
NO_FOLDER = "there is no home, and neither --cache-dir nor DH_CACHE_DIR names a folder"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """The number of files of one kind, and their space on the disk."""

    entries: int
    bytes: int


class NotACacheError(OSError):
    """The folder is a user's own, and not the cache."""

    def __init__(self) -> None:
        super().__init__(f"it has other files in it and no {TAG} of dh; name a folder that is empty or new")


class CacheFolder:
    """The files of a cache. For one thread; any number of processes may share a folder."""

    def __init__(self, path: Path | None, patience_s: float = PATIENCE_S) -> None:
        """After one call that takes longer than `patience_s` no other is made. Without a path there is no file."""
        self.path = path
        self._patience = Patience(path, patience_s) if path is not None else None
        self._proved: tuple[int, int] | None = None
        """Device and inode of the folder, once it is known to be dh's, and marked,"""
        self._refused: tuple[int, int] | None = None
        """or known to be a user's."""
        self._trouble: str | None = None
        self._told = False

    @classmethod
    def at(cls, place: Path | CacheFolder | None) -> CacheFolder:
        """The cache at a path; a `CacheFolder` is returned as it is."""
        return place if isinstance(place, CacheFolder) else cls(place)

    def ask(self, call: Callable[[], T], /) -> T:
        """The result of a call to the folder's disk. Raises what it raises, and OSError where it takes too long."""
        if self._patience is None:
            raise FileNotFoundError(errno.ENOENT, NO_FOLDER)
        return self._patience(call)

    def note(self, section: Section, error: OSError) -> None:
        """Remember why a file could not be kept in a section."""
        if self._trouble is not None:
            return
        if self.path is None:
            self._trouble = NO_FOLDER
        else:
            place = self.path if isinstance(error, NotACacheError) else self.path.joinpath(*section.path)
            self._trouble = f"{place}: {describe(error)}"

    def take_trouble(self) -> str | None:
        """Why something could not be kept, None for no reason; the reason is given once."""
        if self._told or self._trouble is None:
            return None
        self._told = True
        return self._trouble

    @contextlib.contextmanager
    def new_file(self, section: Section, reserve_bytes: int = 0) -> Iterator[NewFile]:
        """A new file in a section, which is made where it is missing.

        Raises OSError, also where less than `reserve_bytes` are free on the disk.
        """
        file = self.ask(lambda: self._create(section, reserve_bytes))
        try:
            yield file
        finally:
            file.close()

    def open(self, section: Section, name: str, begin: int, *, used: bool) -> OpenFile:
        """Open a file and read its first `begin` bytes, in one call; `used` marks it as the last used one.

        Raises OSError, also where it is no regular file.
        """
        return self.ask(lambda: self._open(section, name, begin, used=used))

    def read(self, section: Section, name: str, most: int) -> bytes:
        """The content of a file. Raises OSError, also where that is more than `most` bytes."""
        file = self.open(section, name, most, used=False)
        if file.fd is not None:
            file.close()
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
        return file.begin

    def replaceable(self, section: Section, name: str) -> bool:
        """Whether a file may be replaced: it is dh's, empty, or not there. Raises OSError."""
        return self.ask(lambda: self._replaceable(section, name))

    def sweep(self, section: Section) -> None:
        """Remove what killed processes left half written. Raises OSError."""
        self._sweep(self._files(section))

    def evict(self, most: int, but: tuple[Section, str]) -> int:
        """Remove the store's files that were used longest ago until all others take at most `most` bytes.

        `but` is about to be replaced and does not count. Bytes that the rest takes. Raises OSError.
        """
        sections = [section for section in self._all_sections() if section != HASHES]
        files = [one for section in sections for one in self._in_parts(self._files(section))]
        self._sweep(files)
        entries = [one for one in files if not one.temporary and (one.section, one.name) != but]
        total, leaving = sum(one.bytes for one in entries), list[CacheFile]()
        for oldest in sorted(entries, key=lambda one: one.used_ns):
            if total <= most:
                break
            leaving.append(oldest)
            total -= oldest.bytes  # also of what is no file of dh's, and stays: it takes none of the cache's space
        list(self._in_parts(leaving, self._remove))
        return total

    def try_out(self) -> None:
        """Raise OSError where nothing can be kept, as far as that shows without writing."""
        self.ask(self._try_out)

    def shares(self) -> dict[str, Share]:
        """The files of each kind. Raises OSError."""
        shares = {
            section.kind: _share(self._in_parts(self._files(section), self._counts)) for section in self._all_sections()
        }
        return {kind: share for kind, share in shares.items() if share.entries}

    def clear(self) -> Share:
        """Remove all files, unfinished ones too; returns what they took. Raises OSError."""
        sections = self._all_sections()
        return _share(file for section in sections for file in self._in_parts(self._files(section), self._remove))

    def _all_sections(self) -> list[Section]:
        return [] if self.path is None else self.ask(self._sections)

    def _in_parts(
        self, files: Iterable[CacheFile], done: Callable[[CacheFile], bool] = lambda _: True
    ) -> Iterator[CacheFile]:
        """Those of the files for which `done` is true, which may touch the disk, too; `AT_ONCE` of them in a call."""
        left = iter(files)
        while part := self.ask(lambda: [(file, done(file)) for file in itertools.islice(left, AT_ONCE)]):
            yield from (file for file, is_done in part if is_done)

    def _counts(self, file: CacheFile) -> bool:
        return not file.temporary and self._is_ours(file)

    def _try_out(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.close(self._enter((), make=False))
        assert self.path is not None, NO_FOLDER
        nearest = next(place for place in (self.path, *self.path.absolute().parents) if os.path.lexists(place))
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))

    def _sections(self) -> list[Section]:
        """The sections of the folder. Raises OSError, also where a file has the folder's name."""
        try:
            root = self._enter((), make=False)
        except FileNotFoundError:
            return []
        with closing(root):
            return sections_in(root)

    def _files(self, section: Section) -> Iterator[CacheFile]:
        """The files in a section with dh's names. Raises OSError."""
        try:
            folder = self._enter(section.path, make=False)
        except (FileNotFoundError, NotADirectoryError):
            return
        with closing(folder):
            yield from files_in(folder, section)

    def _is_ours(self, file: CacheFile) -> bool:
        with closing(self._enter(file.section.path, make=False)) as folder:
            return begins(folder, file.name, file.section.begin)

    def _remove(self, file: CacheFile) -> bool:
        """Remove a file if it is dh's; False where it is not, or is gone already."""
        with contextlib.suppress(FileNotFoundError), closing(self._enter(file.section.path, make=False)) as folder:
            if begins(folder, file.name, file.section.begin):
                os.unlink(file.name, dir_fd=folder)
                return True
        return False

    def _sweep(self, among: Iterable[CacheFile]) -> None:
        now_s = time.time()

        def stray(file: CacheFile) -> bool:
            return file.temporary and now_s - file.used_ns / 1e9 > STRAY_S and self._remove(file)

        list(self._in_parts(among, stray))

    def _open(self, section: Section, name: str, begin: int, *, used: bool) -> OpenFile:
        with closing(self._enter(section.path, make=False)) as folder:
            fd = open_regular(name, follow=False, within=folder)
        try:
            size = os.fstat(fd).st_size
            first = os.pread(fd, min(begin, size), 0)
            if used and first.startswith(section.begin):
                with contextlib.suppress(OSError):  # a read-only folder
                    os.utime(fd)  # file systems may not keep the time of the last reading
        except BaseException:
            os.close(fd)
            raise
        if len(first) < size:
            return OpenFile(self.ask, fd, size, first)
        os.close(fd)
        return OpenFile(self.ask, None, size, first)

    def _replaceable(self, section: Section, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError), closing(self._enter(section.path, make=False)) as folder:
            return begins(folder, name, section.begin) or is_blank(folder, name)
        return True

    def _create(self, section: Section, reserve_bytes: int) -> NewFile:
        folder = self._enter(section.path, make=True)
        try:
            _refuse_full(folder, reserve_bytes)
            return NewFile(self.ask, folder, f"{section.temporary}{secrets.token_hex(8)}")
        except BaseException:
            os.close(folder)
            raise

    def _enter(self, path: tuple[str, ...], *, make: bool) -> int:
        """A descriptor of a folder in the cache. Raises OSError, and NotACacheError."""
        assert self.path is not None, NO_FOLDER
        if make:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(os.open(self.path, DIRECTORY)) as root:  # a user's link to another disk, say, may lead here
            self._prove(root, to_mark=make)
            return below(root, path, make=make)

    def _prove(self, root: int, *, to_mark: bool) -> None:
        """Raise NotACacheError where the folder is a user's. `to_mark`: write the tag that makes it dh's."""
        status = os.fstat(root)
        place = status.st_dev, status.st_ino
        if place == self._proved:
            return
        if not is_tagged(root):
            # The tag is checked twice: another process may mark the folder, and then fill it, between the two checks.
            if place == self._refused or not (is_ours(root) or is_tagged(root)):
                self._refused = place
                raise NotACacheError
            if not to_mark:
                return
            if not has_foreign_files(root):  # the tag would keep the user's own files out of backups, too
                mark(root)
        self._proved = place


def _share(files: Iterator[CacheFile]) -> Share:
    sizes = [one.bytes for one in files]
    return Share(len(sizes), sum(sizes))


def _refuse_full(folder: int, reserve_bytes: int) -> None:
    if reserve_bytes and shutil.disk_usage(folder).free < reserve_bytes:
        raise OSError(f"less than {reserve_bytes >> 20} MiB are free there")
