"""What an output keeps of its video besides pictures: subtitles, chapters, time code, tags; and what it must not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.jobs.formats import KEPT, parse_keep
from dhcli.media.besides import Besides, Subtitle, fits, keeping, wanted_kinds
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.input_file import InputFile
from dhcli.media.kept import Kept, read_kept
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.sound_track import Sound
from dhcli.media.verify import Expected, verify_output
from dhcli.media.writer import Encoding, VideoWriter
from dhcli.runtime.scope import Scope
from dhcli.types import Frame, FrameFormat

Make = Callable[..., Path]
SUBTITLES = """1
00:00:00,100 --> 00:00:00,400
hello <i>you</i>

2
00:00:00,600 --> 00:00:09,000
over
the end

3
00:00:05,000 --> 00:00:06,000
never shown
"""
WORDS = """;FFMETADATA1
title=A \\= talk\\; really\\
long
artist=Anna
location=+48.1+011.5/
make=Phone
com.apple.quicktime.model=Phone 9
creation_time=2024-01-01T00:00:00Z
comment=mine
[CHAPTER]
TIMEBASE=1/1000
START=0
END=500
title=one \\# two
[CHAPTER]
TIMEBASE=1/1000
START=500
END=4000
title=three
[CHAPTER]
TIMEBASE=1/1000
START=4000
END=8000
title=later
"""
ALL = frozenset(KEPT)
FRAMES = 20


@pytest.fixture
def full(make: Make, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of video with two tracks of subtitles, three chapters, a time code, and tags of all kinds."""
    folder = tmp_path_factory.getbasetemp()
    words, cues = folder / "words.txt", folder / "cues.srt"
    words.write_text(WORDS)
    cues.write_text(SUBTITLES)
    tags = ("-map_metadata", "2", "-map_chapters", "2", "-timecode", "01:02:03:04")
    maps = ("-map", "0", "-map", "1", "-map", "1", *tags, "-c", "copy", "-c:s", "mov_text")
    languages = ("-metadata:s:s:0", "language=ger", "-metadata:s:s:1", "language=eng")
    inputs = ("-i", clip, "-i", cues, "-f", "ffmetadata", "-i", words)
    return make("full.mp4", *inputs, *maps, *languages, "-movflags", "use_metadata_tags")


def kept_of(scope: Scope, path: Path, wanted: frozenset[str], duration: str = "0.8") -> Kept:
    with InputFile(path, "video") as file:
        info = probe_video(scope, file)
        asked = keeping(info.besides, wanted, info.fps, as_filmed=True)
        assert asked.dropped == ""
        kept, lost = read_kept(scope, file, info, asked, Fraction(duration))
        assert lost == ""
        return kept


