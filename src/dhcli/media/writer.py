"""The output file: frames from here, the original sound from its file, one encoder, one MP4.

ffmpeg makes a valid, short video of whatever it got when its stdin closes, so after any error it is killed and its
stdin is never closed; a closed stdin means that every frame was written.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from dhcli.errors import DhError
from dhcli.jobs.options import Trim
from dhcli.media import y4m
from dhcli.media.ffmpeg import InputFile, base_argv, fd_url, input_argv, sound_filter, start
from dhcli.media.ffmpeg_errors import encode_failure
from dhcli.media.info import AudioInfo
from dhcli.media.input_limits import CPU_BASE_S
from dhcli.media.shortage import or_shortage
from dhcli.media.thumbnail import KEPT, LEAST, thumbnail
from dhcli.runtime.child import Child
from dhcli.runtime.scope import TICK_S, Scope
from dhcli.timing import rate_text
from dhcli.types import Colour, Frame, FrameFormat

AudioCodec = Literal["auto", "copy", "aac"]

AAC_BITRATE = "192k"
AAC_RATES = "96000|88200|64000|48000|44100|32000|24000|22050|16000|12000|11025|8000|7350"
"""All that AAC has, Hz; a sound with another one gets the nearest."""
AAC_LAYOUTS = "mono|stereo|3.0|4.0|5.0|5.1|7.1"
"""Those with a number in AAC. The encoder refuses 5.1.2 and 22.2, and describes 2.1 in a way that few players read."""
CLIPPED = "volume=0.0009765625,asoftclip=hard,volume=1024"
"""Samples beyond 1024 times full scale become that: AAC refuses 1e9, and a player clips at 1 in any case. All others
stay as they are, bit for bit: 1024 is a power of two."""
CPU_PER_MEGAPIXEL_S = 120
"""Processor time for encoding a megapixel; noise takes the slowest preset of libx265 15 s."""
SPARE_BYTES = 64 << 20
RAW_TIMES = 4
"""Noise at crf 0 comes out of libx264 1.6 times as large as it went in."""
FRAME_SPARE_BYTES = 4096
"""What a frame costs however small it is; its headers and its place in the index take about 150."""
SOUND_BYTES_S = 1 << 20
"""AAC with 8 channels at 96 kHz has at most 576 kB a second."""
LARGE_FRAME_BYTES = 8 << 20
"""Of 2160p and more, of which the encoder would hold some 25 at once, 30 MiB each."""
LARGE_FRAMES = "sync-lookahead=0:rc-lookahead=3:bframes=1:sliced-threads=1"
"""At 2160p, veryfast, crf 18: 460 MiB less of 1050, 18 % less time, 0.5 % larger files, SSIM 0.9891 for 0.9888.

