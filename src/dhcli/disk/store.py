"""What was worked out before and can be worked out again: files named by a hash of all that decides their content.

An entry never changes, so that processes need no locks: it is written under another name and renamed, it may be removed
while somebody reads it, and where two write the same one, the later wins. It carries a checksum, and one that is not
as it was written counts as absent: nothing has to be flushed to the disk before the rename. What entries mean is not
known here. Without a folder, or with one that cannot be used, there is only the last one of each kind, in memory, and
whoever asks is told why.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, TypeAlias

from dhcli.disk.memory import memory_file
from dhcli.disk.regular import open_regular
from dhcli.errors import describe

ROOM = "store"
"""Folder in the cache folder."""
LIMIT_BYTES = 2 << 30
"""Tracks of 17 hours of video at 25 fps, or half a million probes."""
RESERVE_BYTES = 512 << 20
"""Nothing is put on a disk with less than this left: a run stops below 256 MiB unless --min-disk says otherwise."""
MAGIC = b"dhstore1"
CHECKSUM_AT, CHECKED_FROM = 40, 72
"""The key's 32 bytes stand before the checksum, what the checksum is of behind it: the head's length, head, body."""
HEAD_LENGTH = struct.Struct("<I")
BLOCK_BYTES = 1 << 20
DISK_BLOCK_BYTES = 4096
"""What the smallest file takes on the disk."""
RECOUNT_S = 60.0
"""How long a process may not know what others put there,"""
RECOUNT_SHARE = 1 / 16
"""and how much it may add meanwhile, as a share of the limit: so much too much can each of several processes take."""
STRAY_S = 3600.0
"""A temporary file that old belongs to a process that was killed while it wrote."""
NAME = re.compile(r"[0-9a-f]{64}")
TEMPORARY = ".new-"
LAST_BYTES = 16 << 20
"""Of an entry that is kept in memory because the disk does not take it: the track of 8 minutes at 25 fps."""
NO_FOLDER = "there is no home, and neither --cache-dir nor DH_CACHE_DIR names a folder"


Body: TypeAlias = Callable[[], Iterable[bytes]]
"""The parts of an entry's body, from the first one at each call."""


