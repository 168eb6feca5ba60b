"""What a video has besides pictures and sounds, and what of it an output can keep."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from dhcli.jobs.formats import KEPT

TEXTS = frozenset({"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"})
"""Codecs of subtitles that are text; others are pictures, or need decoders for television."""
SUBTITLE_ENCODERS = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
MOST_SUBTITLES = 64
"""Tracks; a film has some 40 of them."""
MOST_CHAPTERS = 500
"""Ten times as many as a long podcast has. Listings keep 4000 lines, and each chapter takes three."""
TIMECODE = re.compile(r"(\d\d):[0-5]\d:[0-5]\d([:;.])(\d\d)")
DROP_RATES = (Fraction(30000, 1001), Fraction(60000, 1001))
"""Frame rates at which time codes leave numbers out, to keep in step with the clock."""


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A track of subtitles."""

    index: int
    """Stream of the file."""
    codec: str
    language: str
    """Three letters, as "eng"; "" where the file does not say."""

    @property
    def label(self) -> str:
        return f"{self.codec}, {self.language}" if self.language else self.codec


@dataclass(frozen=True, slots=True)
class Besides:
    """What a video has besides pictures and sounds, or what of it is kept."""

    subtitles: tuple[Subtitle, ...] = ()
    chapters: int = 0
    titled: bool = False
    timecode: str = ""
    """Of the first frame, as hh:mm:ss:ff; "" for none."""

    def __str__(self) -> str:
        """In words: "1 subtitle track, 3 chapters, a title"; "" for nothing."""
        counted = ((len(self.subtitles), "subtitle track"), (self.chapters, "chapter"))
        told = [f"{count} {what}{'s' if count > 1 else ''}" for count, what in counted if count]
        return ", ".join([*told, *["a title"] * self.titled, *["a time code"] * bool(self.timecode)])

    def __bool__(self) -> bool:
        return bool(self.subtitles or self.chapters or self.titled or self.timecode)


NOTHING = Besides()


@dataclass(frozen=True, slots=True)
class Keeping:
    """What an output is to keep of its video."""

    kept: Besides = NOTHING
    tags: bool = False
    """Whether its title, and other tags that name a work, are kept."""
    dropped: str = ""
    """What was wanted and cannot be kept, in words; "" for nothing."""


def wanted_kinds(text: str) -> frozenset[str]:
    """What the value of the option `keep` names, of `KEPT`."""
    if text in ("all", "none"):
        return frozenset(KEPT if text == "all" else ())
    return frozenset(text.split(","))


def keeping(besides: Besides, wanted: frozenset[str], fps: Fraction, *, as_filmed: bool) -> Keeping:
    """What an output at `fps` keeps of the kinds that are wanted. `as_filmed`: its frames are the video's, one for one.

    What is not wanted is not called dropped.
    """
    dropped = []
    subtitles = besides.subtitles if "subtitles" in wanted else ()
    texts = tuple(one for one in subtitles if one.codec in TEXTS)
    if len(texts) < len(subtitles):
        labels = "; ".join(one.label for one in subtitles if one.codec not in TEXTS)
        dropped.append(f"subtitles that are no text ({labels})")
    timecode = besides.timecode if "timecode" in wanted else ""
    if timecode and not (as_filmed and fits(timecode, fps)):
        why = "does not suit its frame rate" if as_filmed else "counts other frames than the output's"
        dropped.append(f"the time code ({timecode}, which {why})")
        timecode = ""
    chapters = min(besides.chapters, MOST_CHAPTERS) if "chapters" in wanted else 0
    tags = "tags" in wanted
    return Keeping(Besides(texts, chapters, besides.titled and tags, timecode), tags, ", ".join(dropped))


def fits(timecode: str, fps: Fraction) -> bool:
    """Whether a time code can be one of a video with this frame rate."""
    match = TIMECODE.fullmatch(timecode)
    return match is not None and int(match[3]) < fps and (match[2] == ":" or fps in DROP_RATES)