def listed(path: Path) -> str:
    argv = [find_ffmpeg(), "-hide_banner", "-i", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_an_output_has_what_its_video_has(scope: Scope, full: Path, tmp_path: Path, ending: str) -> None:
    kept, path = kept_of(scope, full, ALL), tmp_path / f"o{ending}"
    fmt = FrameFormat(96, 64, Fraction(25))
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    encoder = "libvpx-vp9" if ending == ".webm" else "libx264"
    with InputFile(full, "audio") as file:
        sound = Sound(file, probe_audio(scope, file), duration=FRAMES / fmt.fps, ending=ending)
        with VideoWriter(scope, path, fd, fmt, Encoding(encoder, ending=ending), sound, kept=kept) as writer:
            for index in range(FRAMES):
                writer.write(Frame(index, np.full((96, 96), 90, np.uint8)))
            writer.finish()
    os.close(fd)
    expected = Expected(fmt, FRAMES, FRAMES / fmt.fps, encoder, has=kept.has)
    verify_output(scope, path, expected)
    with InputFile(path, "video") as file:
        found = probe_video(scope, file).besides
    assert str(found) == "2 subtitle tracks, 2 chapters, a title, a time code"
    assert [one.language for one in found.subtitles] == ["ger", "eng"]
    assert found.timecode == "01:02:03:04"
    text = listed(path)
    for there in ("A = talk; really", "long", "one # two", "three", "end 0.500000", "end 0.800000", "Anna"):
        assert there in text
    for gone in ("+48", "Phone", "2024", "mine", "later"):
        assert gone not in text
    cues = subprocess.run(
        [find_ffmpeg(), "-v", "error", "-i", str(path), "-map", "0:s:1", "-f", "srt", "-"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert "00:00:00,600 --> 00:00:00,800\nover\nthe end" in cues
    assert "hello" in cues
    assert "never" not in cues
    with pytest.raises(DhError, match="besides pictures and sound it has") as error:
        verify_output(scope, path, Expected(fmt, FRAMES, FRAMES / fmt.fps, encoder, has=Besides(chapters=3)))
    assert error.value.code == "output.mismatch"


def test_only_what_is_wanted_is_kept(scope: Scope, full: Path) -> None:
    assert str(kept_of(scope, full, frozenset({"chapters"})).has) == "2 chapters"
    assert "title=A" not in kept_of(scope, full, frozenset({"chapters"})).words
    assert str(kept_of(scope, full, frozenset({"tags"})).has) == "a title"
    assert str(kept_of(scope, full, frozenset({"timecode"})).has) == "a time code"
    assert kept_of(scope, full, frozenset()) == Kept()
    assert str(kept_of(scope, full, frozenset({"subtitles"}), "0.1").has) == "", "the first one begins then"


def test_many_chapters_and_long_tags_are_cut(scope: Scope, make: Make, clip: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    marks = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={at}\nEND={at + 1}\ntitle=a\\\nb\n" for at in range(600))
    lines = "y\\\n" * 99
    words.write_text(f";FFMETADATA1\ntitle={'z' * 5000}\ndescription={lines}end\n{marks}")
    full = make("many.mkv", "-i", clip, "-f", "ffmetadata", "-i", words, "-map_metadata", "1", "-c", "copy")
    kept = kept_of(scope, full, ALL)
    assert kept.has.chapters == 500
    assert "title=a\n[" in kept.words
    assert kept.words.count("y\\\n") == 39
    assert kept.words.count("z") == 2000


@pytest.mark.parametrize(
    ("timecode", "fps", "suits"),
    [
        ("01:00:00:00", "25", True),
        ("01:00:00:24", "25", True),
        ("01:00:00:25", "25", False),
        ("01:00:00;28", "30000/1001", True),
        ("01:00:00;00", "25", False),
        ("01:00:61:00", "25", False),
        ("1", "25", False),
    ],
)
def test_a_time_code_suits_its_rate(timecode: str, fps: str, suits: bool) -> None:
    assert fits(timecode, Fraction(fps)) == suits


def test_what_cannot_be_kept_is_named() -> None:
    besides = Besides((Subtitle(2, "dvd_subtitle", "ger"), Subtitle(3, "subrip", "")), 0, True, "01:00:00:00")
    got = keeping(besides, ALL, Fraction(30), as_filmed=False)
    assert got.dropped == (
        "subtitles that are no text (dvd_subtitle, ger), "
        "the time code (01:00:00:00, which counts other frames than the output's)"
    )
    assert str(got.kept) == "1 subtitle track, a title"
    assert not keeping(besides, frozenset(), Fraction(30), as_filmed=False).dropped, "not wanted is not dropped"


def test_spellings_of_keep() -> None:
    assert parse_keep("tags , subtitles") == "subtitles,tags"
    assert wanted_kinds(parse_keep("all")) == ALL
    assert wanted_kinds(parse_keep("none")) == frozenset()
    for wrong in ("", "title", "tags,", "tags,tags", "all,tags", "Tags"):
        with pytest.raises(ValueError, match="all, none, or some of"):
            parse_keep(wrong)