def key_of(ingredients: Mapping[str, object]) -> str:
    """The key of what these ingredients, all that decide it, make."""
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """An open entry, whole and as it was written. Whoever has it closes `fd`, at the latest by leaving its block."""

    fd: int
    head: bytes
    start: int
    """Where the body begins in the file."""
    size: int
    """Bytes of the body."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def body(self, count: int | None = None, at: int = 0) -> bytes:
        """`count` bytes of the body from byte `at` on, or all of it.

        Raises EOFError where another program cut it meanwhile, and OSError where the disk, or the machine that has it,
        does not give it.
        """
        count = self.size if count is None else count
        found = os.pread(self.fd, count, self.start + at)
        if len(found) != count:
            raise EOFError(f"an entry of the store ends {count - len(found)} bytes too early")
        return found


@dataclass(frozen=True, slots=True)
class Share:
    """What the entries of one kind take."""

    entries: int
    bytes: int


class Store:
    """Entries by kind and key. For one thread; any number of processes may share a folder."""

    def __init__(self, cache_folder: Path | None, limit_bytes: int = LIMIT_BYTES) -> None:
        """Where the entries take more than `limit_bytes`, those used longest ago leave; with 0 nothing is to be put."""
        self._cache_folder = cache_folder
        self._folder = cache_folder / ROOM if cache_folder is not None else None
        self.limit_bytes = limit_bytes
        self._trouble: str | None = None
        self._told = False
        self._last: dict[str, tuple[str, bytes, bytes]] = {}
        """Key, head and body of the last entry of each kind that found no place in the folder."""
        self._counted_bytes = self._added_bytes = 0
        self._counted_s: float | None = None

    def reader(self) -> Store:
        """The same entries for somebody who writes nothing."""
        return Store(self._cache_folder, 0)

    def get(self, kind: str, key: str, alive: Callable[[], None] = lambda: None) -> Entry | None:
        """The entry, or None where there is none that is sound. `alive` is called after every MiB, and may raise."""
        last_key, head, body = self._last.get(kind, ("", b"", b""))
        if last_key == key:
            return _in_memory(head, body)
        return None if self._folder is None else self._on_disk(self._folder / kind, key, alive)

    def _on_disk(self, folder: Path, key: str, alive: Callable[[], None]) -> Entry | None:
        try:
            fd = open_regular(folder / key, follow=False)  # a link, which may lead away, is no entry
        except OSError:
            return None
        entry = None
        try:
            entry = _verified(fd, key, alive)
            if entry is not None and self.limit_bytes:
                os.utime(fd)  # the time of the last use; systems do not keep that of the last reading
        except OSError:  # a disk that cannot read it, or a folder that may only be read
            pass
        finally:
            if entry is None:
                os.close(fd)
        return entry

    def put(self, kind: str, key: str, head: bytes, body: Body = tuple) -> None:
        """Keep an entry: in the folder, or where that takes none, in memory, and `take_trouble` tells why.

        `body` gives its parts from the start, and is called once more where the disk fails in the middle of them.
        Raises only what it raises.
        """
        if self.limit_bytes and (trouble := self._put(kind, key, head, body)) is not None:
            self._trouble = self._trouble or trouble
            self._keep(kind, key, head, body())

    def _put(self, kind: str, key: str, head: bytes, body: Body) -> str | None:
        """Keep an entry in the folder; why that cannot be, or None."""
        if self._folder is None:
            return NO_FOLDER
        folder = self._folder / kind
        try:
            self._prepare(folder)
            self._place(folder, key, head, body())
        except OSError as error:
            return f"{folder}: {describe(error)}"
        return None

    def _keep(self, kind: str, key: str, head: bytes, parts: Iterable[bytes]) -> None:
        """In memory, so that the next job over the same video finds what this one worked out."""
        body = b""
        for part in parts:
            body += part
            if len(body) > LAST_BYTES:
                return
        self._last[kind] = key, head, body

    def take_trouble(self) -> str | None:
        """Why something could not be kept; said once in the life of the store."""
        if self._told or self._trouble is None:
            return None
        self._told = True
        return self._trouble

    def shares(self) -> dict[str, Share]:
        """What the entries of each kind take. Raises OSError where they cannot be looked at."""
        found: dict[str, list[int]] = {}
        for path, info in self._files(strict=True):
            found.setdefault(path.parent.name, []).append(room(info.st_size))
        return {kind: Share(len(sizes), sum(sizes)) for kind, sizes in sorted(found.items())}

    def clear(self) -> Share:
        """Remove all entries and all that killed processes left; what that gave back. Raises OSError."""
        sizes = []
        for path, info in [*self._files(strict=True), *self._files(temporary=True)]:
            path.unlink(missing_ok=True)
            sizes.append(room(info.st_size))
        return Share(len(sizes), sum(sizes))

    def _prepare(self, folder: Path) -> None:
        """Make the folder, if it is not there. Raises OSError where it takes no entry."""
        folder.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
        if shutil.disk_usage(folder).free < RESERVE_BYTES:
            raise OSError(f"less than {RESERVE_BYTES >> 20} MiB are free there")
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _place(self, folder: Path, key: str, head: bytes, body: Iterable[bytes]) -> None:
        fd, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
        try:
            with os.fdopen(fd, "wb") as file:
                size = self._write(file, key, itertools.chain((HEAD_LENGTH.pack(len(head)), head), body))
            self._make_room(room(size), folder / key)
            Path(name).replace(folder / key)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _write(self, file: BinaryIO, key: str, parts: Iterable[bytes]) -> int:
        """The entry's bytes; their number."""
        checksum = hashlib.sha256()
        file.write(MAGIC + bytes.fromhex(key) + bytes(CHECKED_FROM - CHECKSUM_AT))
        for part in parts:
            checksum.update(part)
            file.write(part)
            if file.tell() > self.limit_bytes:
                raise OSError(f"an entry takes more than the limit of {self.limit_bytes} bytes")
        size = file.tell()
        file.seek(CHECKSUM_AT)
        file.write(checksum.digest())
        return size

    def _make_room(self, wanted: int, replaced: Path) -> None:
        """Remove what was used longest ago, where the limit asks for it, so that `wanted` bytes fit."""
        self._counted_bytes += wanted
        self._added_bytes += wanted
        now = time.monotonic()
        fresh = self._counted_s is not None and now - self._counted_s < RECOUNT_S
        fresh = fresh and self._added_bytes <= self.limit_bytes * RECOUNT_SHARE
        if fresh and self._counted_bytes <= self.limit_bytes:
            return
        for stray, info in self._files(temporary=True):
            if time.time() - info.st_mtime > STRAY_S:
                stray.unlink(missing_ok=True)
        entries = [found for found in self._files() if found[0] != replaced]
        entries.sort(key=lambda found: found[1].st_mtime_ns, reverse=True)
        total = wanted + sum(room(info.st_size) for _, info in entries)
        while total > self.limit_bytes and entries:
            oldest, info = entries.pop()
            oldest.unlink(missing_ok=True)
            total -= room(info.st_size)
        self._counted_bytes, self._added_bytes, self._counted_s = total, 0, now

    def _files(self, *, temporary: bool = False, strict: bool = False) -> Iterator[tuple[Path, os.stat_result]]:
        """Every entry, or every temporary file; whatever else lies there is not ours.

        `strict`: raises OSError where it cannot be looked at what there is.
        """
        if self._folder is None:
            return
        for folder in _scan(self._folder, strict=strict):
            if not folder.is_dir(follow_symlinks=False):
                continue
            for file in _scan(Path(folder.path), strict=strict):
                ours = file.name.startswith(TEMPORARY) if temporary else NAME.fullmatch(file.name) is not None
                with contextlib.suppress(FileNotFoundError):  # another process was quicker
                    if ours and file.is_file(follow_symlinks=False):
                        yield Path(file.path), file.stat(follow_symlinks=False)


def _in_memory(head: bytes, body: bytes) -> Entry:
    fd = memory_file()
    with open(fd, "wb", closefd=False) as file:
        file.write(body)
    return Entry(fd, head, 0, len(body))


def _scan(folder: Path, *, strict: bool) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:  # not for us
        if strict:
            raise
        return []


def room(size: int) -> int:
    """Bytes that a file of this size takes on the disk."""
    return -(-size // DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES


def _verified(fd: int, key: str, alive: Callable[[], None]) -> Entry | None:
    """The entry in an open file, where every bit of it is as it was written. Raises OSError, and what `alive` does."""
    begin = os.pread(fd, CHECKED_FROM + HEAD_LENGTH.size, 0)
    if not begin.startswith(MAGIC + bytes.fromhex(key)):
        return None
    if len(begin) < CHECKED_FROM + HEAD_LENGTH.size:
        return None
    checksum, at = hashlib.sha256(), CHECKED_FROM
    while block := os.pread(fd, BLOCK_BYTES, at):
        checksum.update(block)
        at += len(block)
        alive()
    (head_length,) = HEAD_LENGTH.unpack(begin[CHECKED_FROM:])
    head_at = CHECKED_FROM + HEAD_LENGTH.size
    start = head_at + head_length
    if checksum.digest() != begin[CHECKSUM_AT:CHECKED_FROM] or start > at:
        return None
    return Entry(fd, os.pread(fd, head_length, head_at), start, at - start)
