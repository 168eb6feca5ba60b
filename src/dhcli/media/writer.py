"""The output file: frames from here, the original sound from its file, one encoder, one container.

When its stdin closes, ffmpeg makes a valid video of the frames it got, however few. So its stdin is closed only after
every frame was written; after an error ffmpeg is killed.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

from dhcli.errors import DhError
from dhcli.jobs.options import Preset
from dhcli.media import y4m
from dhcli.media.encoders import TABLE, speed_of
from dhcli.media.ffmpeg import base_argv, start
from dhcli.media.ffmpeg_errors import encode_error
from dhcli.media.input_file import InputFile, fd_url
from dhcli.media.input_limits import CPU_BASE_S, ChildLimits
from dhcli.media.kept import Kept, KeptFiles
from dhcli.media.shortage import or_shortage
from dhcli.media.sound_track import Sound, audio_argv
from dhcli.media.thumbnail import KEPT, LEAST, thumbnail
from dhcli.runtime.child import Child, Command
from dhcli.runtime.scope import TICK_S, Scope
from dhcli.timing import rate_text
from dhcli.types import Colour, Frame, FrameFormat

CPU_PER_MEGAPIXEL_S = 120
"""Processor time for encoding a megapixel; noise takes the slowest preset of libx265 15 s."""
SPARE_BYTES = 64 << 20
RAW_TIMES = 4
"""Noise at crf 0 comes out of libx264 1.6 times as large as it went in."""
FRAME_SPARE_BYTES = 4096
"""Added for every frame; its headers and its entry in the index take about 150."""
SOUND_BYTES_S = 1 << 20
"""AAC with 8 channels at 96 kHz has at most 576 kB a second."""
LARGE_FRAME_BYTES = 8 << 20
"""Frames of 2160p and more. The encoder would hold some 25 of them at once, 30 MiB each."""
LARGE_FRAMES = "sync-lookahead=0:rc-lookahead=3:bframes=1:sliced-threads=1"
"""At 2160p, veryfast, crf 18: 460 MiB less of 1050, 18 % less time, 0.5 % larger files, SSIM 0.9891 for 0.9888.

Threads share a frame instead of having one each: memory does not grow with the cores.
"""
MIN_TIMESCALE = 10_000
"""Least ticks per second of the video track; their number is a multiple of the rate, so that frame times are exact."""
STAGE = "encode"
HEVC = ("libx265", "hevc_nvenc")
SYNTHETIC = "Synthetic media: lips rendered by dh"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def filters(fmt: FrameFormat) -> str:
    """The encoder's filters: they join strips to frames, and tag those with their colours."""
    count = y4m.strips(fmt.width, fmt.height)
    return ",".join([*([f"tile=1x{count}"] if count > 1 else []), *colour_filter(fmt.colour)])


def colour_filter(colour: Colour) -> list[str]:
    """A filter that tags the frames with the source's colours, and converts nothing; empty where none are known.

    Options of the encoder would not do: the frames' own properties win, and y4m has no primaries and no transfer.
    """
    tags = {
        "range": colour.range,
        "colorspace": colour.matrix,
        "color_primaries": colour.primaries,
        "color_trc": colour.transfer,
    }
    known = [f"{key}={value}" for key, value in tags.items() if value not in ("unknown", "reserved")]
    return ["setparams=" + ":".join(known)] if known else []


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the pictures are encoded."""

    encoder: str = "libx264"
    crf: int = 18
    """Constant rate factor, 0..51; less is better and larger."""
    preset: Preset = "veryfast"
    threads: int = 0
    """0 lets the encoder choose."""
    ending: str = ".mp4"
    """Of the output: what container it is."""


NOTHING_KEPT = ["-map_metadata", "-1", "-map_chapters", "-1"]


def encode_argv(
    fmt: FrameFormat,
    url: str,
    encoding: Encoding,
    audio: tuple[list[str], list[str]] = ([], []),
    kept: KeptFiles | None = None,
) -> list[str]:
    """The encoder's command line: y4m on stdin, the output to `url`. `audio` is what `audio_argv` gives."""
    more = kept.argv(1 + audio[0].count("-i")) if kept is not None else ([], NOTHING_KEPT)
    encoder = TABLE[encoding.encoder]
    chain = ",".join(part for part in (filters(fmt), *encoder.chain) if part)
    quality = ["-c:v", encoder.name, *encoder.quality(encoding.crf, speed_of(encoding.preset))]
    quality += [] if encoder.chain else ["-pix_fmt", encoder.pix_fmt]
    quality += ["-vf", chain] if chain else []
    if encoder.name == "libx264" and fmt.frame_bytes >= LARGE_FRAME_BYTES:
        quality += ["-x264-params", LARGE_FRAMES]
    if encoding.threads:
        quality += ["-threads:v", str(encoding.threads)]
    return [
        *(*base_argv(), "-protocol_whitelist", "pipe", *encoder.before),
        # One packet from the pipe instead of eight. The rate again: ffmpeg takes 240000/1001 in a header for 240.
        *("-thread_queue_size", "1", "-f", "yuv4mpegpipe", "-r", rate_text(y4m.rate(fmt)), "-i", "pipe:0"),
        *(*audio[0], *more[0], "-map", "0:v:0", *audio[1], *more[1], *quality),
        *("-fps_mode", "passthrough", "-metadata", f"comment={SYNTHETIC}"),
        *("-metadata", f"digital_source_type={SOURCE_TYPE}", *_container(fmt, encoding)),
        *("-abort_on", "empty_output+empty_output_stream", "-y", url),
    ]


