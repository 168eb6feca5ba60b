"""What the scans of all containers have in common: their result, and a bound on their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_STEPS = 10_000_000
"""Pages or chunks of one file: 55 h of sound, 20 ms each. Scanning so many takes 20 to 40 s; a crafted file of 8-byte
chunks could have a billion."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Damage in a container, "" where there is none, and what the container says of the wanted stream."""

    truncated: str = ""
    corrupt: str = ""
    pictures: int = 0
    """Starts of pictures, or of packets of sound, with a time stamp; 0 where the container does not mark them."""


def steps(alive: Callable[[], None], most: int = MAX_STEPS) -> Iterator[None]:
    """Count the steps of a scan: yields at most `most` times, and calls `alive` before each."""
    for _ in range(most):
        alive()
        yield
