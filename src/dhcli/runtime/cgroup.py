"""Memory limits of the control groups around this process, versions 1 and 2. At a limit the kernel kills silently."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60
"""Version 1 writes "no limit" as 2^63 rounded down to a page; no machine has this much."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A control group with a limit, and the memory in it that is no droppable cache."""

    folder: Path
    limit_bytes: int
    used_bytes: int

    @property
    def share(self) -> float:
        return self.used_bytes / self.limit_bytes


def memory_limit(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> MemoryLimit | None:
    """The group around this process that is nearest to its limit; None where there is no limit, or none is shown."""
    return max(_limits(membership, mount), key=lambda limit: limit.share, default=None)


def _limits(membership: Path, mount: Path) -> Iterator[MemoryLimit]:
    for root, path, names in _hierarchies(membership, mount):
        folder = root / path.lstrip("/")
        # In a container the path may be the host's and not be mounted: its own group is then the root.
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            # A group may vanish, and an outer one may be unreadable: the others still count.
            with contextlib.suppress(OSError, ValueError):
                limit = _number(group / names[0])
                if 0 < limit < NO_LIMIT:
                    yield MemoryLimit(group, limit, max(0, _number(group / names[1]) - _droppable(group)))


def _hierarchies(membership: Path, mount: Path) -> Iterator[tuple[Path, str, tuple[str, str]]]:
    """Root, path below it, and the names of limit and use, for each hierarchy that can limit memory."""
    try:
        lines = membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no /proc, or not Linux
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            yield mount, path, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            yield mount / "memory", path, ("memory.limit_in_bytes", "memory.usage_in_bytes")


def _number(file: Path) -> int:
    text = file.read_text(encoding="utf-8").strip()
    return NO_LIMIT if text == "max" else int(text)


def _droppable(group: Path) -> int:
    """Bytes of file cache. They count as used, and grow up to any limit, but the kernel drops them first."""
    stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    prefix = "total_" if "total_active_file" in stat else ""  # version 1 counts inner groups separately
    return int(stat[f"{prefix}active_file"]) + int(stat[f"{prefix}inactive_file"])
