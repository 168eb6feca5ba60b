"""Subtitles, chapters, time code and tags on their way from the video to the output.

They are read before the render, as text, and cut to what the output shows of the video. The encoder gets files in
memory that were written here, and so nothing of the video's own bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from dhcli.disk.memory import in_memory
from dhcli.media.besides import MOST_CHAPTERS, NOTHING, SUBTITLE_ENCODERS, TEXTS, Besides, Keeping, Subtitle
from dhcli.media.complaints import reason
from dhcli.media.ffmpeg import base_argv, beating, input_argv, lines_of, running
from dhcli.media.info import VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import CODECS, ChildLimits
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope

STAGE = "probe"
TEXT_BYTES = 4 << 20
"""Of each track; the subtitles of a film take 0.1 MB."""
TAG_CHARS, TAG_LINES = 2000, 40
"""Of a tag's value, which an output keeps; of a chapter's title the first line."""
TAGS = frozenset(
    {
        *("title", "artist", "author", "album", "album_artist", "composer", "performer", "publisher", "copyright"),
        *("description", "synopsis", "genre", "show", "episode_id", "season_number", "episode_sort", "network"),
        *("track", "disc", "date", "year", "keywords", "grouping", "language"),
    }
)
"""Tags that name a work. All others are left out: places, devices, owners, identifiers, programs."""
CUE = re.compile(r"^\d+\n(\d+):(\d\d):(\d\d),(\d{3}) --> (\d+):(\d\d):(\d\d),(\d{3})[^\n]*\n", re.MULTILINE)
SECTION = re.compile(r"^\[(\w+)\]$")


@dataclass(frozen=True, slots=True)
class Chapter:
    """Of the output, in ms."""

    start: int
    end: int
    title: str
    """As a file of metadata has it, with its escapes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the output keeps, in the form that the encoder takes."""

    words: str = ""
    """Tags and chapters, as a file of metadata; "" for none."""
    subtitles: tuple[tuple[Subtitle, str], ...] = ()
    """Tracks, each with its SubRip text."""
    has: Besides = NOTHING
    """What is in it."""


def read_kept(scope: Scope, file: InputFile, info: VideoInfo, keeping: Keeping, duration: Fraction) -> tuple[Kept, str]:
    """What an output keeps that shows the video for `duration` s from its beginning, and what could not be read.

    Raises DhError env.*; Stopped.
    """
    kept, lost = keeping.kept, []
    if not (kept or keeping.tags):
        return Kept(), ""
    tracks, words, why = _read(scope, file, kept.subtitles)
    if why:
        lost.append(f"what cannot be read of it ({why})")
    late = info.pts[0] * info.time_base if len(info.pts) else Fraction(0)  # of the first frame against the file's zero
    cues = [(track, _cut_cues(text, late, duration)) for track, text in zip(kept.subtitles, tracks, strict=True)]
    spoken = tuple((track, text) for track, text in cues if text)
    tags, marks = _parse(words)
    chapters = _cut_chapters(marks, late, duration) if kept.chapters else []
    tags = tags if keeping.tags else {}
    has = Besides(tuple(track for track, _ in spoken), len(chapters), "title" in tags, kept.timecode)
    return Kept(_metadata(tags, chapters), spoken, has), ", ".join(lost)


def _read(scope: Scope, file: InputFile, subtitles: tuple[Subtitle, ...]) -> tuple[list[str], str, str]:
    """The SubRip text of each track, the file's metadata, and why something could not be read, "" where it could."""
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(in_memory()) for _ in range(len(subtitles) + 1)]
        whitelist = f"{CODECS},{','.join(sorted(TEXTS))}"
        argv = [*base_argv(), *input_argv(file, "-codec_whitelist", whitelist), "-y", "-progress", "pipe:1"]
        argv += ["-f", "ffmetadata", f"pipe:{outputs[0]}"]
        for track, output in zip(subtitles, outputs[1:], strict=True):
            argv += ["-map", f"0:{track.index}", "-c:s", "subrip", "-f", "srt", f"pipe:{output}"]
        limits, command = ChildLimits(file_bytes=TEXT_BYTES), Command(argv, (*file.pass_fds, *outputs))
        with running(scope, STAGE, command, limits) as child:
            for _ in beating(scope, STAGE, lines_of(child)):
                pass
            code = child.wait()
            scope.check()
            why = reason(child.tail()) or f"ffmpeg ended with {code}" if code else ""
        words, *tracks = (os.pread(output, TEXT_BYTES, 0).decode("utf-8", "replace") for output in outputs)
    return tracks, words, why


