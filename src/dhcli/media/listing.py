"""Parses what ffmpeg says about an input: container, streams, and the properties of the first decoded picture.

The patterns are anchored at the start of a line, so that a file's metadata cannot be taken for one of ffmpeg's lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from dhcli.media.besides import MOST_SUBTITLES, NOTHING, Besides, Subtitle
from dhcli.types import Colour

INPUT = re.compile(r"^\[info\] Input #0, (.+), from '")
DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d\.\d+)(?:, start: (-?[\d.]+))?")
STREAM = re.compile(r"^\[info\] +Stream #0:(\d+)(?:\[(\w+)\])?(?:\(([^)]*)\))?: (\w+): (.*)$")
GROUP = re.compile(r"^\[info\] +Stream group #0:(\d+)(?:\[\w+\])?(?:\([^)]*\))?: Tile Grid: (.*)$")
BRAND = re.compile(r"^\[info\] +major_brand +: (?:avi[fs]|he[iv][cxms]|m[si]f1|miaf)$")
"""Of HEIF files: pictures as items of a list, which ffmpeg shows as streams of one frame, and moving ones as tracks."""
ITEM = re.compile(r", 1 fps, 1 tbr, 1 tbn")
SIZE = re.compile(r", (\d+)x(\d+)[, ]|, (\d+)x(\d+)$")
CHAPTER = re.compile(r"^\[info\]     Chapter #0:\d+: start ")
TITLE = re.compile(r"^\[info\]     title +: ")
"""Of the whole file: the titles of streams and chapters stand farther right."""
TIMECODE = re.compile(r"^\[info\] +timecode +: (\d\S{0,30})", re.IGNORECASE)  # Matroska's are in capitals
RATE = re.compile(r", ([\d.]+)(k?) (fps|tbr)")
SHOWN = re.compile(
    r"\[Parsed_showinfo_\d+ @ \w+\] (?:\[info\] )?n: *0 .* fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(.)"
)
COLOURS = re.compile(r"color_range:(\S+) color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)")
MATRIX = re.compile(r"^\[info\] +Display Matrix: rotation of (-?[\d.]+) degrees", re.IGNORECASE)
SOUND = re.compile(r", (\d+) Hz, ([^,]+)")
FIELDS = re.compile(r"\b(?:top|bottom) (?:first|coded first)")


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of an input."""

    index: int
    kind: str
    """video, audio, subtitle, data, attachment"""
    codec: str
    text: str
    attached: bool = False
    """A cover picture: a still image in a sound file, which is no video."""
    default: bool = False
    rotation: int = 0
    """Degrees counterclockwise by which the picture is to be turned, 0..359."""
    pid: int | None = None
    """The number of its packets in an MPEG stream."""
    alpha: bool = False
    """VP8 and VP9 carry transparency beside the picture; the pixel format does not show it."""
    language: str = ""
    """Three letters, as "eng"; "" where the file does not say."""
    tiled: bool = False
    """A picture made of tiles: `index` counts ffmpeg's groups of streams."""

    @property
    def specifier(self) -> str:
        """The name that ffmpeg gives it."""
        return f"0:g:{self.index}" if self.tiled else f"0:{self.index}"

    @property
    def size(self) -> tuple[int, int] | None:
        """Coded width and height, px."""
        match = SIZE.search(self.text)
        if not match:
            return None
        width, height = (int(side) for side in match.groups() if side is not None)
        return width, height

    @property
    def upright_size(self) -> tuple[int, int] | None:
        """The same, turned as the picture is to be."""
        return self.size[::-1] if self.size is not None and self.rotation % 180 else self.size

    @property
    def rates(self) -> tuple[float, ...]:
        """The frame rates in the header, rounded to two decimals: average, then base rate."""
        return tuple(float(rate) * (1000 if kilo else 1) for rate, kilo, _ in RATE.findall(self.text))

    @property
    def sample_rate(self) -> int:
        match = SOUND.search(self.text)
        return int(match[1]) if match else 0

    @property
    def channels(self) -> int:
        """1 for mono, 6 for 5.1; 0 where the header does not say."""
        match = SOUND.search(self.text)
        return _channels(match[2]) if match else 0