def _container(fmt: FrameFormat, encoding: Encoding) -> list[str]:
    if encoding.ending in (".mkv", ".webm"):
        return ["-f", {".mkv": "matroska", ".webm": "webm"}[encoding.ending]]
    timescale = fmt.fps.numerator * -(-MIN_TIMESCALE // fmt.fps.numerator)
    apple = ["-tag:v", "hvc1"] if encoding.encoder in HEVC else []  # Apple's players take no hev1
    flags = ["-video_track_timescale", str(timescale), "-movflags", "+faststart+use_metadata_tags"]
    return [*apple, *flags, "-f", encoding.ending.removeprefix(".")]


def encode_cpu_s(fmt: FrameFormat, duration: Fraction) -> int:
    """Processor time, s, beyond which the encoder hangs in a damaged sound; normal ones stay far below it."""
    megapixels = fmt.width * fmt.height / 1e6
    return CPU_BASE_S + math.ceil(float(duration * fmt.fps) * max(1.0, megapixels) * CPU_PER_MEGAPIXEL_S)


def encode_bytes(fmt: FrameFormat, duration: Fraction, audio: InputFile) -> int:
    """Size of the output beyond which the encoder writes a damaged sound without end; normal ones stay far below it."""
    frames = math.ceil(duration * fmt.fps)
    picture = frames * (RAW_TIMES * fmt.frame_bytes + FRAME_SPARE_BYTES)
    return SPARE_BYTES + picture + audio.bytes + math.ceil(duration * SOUND_BYTES_S)


def _limits(fmt: FrameFormat, sound: Sound | None) -> ChildLimits:
    """Limits of the encoder. Only a sound can make it spin or write without end: the frames come from here."""
    if sound is None:
        return ChildLimits(cpu_s=None)
    duration = sound.video_duration
    return ChildLimits(encode_cpu_s(fmt, duration), encode_bytes(fmt, duration, sound.file))


class VideoWriter:
    """An encoder that takes frames. `finish` completes the file; leaving the block without it kills the encoder."""

    def __init__(
        self,
        scope: Scope,
        part: Path,
        part_fd: int,
        fmt: FrameFormat,
        encoding: Encoding | None = None,
        sound: Sound | None = None,
        *,
        kept: Kept | None = None,
    ) -> None:
        """Start the encoder on the empty file `part`, open for writing as `part_fd`; the caller keeps both.

        Raises DhError input.unsupported, audio.too_short, encode.failed, output.disk_full, env.*; Stopped.
        """
        self._scope, self._part, self._fd, self._fmt = scope, part, part_fd, fmt
        self.written = 0
        """Frames that the encoder took."""
        self.thumbnails = bytearray()
        """Of those frames, the first `KEPT`; none where they are too small for it."""
        self._limits = _limits(fmt, sound)
        audio = audio_argv(sound) if sound is not None else ([], [])
        encoding = encoding or Encoding()
        with KeptFiles(kept or Kept(), encoding.ending) as files:
            argv = encode_argv(fmt, fd_url(part_fd, part), encoding, audio, files)
            fds = (part_fd, *files.fds, *(sound.pass_fds if sound is not None else ()))
            self._child: Child = start(scope, STAGE, Command(argv, fds, takes_input=True), self._limits)
        try:
            self._send(y4m.header(fmt))
        except BaseException:
            self.close()
            raise

    def write(self, frame: Frame) -> None:
        """Give the encoder one frame; waits while the encoder is busy.

        Raises encode.failed, output.disk_full, Stopped.
        """
        if frame.data.shape != (self._fmt.height * 3 // 2, self._fmt.width):
            raise ValueError(
                f"frame of {frame.width}x{frame.height} px in a {self._fmt.width}x{self._fmt.height} video"
            )
        for buffer in y4m.buffers(frame):
            self._send(buffer)
        if min(frame.width, frame.height) >= LEAST and self.written < KEPT:
            self.thumbnails += thumbnail(frame)
        self.written += 1
        self._scope.beat(STAGE)

    def finish(self) -> None:
        """Complete the file. Raises encode.failed, output.disk_full, Stopped."""
        self._child.stdin.close()
        size = -1
        while (code := self._child.wait(TICK_S)) is None:
            self._scope.check()
            if (now := self._progress()) != size:
                size = now
                self._scope.beat(STAGE)
        self._scope.check()
        if code:
            raise self._failure(code)
        self.close()

    def _progress(self) -> int:
        # The second pass of +faststart moves the same bytes: only the time of the last write changes.
        status = os.fstat(self._fd)
        return status.st_size ^ status.st_mtime_ns

    def _send(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            self._scope.check()
            try:
                left = left[self._child.stdin.write(left) :]
            except (BrokenPipeError, ConnectionResetError) as error:
                code = self._child.wait()
                self._scope.check()
                raise self._failure(code) from error

    def _failure(self, code: int | None) -> DhError:
        finding = f"{self._part}: the encoder ended after {self.written} frames"
        # A lower limit of the user's own ends a smaller file; the error then names that limit.
        limit = self._limits.file_bytes
        is_excess = limit is not None and os.fstat(self._fd).st_size >= limit
        error = encode_error(self._child, code, finding, excess_bytes=limit if is_excess else None)
        return or_shortage(error, self._child).at(STAGE, self.written)

    def close(self) -> None:
        """Kill the encoder where it still runs."""
        self._scope.release(self._child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
