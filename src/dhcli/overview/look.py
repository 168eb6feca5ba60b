"""The pictures of the page: read from the finished videos, coded as JPEG within the bytes that the page may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dhcli.errors import DhError
from dhcli.overview.collect import Entry
from dhcli.render.face_finder import FaceFinder
from dhcli.results.result import JobResult
from dhcli.runtime.scope import Scope, Stopped
from dhcli.sheets.crop import Tile, jpeg, stacked
from dhcli.sheets.mouths import Seen, see
from dhcli.sheets.source import source_of, unlike

TILE = Tile(184, 150)
MOST_JOB_BYTES = 64_000
"""Of pictures for one job, before base64: five pairs of a sharp 184-px tile take 40 kB."""
MOST_PAGE_BYTES = 20_000_000
"""Of all pictures; base64 makes 27 MB of them, and 500 jobs have 1.5 MB of text."""
QUALITIES = (84, 76, 66, 54, 42, 30)
VIDEO_S = 30.0
"""Longest time for one video: a disk that hangs, or a video that is hard to decode, must not hold up the others."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An original mouth above the rendered one, as JPEG."""

    jpeg: bytes
    time_s: float
    opening: float
    has_original: bool


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the page shows of one finished video."""

    seen: Seen | None = None
    small: bytes = b""
    pairs: tuple[Pair, ...] = ()
    trouble: str = ""
    """Why there are none; "" where all is well."""


OnVideo: TypeAlias = Callable[[int, int], None]
"""Told how many videos are done, and of how many."""


class Looker:
    """Looks at finished videos, one after another, until it is told to stop."""

    def __init__(self, finder: Callable[[], FaceFinder], on_beat: Callable[[], None] = lambda: None) -> None:
        """`on_beat` is called at every step, from any thread."""
        self._finder, self._on_beat = finder, on_beat
        self._scope: Scope | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Look at no more videos. From any thread."""
        self._cancelled = True
        scope = self._scope
        if scope is not None:
            scope.fail(DhError("job.cancelled", "A signal ended the look at the videos."), "look")

    def look(self, entries: Iterable[Entry], on_video: OnVideo = lambda *_: None) -> dict[Path, Pictures]:
        """The pictures of all entries that have an output, by result file."""
        wanted = [one for one in entries if one.result is not None and one.result.output is not None]
        most = min(MOST_JOB_BYTES, MOST_PAGE_BYTES // max(1, len(wanted)))
        pictures: dict[Path, Pictures] = {}
        for number, entry in enumerate(wanted):
            on_video(number, len(wanted))
            assert entry.result is not None
            pictures[entry.result_path] = self._pictures(entry.result, most)
        on_video(len(wanted), len(wanted))
        return pictures

    def _pictures(self, result: JobResult, most_bytes: int) -> Pictures:
        assert result.output is not None
        if trouble := unlike(result.output):
            return Pictures(trouble=trouble)
        if self._cancelled:
            return Pictures(trouble="The page was finished before this video was looked at.")
        try:
            with Scope(timeout_s=VIDEO_S, on_beat=self._on_beat) as self._scope:
                return _coded(self._seen(self._scope, result), most_bytes)
        except DhError as error:
            return Pictures(trouble=f"The video could not be looked at: {error.message}")
        finally:
            self._scope = None

    def _seen(self, scope: Scope, result: JobResult) -> Seen:
        assert result.output is not None
        try:
            return see(scope, self._finder(), Path(result.output.path), source_of(result), TILE)
        except Stopped:
            if scope.error is None:
                raise
            raise scope.error from None


def _coded(seen: Seen, most_bytes: int) -> Pictures:
    """At the best quality at which all pictures fit; where none does, with fewer mouths, the outer ones last."""
    small, pairs = b"", list[Pair]()
    for quality in QUALITIES:
        small = jpeg(seen.small, quality)
        pairs = [
            Pair(jpeg(stacked(one.original, one.rendered), quality), one.time_s, one.opening, one.original is not None)
            for one in seen.mouths
        ]
        if _bytes(small, pairs) <= most_bytes:
            break
    while pairs and _bytes(small, pairs) > most_bytes:
        del pairs[len(pairs) // 2]
    return Pictures(seen, small if len(small) <= most_bytes else b"", tuple(pairs))


def _bytes(small: bytes, pairs: Iterable[Pair]) -> int:
    return len(small) + sum(len(one.jpeg) for one in pairs)
