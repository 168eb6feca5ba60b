"""Networks as ONNX Runtime rewrote them for this processor, kept from run to run: opening one takes half of the time.

What comes out of the rewriting fits one build of ONNX Runtime and one kind of processor (the layout of weights depends
on how wide its registers are), so that both are part of the key. What a graph is, and how it is made, is not known
here.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from dhcli.disk.store import Store, key_of

KIND = "graph"
MOST_BYTES = 64 << 20
"""Of a network. A larger one would be in memory three times while its graph is kept."""
MOST_SHARE = 1 / 16
"""Of the store's limit, for a network: graphs save a tenth of a second, what they would push out saves more."""
BLOCK_BYTES = 1 << 20
CPUINFO = Path("/proc/cpuinfo")
X86 = {"vendor_id", "cpu family", "model", "stepping", "flags"}
ARM = {"CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"}


class Graphs:
    """The rewritten networks in a store. For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def key(self, network: bytes, build: str) -> str:
        """The key of what this `build` of ONNX Runtime makes of a network here."""
        content = hashlib.sha256(network).hexdigest()
        return key_of({"network": content, "onnxruntime": build, "processor": processor()})

    def has_room_for(self, network: bytes) -> bool:
        """Whether what is made of a network is to be kept."""
        most = min(MOST_BYTES, self._store.limit_bytes * MOST_SHARE)
        return len(network) <= most and processor() is not None

    def get(self, key: str) -> bytes | None:
        """The rewritten network, where it is there and as it was written."""
        entry = self._store.get(KIND, key)
        if entry is None:
            return None
        with entry:
            try:
                return entry.body()
            except (EOFError, OSError):  # somebody cut it, or the disk does not give it: as good as absent
                return None

    def put(self, key: str, fd: int) -> None:
        """Keep the rewritten network that an open file holds, if the disk takes it."""
        self._store.put(KIND, key, b"", _blocks(fd), or_in_memory=False)


def _blocks(fd: int) -> Iterator[bytes]:
    at = 0
    while block := os.pread(fd, BLOCK_BYTES, at):
        yield block
        at += len(block)


@functools.cache
def processor() -> str | None:
    """What kind of processor this is and what it can do, as Linux tells it; None on other systems."""
    try:
        with CPUINFO.open(encoding="utf-8", errors="replace") as file:
            first = list(itertools.takewhile(str.strip, file))  # of hundreds, all alike
    except OSError:
        return None
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first)}
    return "; ".join(f"{name}: {told[name]}" for name in sorted((X86 | ARM) & told.keys())) or None
