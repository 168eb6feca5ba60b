"""A cache of computed results: files named by a hash of everything that decides their content.

An entry never changes, so that processes need no locks: it is written under another name and renamed, it may be removed
while another process reads it, and of two equal entries the later wins. It has a checksum, and a damaged entry counts
as absent, so that nothing is flushed to the disk before the rename. A checksum is no signature: the reader of an entry
checks its content. Without a usable folder, only the last entry of each kind is kept, in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from dhcli.disk.cache_files import NewFile, OpenFile
from dhcli.disk.folder import CacheFolder
from dhcli.disk.memory import memory_file
from dhcli.disk.patience import Ask, at_once
from dhcli.disk.sections import ENTRY_BEGIN, Section, entries_of, taken

LIMIT_BYTES = 2 << 30
"""Tracks of 9 hours of video at 25 fps, or half a million probes."""
RESERVE_BYTES = 512 << 20
"""No entry is put on a disk with less free space: a run stops below 256 MiB, the default of --min-disk."""
CHECKSUM_AT, CHECKED_FROM = 40, 72
"""Bytes. The key, 32 bytes, comes before the checksum; the head's length, head and body, which it covers, after it."""
HEAD_LENGTH = struct.Struct("<I")
HEAD_AT = CHECKED_FROM + HEAD_LENGTH.size
BLOCK_BYTES = 1 << 20
HEAD_BYTES = 16 << 20
"""The longest head: a video of four hours at 60 fps whose face comes and goes with every frame has one of 14 MB."""
RECOUNT_S = 60.0
"""The store's size is counted again after this time, since other processes add entries, too,"""
RECOUNT_SHARE = 1 / 16
"""or after this share of the limit was added: by so much can each of several processes exceed the limit."""
LAST_BYTES = 16 << 20
"""Largest entry that is kept in memory because the disk refuses it: the track of 4 minutes at 25 fps."""


Body: TypeAlias = Callable[[], Iterable[bytes]]
"""Yields the parts of an entry's body, from the first one at each call."""


