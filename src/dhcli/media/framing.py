"""What the readers of packets and pages answer, the same for every container."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong with a file's framing, and what it tells of the stream that is wanted."""

    truncated: str = ""
    corrupt: str = ""
    pictures: int = 0
    """Starts of pictures, or of pieces of sound, with a time stamp; 0 where the container does not tell."""
