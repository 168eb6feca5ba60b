"""What ffmpeg's lines on stderr mean: which are complaints, about what, and which of them tell of damage.

The messages are stable, other than exit codes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dhcli.media.input_limits import CODECS

DAMAGE = re.compile(
    r"corrupt|truncat|partial file|premature|error while decoding|concealing|invalid nal|damaged|overread"
    r"|crc mismatch|crc error|bytestream end|invalid data found|submitting packet to decoder"
    r"|missing picture in access unit|received no packets|bad vlc|error y=\d+ x=|no jpeg data"
    r"|sample/frame number mismatch|filesize and duration do not match",
    re.IGNORECASE,
)
"""Messages about damaged data. Other error lines, such as a missing reference after an open GOP, are harmless."""
DAMAGED_PICTURE = re.compile(
    r"error while decoding|concealing|damaged|partial file|corrupt|bad vlc|error y=\d+ x=", re.IGNORECASE
)
"""The same for a stream that begins in the middle, where refused packets before the first key frame are no damage."""
TRUNCATION = re.compile(
    r"partial file|truncat|premature|packet corrupt|corrupt input packet|filesize and duration do not match",
    re.IGNORECASE,
)
DAMAGED_CONTAINER = re.compile(
    r"exceeds containing master element|ebml number|invalid track number|went wrong during header parsing",
    re.IGNORECASE,
)
"""A part of a Matroska or AVI is missing. The demuxer goes on behind it, and ffmpeg reports no other error."""
WHITELIST = re.compile(r"(not (?:on|in) whitelist) '.*")
"""Messages leave out the list itself, 2 kB."""
TRANSPORT = "mpegts"
"""The container whose packets are numbered: where two files were joined a number is missing, and nothing else."""
CUT_PACKET = re.compile(r"packet corrupt|corrupt input packet", re.IGNORECASE)
METADATA = re.compile(
    r"exif|iccp?\b|itxt|ztxt|xmp|id3|apetag|ape tag|lyrics|attached pic|\bcover|end of atom|\btags?\b|comment"
    r"|chapter|stereo3d|mastering",
    re.IGNORECASE,
)
"""Damage in what is neither picture nor sound."""
HARMLESS_IN_TRANSPORT = re.compile(f"{METADATA.pattern}|{CUT_PACKET.pattern}", re.IGNORECASE)
DROPPED = re.compile(r"submitting packet to decoder|decoding error|error during demuxing", re.IGNORECASE)
"""A packet gave no sound; where it was sound, a gap is left."""
AMR = re.compile(f"{METADATA.pattern}|{DROPPED.pattern}|corrupt bitstream", re.IGNORECASE)
"""Telephones send frames without data where nobody speaks, which the decoder calls corrupt."""
VORBIS = re.compile(rf"{METADATA.pattern}|overread \d+ bits", re.IGNORECASE)
"""Packets may end early; what is missing counts as 0."""
HARMLESS_IN = {"amr_nb": AMR, "amr_wb": AMR, "vorbis": VORBIS}
"""By codec."""
LEVEL = re.compile(r"\[(?:debug|verbose|info|warning|error|fatal|panic)\] ")
COMPLAINT = re.compile(r"(\[[^\]]+ @ 0x[0-9a-f]+\] )*\[(warning|error|fatal|panic)\] ")
"""Begins ffmpeg's own complaints. Other lines may be text of the file, such as a title "the premature end of the
truncated broadcast"; the later lines of such a tag have no level."""
ERROR = re.compile(r"\[(error|fatal|panic)\]")
CONTEXT = re.compile(r"\[[^\]]+ @ 0x[0-9a-f]+\] ")
DESCRIPTION = re.compile(r"\[info\] (?:Input|Output) #\d+, ")
SPEAKER = re.compile(r"\[\S+ @ 0x[0-9a-f]+\] |\[info\] Stream mapping:")
"""Begins the first line behind such a description."""
STREAM_CONTEXT = re.compile(r"\[[avs]ist#0:(\d+)/")
NAME_CONTEXT = re.compile(r"\[(\w+) @ 0x")
KNOWN_CODECS = frozenset(CODECS.split(","))
OTHER_NAMES = {"dts": "dca", "jpegxl": "libjxl", "wmv3": "vc1", "dsd_lsbf": "dsf"}
"""Codecs whose decoders have another name."""
UNOPENED = re.compile(r"error opening (?:input|output): (.+)", re.IGNORECASE)
"""What is left to say where no part of ffmpeg gives a reason."""
AFTERMATH = re.compile(
    r"conversion failed|error opening (?:input|output)\b|task finished|terminating|nothing was written"
    r"|clamping to max|empty output stream|could not open encoder before eof|error reinitializing filters"
    r"|failed to configure output pad|error encoding a frame|error submitting \w+ frame",
    re.IGNORECASE,
)
"""Messages that ffmpeg failed, without a reason. "clamping to max" is no failure: the AAC encoder goes on."""
TAIL_LINES = 4000
"""Of these the error takes the last that are no descriptions; a disc copy with 80 tracks has about 800 such lines."""


def plain(line: str) -> str:
    """A message without ffmpeg's addresses and levels, which differ from run to run."""
    return WHITELIST.sub(r"\1", LEVEL.sub("", CONTEXT.sub("", line))).strip()


def reason(tail: Sequence[str]) -> str:
    """The last message that gives a reason; "" where there is none."""
    errors = [line for line in tail if ERROR.search(line)]
    reasons = [text for line in errors or tail if (text := plain(line)) and not AFTERMATH.search(text)]
    unopened = [match[1] for line in errors if (match := UNOPENED.search(line))]
    return (reasons or unopened or [""])[-1][:300]


def damage(tail: Sequence[str], pattern: re.Pattern[str] = DAMAGE) -> str:
    """The first of ffmpeg's complaints that matches `pattern`, "" where none does."""
    return next((plain(line) for line in complaints(tail) if pattern.search(line)), "")


def spoken(tail: Sequence[str]) -> list[str]:
    """The lines without the descriptions of inputs and outputs, which have the texts of their tags."""
    told, described = [], False
    for line in tail:
        described = bool(DESCRIPTION.match(line)) or (described and not SPEAKER.match(line))
        if not described:
            told.append(line)
    return told


def own_complaints(tail: Sequence[str], codec: str, container: str, index: int) -> list[str]:
    """The complaints but for those about other streams of the file, as a cover picture beside a sound.

    Decoders give their own name or their codec's, as "libdav1d" for "av1".
    """
    own = {_bare(codec), OTHER_NAMES.get(codec, "")}

    def is_own(line: str) -> bool:
        if stream := STREAM_CONTEXT.match(line):
            return int(stream[1]) == index
        named = NAME_CONTEXT.match(line)
        if named is None or named[1] in container.split(",") or named[1] not in KNOWN_CODECS:
            return True
        name = _bare(named[1])
        return name in own or any(one and (one in name or name in one) for one in own)

    harmless = HARMLESS_IN.get(codec, HARMLESS_IN_TRANSPORT if container == TRANSPORT else METADATA)
    return [line for line in complaints(tail) if is_own(line) and not harmless.search(line)]


def _bare(name: str) -> str:
    return name.replace("_", "")


def complaints(tail: Sequence[str]) -> list[str]:
    """The lines that are ffmpeg's own complaints."""
    return [line for line in tail if COMPLAINT.match(line)]
