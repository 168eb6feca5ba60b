"""What a file says of its own length and framing, held against what was found in it.

Frames and samples that damage took away leave no other trace: decoders resume behind it. Formats that promise nothing
(a sound without a header, a transport stream behind its last picture) cannot be judged here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction

from dhcli.media.containers import ogg, riff
from dhcli.media.containers import transport_stream as transport
from dhcli.media.containers.pieces import Found
from dhcli.media.ffmpeg import InputFile
from dhcli.media.ffmpeg_errors import COPY_AGAIN
from dhcli.media.info import VideoInfo
from dhcli.media.listing import Listing, Stream
from dhcli.media.packets import Timeline
from dhcli.runtime.scope import Scope

SHORT_S = Fraction(1, 5)
"""A sound may end this much before its header says: encoder delay and padding are not sound."""
EXACT_S = Fraction(1, 50)
"""Not so where nothing is delayed or padded: the header's claim is only rounded, to 10 ms."""
LOSSLESS = ("pcm_", "flac", "alac", "wavpack", "tta", "ape")
MP3_SLACK = Fraction(3, 2)
"""Frames. The header of an MP3 tells delay and padding, too, but some encoders count it among the frames."""
MPEG1_RATE = 32_000
"""Hz. From here on an MP3 frame has 1152 samples, else 576."""
EXACT_CONTAINERS = ("mov,", "matroska", "avi")
"""Their headers are written when everything else is: what they claim was once there."""
MAX_STRAY_BYTES = 1024
"""Behind the sound of a WAV; a few are what careless programs leave there."""
FLAC_RATE_AT = 18
"""Of 20 bits."""
ONE_START_A_PICTURE = ("h264", "hevc")
"""Codecs of which a transport stream begins no picture, nor field, in the middle of a packet that ffmpeg gives."""


def check_framing(scope: Scope, file: InputFile, listing: Listing, stream: Stream) -> Found:
    """The packets of a transport stream and the pages of an Ogg, which promise no length, follow each other.

    Raises input.truncated, input.corrupt.
    """
    found = Found()
    with _reading(file):
        if listing.container == "mpegts" and stream.pid is not None:
            found = transport.examine(file.fd, file.bytes, stream.pid, lambda: _alive(scope))
        elif listing.container == "ogg":
            found = ogg.examine(file.fd, file.bytes, lambda: _alive(scope))
    if found.corrupt:
        raise file.error("input.corrupt", f"is damaged ({found.corrupt})", hint=COPY_AGAIN)
    if found.truncated:
        raise file.error("input.truncated", found.truncated, hint=COPY_AGAIN)
    return found


def check_pictures(file: InputFile, stream: Stream, timeline: Timeline, found: Found) -> None:
    """Each picture that a transport stream begins has come. Raises input.corrupt."""
    came = len(timeline.pts) + timeline.untimed
    if stream.codec in ONE_START_A_PICTURE and came < found.pictures:
        finding = f"is damaged ({found.pictures} pictures begin, {came} came)"
        raise file.error("input.corrupt", finding, hint=COPY_AGAIN)


def check_video(scope: Scope, file: InputFile, listing: Listing, timeline: Timeline, info: VideoInfo) -> None:
    """Frames that a damaged container lost leave no trace but a header that speaks of more. Raises input.truncated."""
    alone = sum(stream.kind in ("video", "audio") and not stream.attached for stream in listing.streams) == 1
    if info.is_image:
        return
    last = timeline.end()
    if listing.container == "avi":
        with _reading(file):
            if riff.open_ended(file.fd):
                return
        _check_avi(scope, file, info, last)
    if listing.duration is None or listing.estimated or not alone or not listing.container.startswith(EXACT_CONTAINERS):
        return
    covered = max(last * timeline.time_base, info.pts[-1] * timeline.time_base + 1 / info.fps)
    covered -= info.pts[0] * timeline.time_base
    slack = max(EXACT_S, Fraction(3, 2) / info.fps)
    if covered + max(listing.start, Fraction(0)) < listing.duration - slack:
        finding = f"holds {float(covered):.2f} of {float(listing.duration):.2f} s"
        raise file.error("input.truncated", finding, hint=COPY_AGAIN)


def _check_avi(scope: Scope, file: InputFile, info: VideoInfo, frames: int) -> None:
    with _reading(file):
        promised = riff.promised_frames(file.fd, info.index)
        # Fewer frames alone prove nothing: pictures that a recorder left out at the end are counted, too.
        if promised is None or frames >= promised:
            return
        what = riff.fault(file.fd, file.bytes, lambda: _alive(scope))
    if what:
        raise file.error("input.truncated", f"holds {frames} of {promised} frames ({what})", hint=COPY_AGAIN)


def check_sound(scope: Scope, file: InputFile, listing: Listing, stream: Stream, seconds: Fraction) -> None:
    """The sound is as long as its header says, and what the header says can be. Raises input.truncated, .corrupt."""
    _check_header(scope, file, listing, stream)
    # A container's duration is that of its longest stream, so it says something only where the sound is alone.
    alone = all(other.kind == "audio" or other.attached for other in listing.streams)
    if listing.duration is None or listing.estimated or not alone or len(listing.of_kind("audio")) != 1:
        return
    if seconds < listing.duration - _slack(listing, stream):
        finding = f"ends after {float(seconds):.2f} of {float(listing.duration):.2f} s"
        raise file.error("input.truncated", finding, hint=COPY_AGAIN)


def _check_header(scope: Scope, file: InputFile, listing: Listing, stream: Stream) -> None:
    """Damage in the very number that tells a length shows in what does not fit to it."""
    with _reading(file):
        stray = riff.stray_bytes(file.fd, file.bytes, lambda: _alive(scope)) if listing.container == "wav" else 0
        gap = riff.fault(file.fd, file.bytes, lambda: _alive(scope)) if listing.container == "avi" else ""
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