def _cut_cues(text: str, late: Fraction, duration: Fraction) -> str:
    """The SubRip text of what is shown during the first `duration` s; times become `late` s earlier."""
    shift, last = round(late * 1000), int(duration * 1000)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = list(CUE.finditer(text))
    ends = [*(cue.start() for cue in found[1:]), len(text)]
    cut: list[str] = []
    for cue, end_of_text in zip(found, ends, strict=False):
        words = text[cue.end() : end_of_text].strip("\n")
        start, end = (_milliseconds(cue.groups()[part : part + 4]) - shift for part in (0, 4))
        start, end = max(0, start), min(last, end)
        if words.strip() and start < end:
            cut.append(f"{len(cut) + 1}\n{_clock(start)} --> {_clock(end)}\n{words}\n")
    return "\n".join(cut)


def _milliseconds(parts: tuple[str, ...]) -> int:
    hours, minutes, seconds, thousandths = map(int, parts)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths


def _clock(milliseconds: int) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{thousandths:03d}"


def _parse(words: str) -> tuple[dict[str, str], list[tuple[Fraction, Fraction, str]]]:
    """Tags to keep, and chapters in s, of a file of metadata. Values keep their escapes."""
    tags: dict[str, str] = {}
    chapters: list[tuple[Fraction, Fraction, str]] = []
    entries: dict[str, str] = tags
    sections: list[tuple[str, dict[str, str]]] = [("", tags)]
    for line in _logical_lines(words):
        if match := SECTION.match(line):
            entries = {}
            sections.append((match[1], entries))
            continue
        key, _, value = line.partition("=")
        entries.setdefault(key.lower(), value)
    for name, entries in sections[1:]:
        if name == "CHAPTER":
            base = Fraction(entries.get("timebase") or 1)
            start, end = (int(entries.get(key) or 0) * base for key in ("start", "end"))
            chapters.append((start, end, _short(entries.get("title", ""), 1)))
    named = {key: _short(value, TAG_LINES) for key, value in tags.items() if key in TAGS}
    return {key: value for key, value in named.items() if value}, chapters


def _short(value: str, lines: int) -> str:
    """The beginning of a value with its escapes; none of them is cut in two."""
    return "\n".join(value[:TAG_CHARS].split("\n")[:lines]).rstrip("\\")


def _logical_lines(words: str) -> Iterator[str]:
    """Lines; one whose end is escaped goes on in the next one."""
    begun = ""
    for line in words.split("\n")[1:]:  # the first one names the format
        begun += line
        if (len(line) - len(line.rstrip("\\"))) % 2:
            begun += "\n"
        else:
            yield begun
            begun = ""


def _cut_chapters(chapters: list[tuple[Fraction, Fraction, str]], late: Fraction, duration: Fraction) -> list[Chapter]:
    last = int(duration * 1000)
    cut = (
        Chapter(max(0, round((start - late) * 1000)), min(last, round((end - late) * 1000)), title)
        for start, end, title in chapters
    )
    return [one for one in cut if one.start < one.end][:MOST_CHAPTERS]


def _metadata(tags: dict[str, str], chapters: list[Chapter]) -> str:
    if not (tags or chapters):
        return ""
    lines = [";FFMETADATA1", *(f"{key}={value}" for key, value in tags.items())]
    for one in chapters:
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={one.start}", f"END={one.end}", f"title={one.title}"]
    return "\n".join([*lines, ""])


class KeptFiles:
    """What is kept, as files in memory, and the encoder's options for it. A child that was started has its own hold."""

    def __init__(self, kept: Kept, ending: str) -> None:
        """`ending` is the output's: what container it is."""
        self._kept, self._ending = kept, ending
        self._stack = contextlib.ExitStack()
        texts = [kept.words] if kept.words else []
        texts += [text for _, text in kept.subtitles]
        self.fds = tuple(self._stack.enter_context(in_memory(text.encode())) for text in texts)

    def argv(self, first: int) -> tuple[list[str], list[str]]:
        """Input and output options; `first` is the number of the first of these inputs."""
        inputs: list[str] = []
        form = ["-f", "ffmetadata"] if self._kept.words else ["-f", "srt"]
        for fd in self.fds:
            inputs += ["-protocol_whitelist", "pipe", *form, "-i", f"pipe:{fd}"]
            form = ["-f", "srt"]
        # Not -1 for all: chapters would lose their titles.
        has_words = bool(self._kept.words)
        words = str(first) if has_words else "-1"
        outputs = ["-map_metadata", words, "-map_metadata:s", "-1", "-map_chapters", words]
        for at, (track, _) in enumerate(self._kept.subtitles):
            outputs += ["-map", f"{first + has_words + at}:s:0"]
            if track.language:
                outputs += [f"-metadata:s:s:{at}", f"language={track.language}"]
        outputs += ["-c:s", SUBTITLE_ENCODERS[self._ending]] if self._kept.subtitles else []
        outputs += ["-metadata:s:v:0", f"timecode={self._kept.has.timecode}"] if self._kept.has.timecode else []
        return inputs, outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