@dataclass(frozen=True, slots=True)
class Listing:
    """An input as its container describes it."""

    container: str
    duration: Fraction | None
    """As the header says, s, to 10 ms; of the longest stream."""
    estimated: bool
    """The duration is a guess from the size of the file."""
    streams: tuple[Stream, ...]
    start: Fraction = Fraction(0)
    """The first time stamp of all, s; ffmpeg takes it off every other one."""
    is_heif: bool = False
    """A file of pictures, as HEIC and AVIF."""
    besides: Besides = NOTHING

    def of_kind(self, kind: str) -> tuple[Stream, ...]:
        """The streams of a kind, without cover pictures, the container's default stream first.

        A moving picture has a still one beside it, for programs that show only those.
        """
        streams = [stream for stream in self.streams if stream.kind == kind and not stream.attached]
        moving = [stream for stream in streams if not stream.tiled and not ITEM.search(stream.text)]
        if self.is_heif and kind == "video" and moving:
            streams = moving
        if self.container == "ico":
            streams.sort(key=lambda stream: stream.size or (0, 0), reverse=True)
        return tuple(sorted(streams, key=lambda stream: not stream.default))

    @property
    def summary(self) -> str:
        """The streams in words: "1 video h264, 2 audio aac"."""
        names: dict[str, int] = {}
        for stream in self.streams:
            name = f"{'cover picture' if stream.attached else stream.kind} {stream.codec}".strip()
            names[name] = names.get(name, 0) + 1
        return ", ".join(f"{count} {name}" for name, count in names.items()) or "none"


@dataclass(frozen=True, slots=True)
class Picture:
    """The first decoded picture of a stream, turned upright."""

    pix_fmt: str
    width: int
    height: int
    sar: Fraction
    fields: bool
    colour: Colour


def parse_listing(lines: Iterable[str]) -> Listing | None:
    """The input's description, or None where ffmpeg could not open it."""
    container, duration, start, estimated, is_heif = "", None, Fraction(0), False, False
    streams: list[dict[str, object]] = []
    chapters, titled, timecode = 0, False, ""
    for line in lines:
        if match := INPUT.match(line):
            container = match[1]
        elif match := DURATION.match(line):
            duration = int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])
            start = Fraction(match[4] or 0)
        elif match := STREAM.match(line):
            language = {"language": (match[3] or "").lower()}
            streams.append(_stream(int(match[1]), match[2], match[4].lower(), match[5]) | language)
        elif match := GROUP.match(line):
            streams.append(_stream(int(match[1]), None, "video", match[2]) | {"tiled": True})
        elif not streams and BRAND.match(line):
            is_heif = True
        elif streams and (match := MATRIX.match(line)):
            streams[-1]["rotation"] = round(float(match[1])) % 360
        elif streams and re.match(r"^\[info\] +alpha_mode +: 1$", line, re.IGNORECASE):
            streams[-1]["alpha"] = True
        elif CHAPTER.match(line):
            chapters += 1
        elif not streams and not chapters and TITLE.match(line):
            titled = True
        elif not timecode and (match := TIMECODE.match(line)):
            timecode = match[1]
        elif "Estimating duration from bitrate" in line:
            estimated = True
    if not container:
        return None
    made = tuple(Stream(**fields) for fields in streams)  # type: ignore[arg-type]
    subtitles = tuple(Subtitle(one.index, one.codec, one.language) for one in made if one.kind == "subtitle")
    besides = Besides(subtitles[:MOST_SUBTITLES], chapters, titled, timecode)
    return Listing(container, duration, estimated, made, start, is_heif, besides)


def parse_picture(lines: Iterable[str]) -> Picture | None:
    """The first picture as the showinfo filter describes it, or None where none was decoded."""
    shown = None
    for line in lines:
        if shown is None:
            shown = SHOWN.search(line)
        elif match := COLOURS.search(line):
            return _picture(shown, Colour(*match.groups()))
    return _picture(shown, Colour()) if shown else None


def _picture(shown: re.Match[str], colour: Colour) -> Picture:
    pix_fmt, sar_num, sar_den, width, height, fields = shown.groups()
    sar = Fraction(int(sar_num), int(sar_den)) if int(sar_num) and int(sar_den) else Fraction(1)
    return Picture(pix_fmt, int(width), int(height), sar, fields in "TB", colour)


def _stream(index: int, ident: str | None, kind: str, text: str) -> dict[str, object]:
    return {
        "index": index,
        "kind": kind,
        "pid": int(ident, 16) if ident is not None else None,
        "codec": re.split(r"[ ,(]", text, maxsplit=1)[0],
        "text": text,
        "attached": "(attached pic)" in text or "(timed thumbnails)" in text,
        "default": "(default)" in text,
    }


def _channels(layout: str) -> int:
    named = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8, "hexadecagonal": 16}
    name = layout.split("(", maxsplit=1)[0].strip()
    if name in named:
        return named[name]
    if match := re.match(r"(\d+) channels", name):
        return int(match[1])
    return sum(int(part) for part in re.findall(r"\d+", name))