Threads share a frame instead of having one each: memory does not grow with the cores.
"""
MIN_TIMESCALE = 10_000
"""Ticks per second of the video track; a whole multiple of the rate, so that every frame time is exact."""
SYNTHETIC = "Synthetic media: lips rendered by dh"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def filters(fmt: FrameFormat) -> str:
    """From what arrives to what is encoded: strips become frames, and those get their tags."""
    count = y4m.strips(fmt.width, fmt.height)
    return ",".join([*([f"tile=1x{count}"] if count > 1 else []), *colour_filter(fmt.colour)])


def colour_filter(colour: Colour) -> list[str]:
    """The tags of the source, for the output; nothing is converted.

    By a filter: options of the encoder lose to the frames' own properties, and y4m frames have neither primaries nor
    transfer.
    """
    tags = {
        "range": colour.range,
        "colorspace": colour.matrix,
        "color_primaries": colour.primaries,
        "color_trc": colour.transfer,
    }
    known = [f"{key}={value}" for key, value in tags.items() if value not in ("unknown", "reserved")]
    return ["setparams=" + ":".join(known)] if known else []


def audio_is_copied(info: AudioInfo, codec: AudioCodec, trim: Trim | None) -> bool:
    """Whether the sound goes over as it is; a trimmed one is encoded, since packets cannot be cut at a sample.

    Raises input.unsupported where a copy was asked for and an MP4 does not take the codec.
    """
    if codec == "copy" and not info.copyable_to_mp4:
        raise DhError(
            "input.unsupported",
            f"audio_codec is copy, but common players do not take {info.codec} from an MP4.",
            hint="Set audio_codec: auto, or give AAC, MP3, ALAC or AC-3.",
        )
    return codec != "aac" and info.copyable_to_mp4 and trim is None


def audio_argv(
    audio: InputFile, info: AudioInfo, codec: AudioCodec, trim: Trim | None, duration: Fraction
) -> tuple[list[str], list[str]]:
    """Input and output options of the sound. It is not cut, unless the video is shorter than the sound on purpose."""
    cut = ["-t", f"{float(duration):.6f}"] if info.used(trim) > duration else []
    if audio_is_copied(info, codec, trim):
        return input_argv(audio, *cut), ["-map", f"1:{info.index}", "-c:a", "copy"]
    chain = sound_filter(trim)
    if cut:
        chain += f",atrim=end={float(duration):.6f}"
    chain += f",aformat=sample_rates={AAC_RATES}:channel_layouts={AAC_LAYOUTS},{CLIPPED}"
    return input_argv(audio), ["-map", f"1:{info.index}", "-af", chain, "-c:a", "aac", "-b:a", AAC_BITRATE]


def encode_argv(
    fmt: FrameFormat,
    url: str,
    *,
    encoder: str,
    crf: int,
    preset: str,
    threads: int,
    audio: tuple[list[str], list[str]] = ([], []),
) -> list[str]:
    """The encoder's command line: y4m on stdin, MP4 to `url`."""
    timescale = fmt.fps.numerator * -(-MIN_TIMESCALE // fmt.fps.numerator)
    quality = ["-c:v", encoder, "-crf", str(crf), "-preset", preset, "-pix_fmt", "yuv420p"]
    quality += ["-vf", chain] if (chain := filters(fmt)) else []
    if encoder == "libx265":
        quality += ["-tag:v", "hvc1", "-x265-params", "log-level=error"]  # hvc1: Apple's players take no hev1
    elif fmt.frame_bytes >= LARGE_FRAME_BYTES:
        quality += ["-x264-params", LARGE_FRAMES]
    if threads:
        quality += ["-threads:v", str(threads)]
    return [
        *(*base_argv(), "-protocol_whitelist", "pipe"),
        # One packet from the pipe instead of eight. The rate again: ffmpeg takes 240000/1001 in a header for 240.
        *("-thread_queue_size", "1", "-f", "yuv4mpegpipe", "-r", rate_text(y4m.rate(fmt)), "-i", "pipe:0", *audio[0]),
        *("-map", "0:v:0", *audio[1], "-map_metadata", "-1", "-map_chapters", "-1", *quality),
        *("-fps_mode", "passthrough", "-video_track_timescale", str(timescale)),
        *("-movflags", "+faststart+use_metadata_tags", "-metadata", f"comment={SYNTHETIC}"),
        *("-metadata", f"digital_source_type={SOURCE_TYPE}"),
        *("-abort_on", "empty_output+empty_output_stream", "-f", "mp4", "-y", url),
    ]


def encode_cpu_s(fmt: FrameFormat, duration: Fraction) -> int:
    """Processor time, s, beyond which the encoder hangs in a damaged sound; no honest encode comes near it."""
    megapixels = fmt.width * fmt.height / 1e6
    return CPU_BASE_S + math.ceil(float(duration * fmt.fps) * max(1.0, megapixels) * CPU_PER_MEGAPIXEL_S)


def encode_bytes(fmt: FrameFormat, duration: Fraction, audio: InputFile) -> int:
    """Size of the output beyond which the encoder writes a damaged sound without end; no honest one comes near it."""
    frames = math.ceil(duration * fmt.fps)
    picture = frames * (RAW_TIMES * fmt.frame_bytes + FRAME_SPARE_BYTES)
    return SPARE_BYTES + picture + audio.bytes + math.ceil(duration * SOUND_BYTES_S)


class VideoWriter:
    """An encoder that takes frames. `finish` completes the file; leaving the block without it kills the encoder."""

    def __init__(
        self,
        scope: Scope,
        part: Path,
        part_fd: int,
        fmt: FrameFormat,
        *,
        encoder: str = "libx264",
        crf: int = 18,
        preset: str = "veryfast",
        threads: int = 0,
        audio: InputFile | None = None,
        audio_info: AudioInfo | None = None,
        audio_codec: AudioCodec = "auto",
        trim: Trim | None = None,
        duration: Fraction | None = None,
        stage: str = "encode",
    ) -> None:
        """Start the encoder on the empty file `part`, open for writing as `part_fd`; both stay the caller's.

        `duration` is the length of the video, s, and `threads` 0 lets the encoder choose.

        Raises input.unsupported, encode.failed, output.disk_full, env.*, Stopped.
        """
        self._scope, self._part, self._fmt, self._stage = scope, part, fmt, stage
        self.written = 0
        """Frames that the encoder took."""
        self.thumbnails = bytearray()
        """Of those frames, the first `KEPT`; none where they are too small for it."""
        sound: tuple[list[str], list[str]] = ([], [])
        cpu_s = self._limit = None  # frames come from here; only a sound can make ffmpeg spin, or write without end
        if audio is not None and audio_info is not None:
            length = duration or audio_info.used(trim)
            sound = audio_argv(audio, audio_info, audio_codec, trim, length)
            cpu_s, self._limit = encode_cpu_s(fmt, length), encode_bytes(fmt, length, audio)
        self._fd = part_fd
        url = fd_url(part_fd, part)
        argv = encode_argv(fmt, url, encoder=encoder, crf=crf, preset=preset, threads=threads, audio=sound)
        fds = (part_fd, *(audio.pass_fds if audio else ()))
        self._child: Child = start(scope, stage, argv, feed=True, pass_fds=fds, cpu_s=cpu_s, file_bytes=self._limit)
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
        for piece in y4m.pieces(frame):
            self._send(piece)
        if min(frame.width, frame.height) >= LEAST and self.written < KEPT:
            self.thumbnails += thumbnail(frame)
        self.written += 1
        self._scope.beat(self._stage)

    def finish(self) -> None:
        """Complete the file. Raises encode.failed, output.disk_full, Stopped."""
        self._child.stdin.close()
        size = -1
        while (code := self._child.wait(TICK_S)) is None:
            self._scope.check()
            if (now := self._progress()) != size:
                size = now
                self._scope.beat(self._stage)
        self._scope.check()
        if code:
            raise self._failure(code)
        self.close()

    def _progress(self) -> int:
        # The second pass of +faststart moves the same bytes: only the time of the last write changes.
        found = os.fstat(self._fd)
        return found.st_size ^ found.st_mtime_ns

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
        # Where the user's own limit is lower, the file is smaller, and that limit is what has to be said.
        excess = self._limit is not None and os.fstat(self._fd).st_size >= self._limit
        error = encode_failure(self._child, code, finding, excess_bytes=self._limit if excess else None)
        return or_shortage(error, self._child).at(self._stage, self.written)

    def close(self) -> None:
        """Kill the encoder where it still runs."""
        self._scope.release(self._child)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
