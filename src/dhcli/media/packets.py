"""The exact time stamps of a stream, from ffmpeg's framecrc listing of its packets or its decoded frames."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from dhcli.media.rate import I64

KEY, CORRUPT, DISCARD = 1, 2, 4
NO_PTS = "NOPTS"


@dataclass(slots=True)
class Timeline:
    """The packets of one stream, in the order of the file. Times are in units of `time_base` s."""

    time_base: Fraction = Fraction(1)
    codec: str = ""
    size: tuple[int, int] | None = None
    pts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    corrupt: int = 0
    """Packets that are cut, by what the container says."""
    untimed: int = 0
    first_key: int | None = None
    keys: array[int] = field(default_factory=lambda: array("q"))
    """Time stamps of the key frames, in the order of the file."""
    before_key: int = 0
    """Packets before the first key frame, which no decoder can show."""

    @property
    def packets(self) -> int:
        """How many there are."""
        return len(self.pts) + self.untimed

    @property
    def times(self) -> I64:
        """The time stamps, ascending."""
        return np.sort(np.frombuffer(self.pts, np.int64)) if len(self.pts) else np.empty(0, np.int64)

    @property
    def packets_are_frames(self) -> bool:
        """Each packet is one frame for certain: no leading pictures, no second fields, no time stamp missing."""
        if self.untimed or self.before_key or self.first_key is None:
            return False
        times = self.times
        return bool(times[0] >= self.first_key and (np.diff(times) > 0).all())

    @property
    def total(self) -> int:
        """The sum of all durations."""
        return sum(self.durations)

    def end(self) -> int:
        """The end of the last frame; its start where the file gives no duration."""
        last = int(np.argmax(np.frombuffer(self.pts, np.int64)))
        return self.pts[last] + self.durations[last]

    def add(self, pts: str, duration: str, flags: int) -> None:
        if flags & CORRUPT:
            self.corrupt += 1
        if flags & DISCARD:  # cut away by an edit list: decoded for its successors, never shown
            self.first_key = self.first_key if self.first_key is not None or not flags & KEY else -(1 << 62)
            return
        if pts == NO_PTS:
            self.untimed += 1
            return
        if self.first_key is None:
            if flags & KEY:
                self.first_key = int(pts)
            else:
                self.before_key += 1
        if flags & KEY:
            self.keys.append(int(pts))
        self.pts.append(int(pts))
        self.durations.append(int(duration))


def one_picture() -> Timeline:
    """The timeline of a single picture."""
    timeline = Timeline()
    timeline.add("0", "1", KEY)
    return timeline


def read_timelines(lines: Iterable[str], streams: int) -> list[Timeline]:
    """Parse the listing of `streams` streams, line by line as it comes; keeps 16 bytes a packet, 24 of a key frame."""
    timelines = [Timeline() for _ in range(streams)]
    for line in lines:
        if line.startswith("#"):
            _header(line, timelines)
            continue
        parts = line.split(",")
        if len(parts) < 6:
            continue
        mark = parts[6].strip() if len(parts) > 6 else ""  # absent where the packet is just a key frame
        flags = int(mark.removeprefix("F="), 0) if mark.startswith("F=") else KEY
        timelines[int(parts[0])].add(parts[2].strip(), parts[3].strip(), flags)
    return timelines


def _header(line: str, timelines: list[Timeline]) -> None:
    name, _, value = line[1:].partition(":")
    key, _, index = name.partition(" ")
    if not index.isdigit():
        return
    timeline = timelines[int(index)]
    if key == "tb":
        timeline.time_base = Fraction(value.strip())
    elif key == "codec_id":
        timeline.codec = value.strip()
    elif key == "dimensions":
        width, _, height = value.strip().partition("x")
        timeline.size = (int(width), int(height))
