"""Compares a file's declared length with what was read from it, and scans the containers that have no length.

Frames and samples that are lost by damage leave no other trace, since decoders resume behind it. The end of a file
without a declared length (a sound without a header, a transport stream behind its last picture) cannot be checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction

from dhcli.media.containers import matroska, ogg, riff
from dhcli.media.containers import transport_stream as transport
from dhcli.media.containers.scan import ScanResult
from dhcli.media.ffmpeg_errors import COPY_AGAIN
from dhcli.media.info import VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.listing import Listing, Stream
from dhcli.media.packets import Timeline
from dhcli.runtime.scope import Scope

SHORT_S = Fraction(1, 5)
"""A sound may end this much before its header says: encoder delay and padding are not sound."""
EXACT_S = Fraction(1, 50)
"""The same where nothing is delayed or padded: headers round to 10 ms."""
LOSSLESS = ("pcm_", "flac", "alac", "wavpack", "tta", "ape")
MP3_SLACK = Fraction(3, 2)
"""Frames. The header of an MP3 gives its delay and padding, but some encoders count the header as a frame."""
MPEG1_RATE = 32_000
"""Hz. From here on an MP3 frame has 1152 samples, else 576."""
EXACT_CONTAINERS = ("mov,", "matroska", "avi")
"""Their headers are written last: the length that they give was once in the file."""
MAX_STRAY_BYTES = 1024
"""Bytes behind the sound of a WAV that are ignored: careless programs leave a few there."""
FLAC_RATE_AT = 18
"""Byte at which the sample rate of a FLAC begins, 20 bits, Hz."""
ONE_START_A_PICTURE = ("h264", "hevc")
"""Codecs for which ffmpeg gives one packet for each beginning of a picture or field in a transport stream."""


def check_container(scope: Scope, file: InputFile, listing: Listing, stream: Stream) -> ScanResult:
    """Scan a transport stream or an Ogg: whether all packets or pages are there, and follow each other.

    Raises DhError input.truncated, input.corrupt, input.unreadable.
    """
    scan = ScanResult()
    with _reading(file):
        if listing.container == "mpegts" and stream.pid is not None:
            scan = transport.scan(file.fd, file.bytes, stream.pid, lambda: _alive(scope))
        elif listing.container == "ogg":
            scan = ogg.scan(file.fd, file.bytes, lambda: _alive(scope))
    if scan.corrupt:
        raise file.error("input.corrupt", f"is damaged ({scan.corrupt})", hint=COPY_AGAIN)
    if scan.truncated:
        raise file.error("input.truncated", scan.truncated, hint=COPY_AGAIN)
    return scan


def check_pictures(file: InputFile, stream: Stream, timeline: Timeline, scan: ScanResult) -> None:
    """Refuse a transport stream with fewer packets than beginnings of pictures. Raises DhError input.corrupt."""
    if stream.codec in ONE_START_A_PICTURE and timeline.packets < scan.pictures:
        finding = f"is damaged ({scan.pictures} pictures begin, {timeline.packets} came)"
        raise file.error("input.corrupt", finding, hint=COPY_AGAIN)


def check_video(scope: Scope, file: InputFile, listing: Listing, timeline: Timeline, info: VideoInfo) -> None:
    """Refuse a video that is shorter than its header says: damage took frames away. Raises DhError input.truncated."""
    _check_matroska(file, listing)
    only_stream = sum(stream.kind in ("video", "audio") and not stream.attached for stream in listing.streams) == 1
    if info.is_image:
        return
    last = timeline.end()
    if listing.container == "avi":
        with _reading(file):
            if riff.open_ended(file.fd):
                return
        _check_avi(scope, file, info, last)
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
        finding = f"holds {float(covered):.2f} of {float(listing.duration):.2f} s"
        raise file.error("input.truncated", finding, hint=COPY_AGAIN)


def _check_avi(scope: Scope, file: InputFile, info: VideoInfo, frames: int) -> None:
    with _reading(file):
        declared = riff.declared_frames(file.fd, info.index)
        # Fewer frames alone prove nothing: recorders count pictures that they left out at the end, too.
        if declared is None or frames >= declared:
            return
        what = riff.find_damage(file.fd, file.bytes, lambda: _alive(scope))
    if what:
        raise file.error("input.truncated", f"holds {frames} of {declared} frames ({what})", hint=COPY_AGAIN)


def _check_matroska(file: InputFile, listing: Listing) -> None:
    if not listing.container.startswith("matroska"):
        return
    with _reading(file):
        missing = matroska.missing_bytes(file.fd, file.bytes)
    if missing:
        raise file.error("input.truncated", f"{missing} bytes of it are missing", hint=COPY_AGAIN)


def check_sound(scope: Scope, file: InputFile, listing: Listing, stream: Stream, seconds: Fraction) -> None:
    """Refuse a sound that is shorter than its header says, or whose header contradicts the file.

    Raises DhError input.truncated, input.corrupt, input.unreadable.
    """
    _check_matroska(file, listing)
    _check_header(scope, file, listing, stream)
    # A container's duration is that of its longest stream, which may be another one than the sound.
    only_stream = all(other.kind == "audio" or other.attached for other in listing.streams)
    if listing.duration is None or listing.estimated or not only_stream or len(listing.of_kind("audio")) != 1:
        return
    if seconds < listing.duration - _slack(listing, stream):
        finding = f"ends after {float(seconds):.2f} of {float(listing.duration):.2f} s"
        raise file.error("input.truncated", finding, hint=COPY_AGAIN)


def _check_header(scope: Scope, file: InputFile, listing: Listing, stream: Stream) -> None:
    """Refuse a header whose numbers contradict the file: its length or sample rate is damaged."""
    with _reading(file):
        stray = riff.stray_bytes(file.fd, file.bytes, lambda: _alive(scope)) if listing.container == "wav" else 0
        gap = riff.find_damage(file.fd, file.bytes, lambda: _alive(scope)) if listing.container == "avi" else ""
        head = file.head(FLAC_RATE_AT + 3) if listing.container == "flac" else b""
    if gap:
        raise file.error("input.corrupt", f"is damaged ({gap})", hint=COPY_AGAIN)
    if stray > MAX_STRAY_BYTES:
        finding = f"is damaged ({stray} bytes behind its sound belong to nothing)"
        raise file.error("input.corrupt", finding, hint=COPY_AGAIN)
    rate = int.from_bytes(head[FLAC_RATE_AT:], "big") >> 4
    if head[:4] == b"fLaC" and stream.sample_rate and rate != stream.sample_rate:
        finding = f"is damaged (its header says {rate} Hz, its sound {stream.sample_rate} Hz)"
        raise file.error("input.corrupt", finding, hint=COPY_AGAIN)


@contextlib.contextmanager
def _reading(file: InputFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise file.error("input.unreadable", f"reading failed: {error.strerror}", hint="Check the disk.") from error


def _alive(scope: Scope) -> None:
    scope.check()
    scope.beat("probe")


def _slack(listing: Listing, stream: Stream) -> Fraction:
    if stream.codec.startswith(LOSSLESS):
        return EXACT_S
    if listing.container == "mp3" and stream.sample_rate:
        samples = 1152 if stream.sample_rate >= MPEG1_RATE else 576
        return MP3_SLACK * Fraction(samples, stream.sample_rate)
    return SHORT_S