def key_of(ingredients: Mapping[str, object]) -> str:
    """The key of a result that is computed from these ingredients, and from nothing else."""
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """An open, undamaged entry. Leaving its block closes it."""

    fd: int
    head: bytes
    start: int
    """Where the body begins in the file."""
    size: int
    """Bytes of the body."""
    ask: Ask = at_once
    """Makes the calls to its disk."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what was only read has nothing to lose
            self.ask(lambda: os.close(self.fd))

    def body(self, count: int | None = None, at: int = 0) -> bytes:
        """`count` bytes of the body from byte `at` on, or all of it.

        Raises EOFError where another program cut the file meanwhile, and OSError where the disk cannot be read.
        """
        count = self.size if count is None else count
        data = self.ask(lambda: os.pread(self.fd, count, self.start + at))
        if len(data) != count:
            raise EOFError(f"an entry of the store ends {count - len(data)} bytes too early")
        return data


class Store:
    """Entries by kind and key. For one thread; any number of processes may share a folder."""

    def __init__(self, folder: Path | CacheFolder | None, limit_bytes: int = LIMIT_BYTES) -> None:
        """Above `limit_bytes` the least recently used entries are removed; with 0 the store is read-only."""
        self._folder = CacheFolder.at(folder)
        self.limit_bytes = limit_bytes
        self._last: dict[str, tuple[str, bytes, bytes]] = {}
        """By kind: key, head and body of the last entry that the folder refused."""
        self._counted_bytes = self._added_bytes = 0
        self._counted_s: float | None = None

    def reader(self) -> Store:
        """A read-only store of the same entries."""
        return Store(self._folder, 0)

    def take_trouble(self) -> str | None:
        """Why something could not be kept, None for no reason; each folder gives its reason once."""
        return self._folder.take_trouble()

    def get(self, kind: str, key: str, alive: Callable[[], None] = lambda: None) -> Entry | None:
        """The entry; None where there is no undamaged one. `alive` is called after every MiB, and may raise."""
        last_key, head, body = self._last.get(kind, ("", b"", b""))
        if last_key == key:
            return _in_memory(head, body)
        opened = entry = None
        try:
            opened = self._folder.open(entries_of(kind), key, BLOCK_BYTES, used=self.limit_bytes > 0)
            entry = _verified(opened, key, self._folder.ask, self.limit_bytes or LIMIT_BYTES, alive)
        except OSError:  # there is none, or its disk cannot read it
            pass
        finally:
            if opened is not None and entry is None:
                opened.close()
        return entry

    def put(self, kind: str, key: str, head: bytes, body: Body = tuple) -> None:
        """Keep an entry in the folder or, where that fails, in memory; `take_trouble` then says why.

        `body` is called a second time where the disk fails in the middle. Raises only what `body` raises.
        """
        if not self.limit_bytes:
            return
        section = entries_of(kind)
        try:
            with self._folder.new_file(section, RESERVE_BYTES) as file:
                size = self._write(file, key, itertools.chain((HEAD_LENGTH.pack(len(head)), head), body()))
                self._evict_for(taken(size), section, key)
                file.put(key)
        except OSError as error:
            self._folder.note(section, error)
            self._keep(kind, key, head, body())

    def _keep(self, kind: str, key: str, head: bytes, parts: Iterable[bytes]) -> None:
        """Keep an entry in memory, for the next job over the same video."""
        body = b""
        for part in parts:
            body += part
            if len(body) > LAST_BYTES:
                return
        self._last[kind] = key, head, body

    def _write(self, file: NewFile, key: str, parts: Iterable[bytes]) -> int:
        """Write an entry; returns its size in bytes."""
        checksum, size = hashlib.sha256(), CHECKED_FROM
        file.write(ENTRY_BEGIN + bytes.fromhex(key) + bytes(CHECKED_FROM - CHECKSUM_AT))
        for part in parts:
            size += len(part)
            if size > self.limit_bytes:
                raise OSError(f"an entry takes more than the limit of {self.limit_bytes} bytes")
            checksum.update(part)
            file.write(part)
        file.overwrite(CHECKSUM_AT, checksum.digest())
        return size

    def _evict_for(self, wanted: int, section: Section, key: str) -> None:
        """Remove the least recently used entries until `wanted` more bytes fit the limit."""
        self._counted_bytes += wanted
        self._added_bytes += wanted
        now = time.monotonic()
        fresh = self._counted_s is not None and now - self._counted_s < RECOUNT_S
        fresh = fresh and self._added_bytes <= self.limit_bytes * RECOUNT_SHARE
        if fresh and self._counted_bytes <= self.limit_bytes:
            return
        total = wanted + self._folder.evict(self.limit_bytes - wanted, but=(section, key))
        self._counted_bytes, self._added_bytes, self._counted_s = total, 0, now


def _in_memory(head: bytes, body: bytes) -> Entry:
    fd = memory_file()
    with open(fd, "wb", closefd=False) as file:
        file.write(body)
    return Entry(fd, head, 0, len(body))


def _verified(file: OpenFile, key: str, ask: Ask, most: int, alive: Callable[[], None]) -> Entry | None:
    """The entry in an open file; None where it is damaged. Raises OSError, and what `alive` raises."""
    begin, size = file.begin, file.size
    if not begin.startswith(ENTRY_BEGIN + bytes.fromhex(key)) or len(begin) < HEAD_AT or size > most:
        return None
    (head_length,) = HEAD_LENGTH.unpack_from(begin, CHECKED_FROM)
    start = HEAD_AT + head_length
    if start > size or head_length > HEAD_BYTES:
        return None
    checksum, at = hashlib.sha256(memoryview(begin)[CHECKED_FROM:]), len(begin)
    alive()
    while at < size and (block := file.read(BLOCK_BYTES, at)):
        checksum.update(block)
        at += len(block)
        alive()
    if checksum.digest() != begin[CHECKSUM_AT:CHECKED_FROM]:
        return None
    if file.fd is None:
        return _in_memory(begin[HEAD_AT:start], begin[start:])
    return Entry(file.fd, file.read(head_length, HEAD_AT), start, size - start, ask)
