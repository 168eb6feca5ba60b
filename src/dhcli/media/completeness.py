"""Compares a file's declared length with what was read from it, and scans the containers that have no length.

A file that ends early is told apart from one with damage inside: only the first has lost its end.

Frames and samples that are lost by damage leave no other trace, since decoders resume behind it. The end of a file
without a declared length (a sound without a header, a transport stream behind its last picture) cannot be checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from dhcli.media.containers import flac, matroska, mp3, ogg, riff
from dhcli.media.containers import transport_stream as transport
from dhcli.media.containers.scan import ScanResult
from dhcli.media.info import VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.listing import Listing, Stream
from dhcli.media.packets import Timeline
from dhcli.runtime.scope import Scope

SHORT_S = Fraction(1, 5)
"""A sound may end this much before its header says: encoder delay and padding are not sound."""
PRIMING = 2112 + 2 * 1024
"""Samples that AAC encoders put in front, and two frames behind: 0.52 s at 8 kHz."""
FLAC_BLOCK = 4608
"""Most samples of a FLAC block at usual rates. In Ogg a length is that of whole pages, which are scanned one by one."""
OPUS_HEAD, OPUS_RATE = b"OpusHead", 48_000
HEAD_BYTES = 4096
EXACT_S = Fraction(1, 50)
"""The same where nothing is delayed or padded: headers round to 10 ms."""
LOSSLESS = ("pcm_", "flac", "alac", "wavpack", "tta", "ape")
MP3_SLACK = Fraction(3, 2)
"""Frames. The header of an MP3 gives its delay and padding, but some encoders count the header as a frame."""
MPEG1_RATE = 32_000
"""Hz. From here on an MP3 frame has 1152 samples, else 576."""
EXACT_CONTAINERS = ("mov,", "matroska", "avi")
"""Their headers are written last: the length that they give was once in the file."""
TIMED = ("mov,", "matroska", "ogg", "mpeg", "asf", "flv", "nut", "mxf", "avi")
"""Containers with time stamps: a sound of its own may begin late in them, and its length counts from 0."""
MAX_STRAY_BYTES = 1024
"""Bytes behind the sound of a WAV that are ignored: careless programs leave a few there."""
FLAC_RATE_AT = 18
"""Byte at which the sample rate of a FLAC begins, 20 bits, Hz."""
ONE_START_A_PICTURE = ("h264", "hevc")
"""Codecs for which ffmpeg gives one packet for each beginning of a picture or field in a transport stream."""
MOST_TOLD, TEXT_CHARS = 3, 600
"""Findings that a message tells, and their length."""


@dataclass(slots=True)
class Findings:
    """What is wrong with a file that can be used all the same."""

    cut: str = ""
    """How early it ends; "" where it does not."""
    damage: list[str] = field(default_factory=list)
    tidy: bool = True
    """False: there are packets without sound among those with it."""

    def note(self, damage: str) -> None:
        """Add damage; "" is none."""
        if damage and damage not in self.damage:
            self.damage.append(damage)

    def note_cut(self, cut: str) -> None:
        """The file ends early; "" says that it does not."""
        self.cut = self.cut or cut[:TEXT_CHARS]

    @property
    def text(self) -> str:
        """All damage in words."""
        return "; ".join(self.damage[:MOST_TOLD])[:TEXT_CHARS]


def scan_container(scope: Scope, file: InputFile, listing: Listing, stream: Stream, findings: Findings) -> ScanResult:
    """Scan a transport stream or an Ogg: whether all packets or pages are there, and follow each other.

    Raises DhError input.unreadable.
    """
    scan = ScanResult()
    with _reading(file):
        if listing.container == "mpegts" and stream.pid is not None:
            scan = transport.scan(file.fd, file.bytes, stream.pid, lambda: _alive(scope))
        elif listing.container == "ogg":
            scan = ogg.scan(file.fd, file.bytes, lambda: _alive(scope))
    findings.note(scan.corrupt)
    findings.note_cut(scan.truncated)
    return scan


def check_pictures(stream: Stream, timeline: Timeline, scan: ScanResult, findings: Findings) -> None:
    """Note where a transport stream has fewer packets than beginnings of pictures."""
    if stream.codec in ONE_START_A_PICTURE and timeline.packets < scan.pictures:
        findings.note(f"{scan.pictures} pictures begin, {timeline.packets} came")


def check_video(
    scope: Scope, file: InputFile, listing: Listing, timeline: Timeline, info: VideoInfo, findings: Findings
) -> None:
    """Note where a video is shorter than its header says: damage took frames away. Raises DhError input.unreadable."""
    if info.is_image:
        return
    findings.note_cut(_missing_matroska(file, listing))
    only_stream = sum(stream.kind in ("video", "audio") and not stream.attached for stream in listing.streams) == 1
    last = timeline.end()
    if listing.container == "avi":
        with _reading(file):
            if riff.open_ended(file.fd):
                return
        _check_avi(scope, file, info, last, findings)
    if (
        listing.duration is None
        or listing.estimated
        or not only_stream
        or not listing.container.startswith(EXACT_CONTAINERS)
    ):
        return
    covered = max(last * timeline.time_base, info.pts[-1] * timeline.time_base + 1 / info.fps)
    covered -= info.pts[0] * timeline.time_base
    slack = max(EXACT_S, Fraction(3, 2) / info.fps)
    if covered + max(listing.start, Fraction(0)) < listing.duration - slack:
        findings.note_cut(f"holds {float(covered):.2f} of {float(listing.duration):.2f} s")


def _check_avi(scope: Scope, file: InputFile, info: VideoInfo, frames: int, findings: Findings) -> None:
    with _reading(file):
        declared = riff.declared_frames(file.fd, info.index)
        # Fewer frames alone prove nothing: recorders count pictures that they left out at the end, too.
        if declared is None or frames >= declared:
            return
        what = riff.find_damage(file.fd, file.bytes, lambda: _alive(scope))
    if what.endswith(riff.MISSING):
        findings.note_cut(f"holds {frames} of {declared} frames ({what})")
    elif what:
        findings.note(f"{declared - frames} of {declared} frames are lost ({what})")


def _missing_matroska(file: InputFile, listing: Listing) -> str:
    if not listing.container.startswith("matroska"):
        return ""
    with _reading(file):
        missing = matroska.missing_bytes(file.fd, file.bytes)
    return f"{missing} bytes of it are missing" if missing else ""


def check_sound(
    scope: Scope, file: InputFile, listing: Listing, stream: Stream, seconds: Fraction, findings: Findings
) -> None:
    """Note where a sound is shorter than its header says, or its header contradicts the file.

    Raises DhError input.unreadable.
    """
    findings.note_cut(_missing_matroska(file, listing))
    _check_header(scope, file, listing, stream, findings)
    # A container's duration is that of its longest stream, which may be another one than the sound.
    only_stream = all(other.kind == "audio" or other.attached for other in listing.streams)
    if listing.duration is None or listing.estimated or not only_stream or len(listing.of_kind("audio")) != 1:
        return
    if not is_early(file, listing, stream, seconds):
        return
    with _reading(file):
        whole = listing.container == "mp3" and mp3.has_all_bytes(file.fd, file.extent.end)
        if listing.container == "flac":
            whole = flac.has_last_frame(file.fd, file.extent.end)
    if listing.container == "ogg":  # its pages were scanned: it ends with one, and others are lost before
        whole = bool(findings.damage)
    if whole:  # frames inside are destroyed, and decoders go on behind them
        lost = listing.duration - seconds
        findings.note(f"{float(lost):.2f} of {float(listing.duration):.2f} s of its sound are lost")
    else:
        findings.note_cut(f"ends after {float(seconds):.2f} of {float(listing.duration):.2f} s")


def ends_with_sound(file: InputFile, listing: Listing) -> bool:
    """Whether it is a FLAC without tags behind: what its decoder drops is sound then, though no gap is left."""
    with _reading(file):
        return listing.container == "flac" and flac.has_last_frame(file.fd, file.bytes)


def is_early(file: InputFile, listing: Listing, stream: Stream, seconds: Fraction) -> bool:
    """Whether a sound of so many seconds ends before the container does; True where the container does not say."""
    if listing.duration is None or listing.estimated:
        return True
    late = max(listing.start, Fraction(0)) if listing.container.startswith(TIMED) else Fraction(0)
    return seconds + late < listing.duration - _slack(file, listing, stream)


def _check_header(scope: Scope, file: InputFile, listing: Listing, stream: Stream, findings: Findings) -> None:
    """Note a header whose numbers contradict the file: its length or sample rate is damaged."""
    with _reading(file):
        stray = riff.stray_bytes(file.fd, file.bytes, lambda: _alive(scope)) if listing.container == "wav" else 0
        gap = riff.find_damage(file.fd, file.bytes, lambda: _alive(scope)) if listing.container == "avi" else ""
        head = file.head(FLAC_RATE_AT + 3) if listing.container == "flac" else b""
    if gap.endswith(riff.MISSING):
        findings.note_cut(gap)
    else:
        findings.note(gap)
    if stray > MAX_STRAY_BYTES:
        findings.note(f"{stray} bytes behind its sound belong to nothing")
    rate = int.from_bytes(head[FLAC_RATE_AT:], "big") >> 4
    if head[:4] == b"fLaC" and stream.sample_rate and rate != stream.sample_rate:
        findings.note(f"its header says {rate} Hz, its sound {stream.sample_rate} Hz")


@contextlib.contextmanager
def _reading(file: InputFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise file.error("input.unreadable", f"reading failed: {error.strerror}", hint="Check the disk.") from error


def _alive(scope: Scope) -> None:
    scope.check()
    scope.beat("probe")


def _slack(file: InputFile, listing: Listing, stream: Stream) -> Fraction:
    """By how much a whole sound may be shorter than its container says: samples that encoders put in front of it."""
    hertz = Fraction(stream.sample_rate or MPEG1_RATE)
    if listing.container == "mp3" and stream.sample_rate:
        return MP3_SLACK * (1152 if stream.sample_rate >= MPEG1_RATE else 576) / hertz
    if stream.codec.startswith(LOSSLESS):
        return FLAC_BLOCK / hertz if listing.container == "ogg" else EXACT_S
    if stream.codec == "opus":
        with _reading(file):
            head = file.head(HEAD_BYTES)
        at = head.find(OPUS_HEAD) + len(OPUS_HEAD)
        skipped = int.from_bytes(head[at + 2 : at + 4], "little") if at >= len(OPUS_HEAD) else 0
        return SHORT_S + Fraction(skipped, OPUS_RATE)
    return max(SHORT_S, PRIMING / hertz)
