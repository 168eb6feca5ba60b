"""Caches the hashes of files: a file with the same device, inode, size and times is not read again.

The cache only saves time: without one, or with a damaged or read-only one, files are read and hashed.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import platformdirs

from dhcli.disk.folder import CacheFolder
from dhcli.disk.sections import HASHES, HASHES_FILE
from dhcli.disk.user_folder import user_folder

HEAD = "dh-hashes 1"
MAX_FILES = 100_000
"""About 13 MB on the disk, read in 0.1 s; the least recently used ones are dropped first."""
MAX_BYTES = 64 << 20
SHA256 = re.compile("[0-9a-f]{64}")
SETTLED_NS = 2_000_000_000
"""A younger file may change again without a new time stamp: FAT counts in 2 s, ext4 in up to 10 ms."""
SAVE_EVERY_S = 60.0
"""A killed run loses the hashes of at most this time; saving the whole cache takes 0.2 s."""
WRITTEN_BYTES = 1 << 20
"""Bytes of one write: a slow disk has to take them within the time limit of a call."""

Key: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, bytes, times of the last change of content and of status, ns. No `touch` can set the last one back."""


def cache_folder(wanted: Path | None = None) -> Path | None:
    """The folder of dh's cache: `wanted`, else DH_CACHE_DIR, else in the user's cache folder; None without a home."""
    if named := wanted or os.environ.get("DH_CACHE_DIR"):
        return Path(named)
    return user_folder(platformdirs.user_cache_path)


class HashCache:
    """SHA-256 of open files. For one thread; several processes may share a folder."""

    def __init__(self, folder: Path | CacheFolder | None = None, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Without a folder the hashes are kept in memory only."""
        self._folder = CacheFolder.at(folder)
        self._clock_ns = clock_ns
        self._loaded: dict[Key, str] | None = None
        self._forgotten: set[Key] = set()
        self._unsaved = False
        self._saved_s = time.monotonic()

    def sha256(self, descriptor: int, compute: Callable[[], str], *, anew: bool = False) -> str:
        """The hash of an open file: the known one, or that of `compute`. With `anew`, always that of `compute`."""
        if not anew and (known := self.known(descriptor)) is not None:
            return known
        key = _key(descriptor)
        computed = compute()
        if _key(descriptor) == key and is_settled(max(key[3:]), self._clock_ns()):
            self._entries()[key] = computed
            self._forgotten.discard(key)
            self._unsaved = True
            if time.monotonic() - self._saved_s > SAVE_EVERY_S:
                self.save()
        return computed

    def known(self, descriptor: int) -> str | None:
        """The hash of an open file, where it is known for its present size and times; else None."""
        entries, key = self._entries(), _key(descriptor)
        sha256 = entries.pop(key, None)
        if sha256 is not None:
            entries[key] = sha256  # to the end: entries are ordered by their last use
        return sha256

    def forget(self, descriptor: int) -> None:
        """Drop the known hash of an open file, in memory and in the folder: its content is another one."""
        key = _key(descriptor)
        self._entries().pop(key, None)
        self._forgotten.add(key)
        self._unsaved = True

    def _entries(self) -> dict[Key, str]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def save(self) -> None:
        """Write new hashes into the folder, and keep those that other processes wrote meanwhile."""
        if self._folder.path is None or not self._unsaved:
            return
        self._unsaved, self._saved_s = False, time.monotonic()
        merged = self._load()
        for key, value in self._entries().items():
            merged.pop(key, None)
            merged[key] = value
        for key in self._forgotten:
            merged.pop(key, None)
        lines = "".join(
            f"{' '.join(map(str, key))} {value}\n"
            for key, value in itertools.islice(merged.items(), max(0, len(merged) - MAX_FILES), None)
        ).encode()
        try:
            self._write(f"{HEAD} {hashlib.sha256(lines).hexdigest()}\n".encode() + lines)
        except OSError as error:  # a full or read-only disk, for instance: the next run hashes again
            self._folder.note(HASHES, error)

    def take_trouble(self) -> str | None:
        """Why something could not be kept or read, None for no reason; each folder gives its reason once."""
        return self._folder.take_trouble()

    def _write(self, content: bytes) -> None:
        if not self._folder.replaceable(HASHES, HASHES_FILE):
            raise FileExistsError(errno.EEXIST, "there is another file that dh did not make", HASHES_FILE)
        with self._folder.new_file(HASHES) as file:
            for at in range(0, len(content), WRITTEN_BYTES):
                file.write(content[at : at + WRITTEN_BYTES])
            file.put(HASHES_FILE)
        self._folder.sweep(HASHES)

    def _load(self) -> dict[Key, str]:
        """The hashes in the folder; none where the checksum shows any damage."""
        try:
            head, _, lines = self._folder.read(HASHES, HASHES_FILE, MAX_BYTES).partition(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._folder.note(HASHES, error)
            return {}
        if head.decode("utf-8", "replace") != f"{HEAD} {hashlib.sha256(lines).hexdigest()}":
            return {}
        try:
            return dict(_entry(line) for line in lines.decode().splitlines())
        except ValueError:  # another program wrote it
            return {}


def is_settled(time_ns: int, now_ns: int | None = None) -> bool:
    """Whether a file's time is so old that any later change of the file gets a later one."""
    return (time.time_ns() if now_ns is None else now_ns) - time_ns >= SETTLED_NS


def _entry(line: str) -> tuple[Key, str]:
    """The entry in a line. Raises ValueError."""
    device, inode, size, changed, status_changed, value = line.split(" ")
    if not SHA256.fullmatch(value):
        raise ValueError(f"'{value}' is no hash")
    return (int(device), int(inode), int(size), int(changed), int(status_changed)), value


def _key(descriptor: int) -> Key:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
