"""Files of the cache: open ones, and new ones until they have their names."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from dhcli.disk.patience import Ask


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file of the cache."""

    ask: Ask
    fd: int | None
    """None where `begin` has the whole file."""
    size: int
    begin: bytes
    """Its first bytes."""

    def read(self, count: int, at: int) -> bytes:
        """`count` bytes from byte `at` on. Raises OSError."""
        fd = self.fd
        return b"" if fd is None else self.ask(lambda: os.pread(fd, count, at))

    def close(self) -> None:
        """Close the file."""
        fd = self.fd
        if fd is not None:
            with contextlib.suppress(OSError):  # nothing is lost: the file was only read
                self.ask(lambda: os.close(fd))


class NewFile:
    """An unfinished file of the cache. It has a temporary name until `put`; without that `close` removes it."""

    def __init__(self, ask: Ask, folder: int, name: str) -> None:
        """`name` is the temporary one. Takes over `folder`, the section's open folder. Raises OSError."""
        self._ask, self._folder, self._name = ask, folder, name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(name, flags, 0o600, dir_fd=folder)
        self._is_named = False

    def write(self, data: bytes) -> None:
        """Append. Raises OSError."""
        self._ask(lambda: self._write(memoryview(data)))

    def _write(self, left: memoryview) -> None:
        while left:
            left = left[os.write(self._fd, left) :]

    def overwrite(self, at: int, data: bytes) -> None:
        """Write at byte `at`. Raises OSError."""
        self._ask(lambda: os.pwrite(self._fd, data, at))

    def put(self, name: str) -> None:
        """Give the file its name, in place of a file that has it. Raises OSError."""
        self._ask(lambda: os.replace(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder))
        self._is_named = True

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # writing reports its own errors; a file that is left is swept up later
            self._ask(self._close)

    def _close(self) -> None:
        try:
            os.close(self._fd)
            if not self._is_named:
                os.unlink(self._name, dir_fd=self._folder)
        finally:
            os.close(self._folder)
