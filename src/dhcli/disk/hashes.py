"""Hashes of files that were read before: a file with the same place, size and times is not read again.

The cache saves time and nothing else. Where it is missing, damaged or read-only, files are hashed as ever.
It knows nothing of jobs, and what a hash is good for is not known here.
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

HEAD = "dh-hashes 1"
MAX_FILES = 100_000
"""About 13 MB on the disk, read in 0.1 s; the files that were asked for longest ago are forgotten first."""
MAX_BYTES = 64 << 20
SHA256 = re.compile("[0-9a-f]{64}")
SETTLED_NS = 2_000_000_000
"""A younger file may change again within the same tick of its time stamps: FAT counts in 2 s, ext4 in up to 10 ms."""
SAVE_EVERY_S = 60.0
"""A killed run loses the hashes of so long; one save of the whole cache takes 0.2 s."""
WRITTEN_BYTES = 1 << 20
"""At once: a slow disk has to take so much within the limit of a call."""

Key: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, bytes, times of the last change of content and of status, ns. No `touch` can set the latter back."""


def cache_folder(wanted: Path | None = None) -> Path | None:
    """Where dh keeps what it can do without: `wanted`, DH_CACHE_DIR, the user's cache folder; None without a home."""
    if named := wanted or os.environ.get("DH_CACHE_DIR"):
        return Path(named)
    folder = platformdirs.user_cache_path("dh")
    return folder if folder.is_absolute() else None  # without a home it is a folder named ~ in the current one


class HashCache:
    """SHA-256 of open files. For one thread; several processes may share a folder."""

    def __init__(self, folder: Path | CacheFolder | None = None, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Without a folder the hashes are kept for the life of the process."""
        self._folder = CacheFolder.at(folder)
        self._clock_ns = clock_ns
        self._loaded: dict[Key, str] | None = None
        self._forgotten: set[Key] = set()
        self._unsaved = False
        self._saved_s = time.monotonic()

    def sha256(self, descriptor: int, compute: Callable[[], str], *, anew: bool = False) -> str:
        """The hash of an open file, by `compute` where the file is not known as it is now; `anew`: in any case."""
        if not anew and (found := self.known(descriptor)) is not None:
            return found
        key = _key(descriptor)
        found = compute()
        if _key(descriptor) == key and is_settled(max(key[3:]), self._clock_ns()):
            self._entries()[key] = found
            self._forgotten.discard(key)
            self._unsaved = True
            if time.monotonic() - self._saved_s > SAVE_EVERY_S:
                self.save()
        return found

    def known(self, descriptor: int) -> str | None:
        """The hash of an open file, where it is known as it is now."""
        entries, key = self._entries(), _key(descriptor)
        found = entries.pop(key, None)
        if found is not None:
            entries[key] = found  # at the end: the order is that of the last use
        return found

    def forget(self, descriptor: int) -> None:
        """The file is not what its times say: what is known of it is wrong, and so is what lies in the folder."""
        key = _key(descriptor)
        self._entries().pop(key, None)
        self._forgotten.add(key)
        self._unsaved = True

    def _entries(self) -> dict[Key, str]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def save(self) -> None:
        """Put what is new into the folder, together with what other processes put there meanwhile."""
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
        """Why something could not be kept, or read; said once in the life of the folder."""
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
        """What is in the folder; nothing where one bit of it is not as it was written."""
        try:
            head, _, lines = self._folder.read(HASHES, HASHES_FILE, MAX_BYTES).partition(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._folder.note(HASHES, error)
            return {}
        if head.decode("ascii", "replace") != f"{HEAD} {hashlib.sha256(lines).hexdigest()}":
            return {}
        try:
            return dict(_entry(line) for line in lines.decode("ascii").splitlines())
        except ValueError:  # somebody else wrote it
            return {}


def is_settled(time_ns: int, now_ns: int | None = None) -> bool:
    """Whether a file's time is so old that a later change has a later one."""
    return (time.time_ns() if now_ns is None else now_ns) - time_ns >= SETTLED_NS


def _entry(line: str) -> tuple[Key, str]:
    """What a line says. Raises ValueError where it says nothing."""
    device, inode, size, changed, status_changed, value = line.split(" ")
    if not SHA256.fullmatch(value):
        raise ValueError(f"'{value}' is no hash")
    return (int(device), int(inode), int(size), int(changed), int(status_changed)), value


def _key(descriptor: int) -> Key:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
