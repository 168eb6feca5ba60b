"""What the readers of packets, pages and chunks answer, and how far they go, the same for every container."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST_PIECES = 10_000_000
"""Pages, chunks or elements of one file: 55 h of sound, 20 ms each. To look at so many takes 20 to 40 s; a crafted file
of 8-byte chunks could have a billion."""


def pieces(alive: Callable[[], None], most: int = MOST_PIECES) -> Iterator[None]:
    """One for each piece that may still be looked at; `alive` is called before each."""
    for _ in range(most):
        alive()
        yield


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong with a file's framing, and what it tells of the stream that is wanted."""

    truncated: str = ""
    corrupt: str = ""
    pictures: int = 0
    """Starts of pictures, or of pieces of sound, with a time stamp; 0 where the container does not tell."""
