"""Reads the frames of a video: upright, 8-bit planar YUV, at a constant rate.

ffmpeg passes on every decoded frame once. The frame for each time of the constant rate is picked here, by the exact
time stamps, so that the number of frames is known before and checked after.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from dhcli.errors import DhError
from dhcli.media import y4m
from dhcli.media.complaints import DAMAGE, DAMAGED_PICTURE, TAIL_LINES, damage, own_complaints, spoken
from dhcli.media.damage import Wanted, find_damage
from dhcli.media.ffmpeg import base_argv, input_argv, picture_argv, running
from dhcli.media.ffmpeg_errors import COPY_AGAIN, damage_message, decode_error, too_large
from dhcli.media.info import EIGHT_BIT_420, VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import CPU_BASE_S, CPU_PER_FRAME_S, ChildLimits
from dhcli.media.listing import parse_listing
from dhcli.runtime.child import Child, Command
from dhcli.runtime.scope import Scope
from dhcli.types import U8, Frame, FrameFormat

SWS = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Without accurate_rnd, swscale rounds in another way with SIMD than without."""
HDR_WHITE = 203
"""cd/m2 of graphics and of white paper in HDR, which becomes the white of SDR (BT.2408)."""
HDR_PEAK = 1000
"""cd/m2 of the brightest highlights that stay apart from those below."""
TONE_MAP = (
    f"zscale=t=linear:npl={HDR_WHITE},format=gbrpf32le,zscale=p=bt709,"
    f"tonemap=mobius:param=0.9:peak={HDR_PEAK / HDR_WHITE:.3f}:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
)
"""From PQ or HLG to BT.709. Below 90 % of white nothing changes: hable would make faces dark."""
HEADER_BYTES = 1024
RESHAPED = re.compile(r"\[\S+ @ \w+\] \[info\] Reconfiguring filter graph .*?, (\d+)x(\d+)")
SAME_SHAPE = 0.01
"""Sizes are rounded: 1280x720 and 854x480 have one shape."""
MOST_LOST = 0.5
"""Of all pictures. A video that has lost more is refused."""
FIELD_CONTEXT = 3
"""Frames before a seek target that the deinterlacer needs to give the same picture as without a seek."""


def filters(info: VideoInfo) -> str:
    """The filters from the decoder's upright picture to 8-bit YUV 4:2:0; none of them changes such a picture."""
    chain: list[str] = []
    if info.interlaced:  # the deinterlacer needs a constant size
        chain += [*_fitted(info, ":interl=1"), "bwdif=mode=send_frame:deint=interlaced"]
    if info.hdr:
        chain += [*_assumed_hdr(info), TONE_MAP]
    elif info.pix_fmt not in EIGHT_BIT_420:
        chain.append(f"scale={_matrix(info)}{_range(info)}{SWS}")
    elif info.pix_fmt == "yuvj420p":
        chain.append(f"scale=in_range=pc:out_range=pc:{SWS}")
    chain.append("format=yuv420p")
    if not info.interlaced and not info.is_image:
        chain += _fitted(info)
    return ",".join(chain)


def _fitted(info: VideoInfo, options: str = "") -> list[str]:
    """Filters for pictures of another size or shape, as where an advertisement begins: they get bars.

    Those of the first picture's shape come through as they are.
    """
    width, height, sar = info.width, info.height, f"{info.sar.numerator}/{info.sar.denominator}"
    size = f"w=round(min({width}\\,{height}*dar/({sar}))):h=round(min({height}\\,{width}*({sar})/dar))"
    bars = [] if info.padded else [f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:eval=frame"]
    return [f"scale={size}{options}:{SWS}" if bars else f"scale={width}:{height}{options}:{SWS}", *bars]


def _assumed_hdr(info: VideoInfo) -> list[str]:
    # zscale refuses to convert from what is not named; HDR without further tags is BT.2020.
    source = info.source_colour
    assumed = ["color_primaries=bt2020"] if source.primaries == "unknown" else []
    assumed += ["colorspace=bt2020nc"] if source.matrix == "unknown" else []
    assumed += ["range=tv"] if source.range == "unknown" else []
    return ["setparams=" + ":".join(assumed)] if assumed else []


def _matrix(info: VideoInfo) -> str:
    return f"out_color_matrix={info.colour.matrix}:" if info.colour.matrix != info.source_colour.matrix else ""


def _range(info: VideoInfo) -> str:
    return f"out_range={info.colour.range}:" if info.colour.range != "unknown" else ""


def decode_argv(file: InputFile, info: VideoInfo, *, seek: Fraction | None = None) -> list[str]:
    """The decoder's command line. `seek` is a time of the file, s; frames before it are dropped."""
    before = [] if seek is None else ["-ss", f"{float(seek):.6f}"]
    # Filters that restart where a size changes would lose the frame that the deinterlacer holds.
    before += ["-reinit_filter", "0"] if info.interlaced else []
    return [
        *(*base_argv("info"), "-max_error_rate", "1", *input_argv(file, *before)),
        *(*picture_argv(info.specifier, filters(info)), "-fps_mode", "passthrough"),
        # One packet for the pipe instead of eight: 87 MB less at 2160p.
        *("-thread_queue_size", "1", "-f", "yuv4mpegpipe", "-pix_fmt", "yuv420p", "-strict", "-1", "pipe:1"),
    ]


def read_frames(
    scope: Scope,
    file: InputFile,
    info: VideoInfo,
    fmt: FrameFormat,
    *,
    first: int = 0,
    count: int | None = None,
    stage: str = "decode",
) -> Iterator[Frame]:
    """Frames `first`, `first + 1`, … at the rate `fmt.fps`: `count` of them, or all to the end of the video.

    A part that does not begin at 0 is reached by a seek; a container with a wrong index can land elsewhere. Each frame
    has its own memory and may be written to. Beats `stage` once a frame.

    Raises input.truncated, input.corrupt, decode.failed, env.*, Stopped.
    """
    picks = info.picks(fmt.fps)
    wanted = picks[first : None if count is None else first + count]
    if not len(wanted):
        return
    start = int(wanted[0])
    lead = min(start, FIELD_CONTEXT) if info.interlaced else 0
    begin = start - lead
    seek = None if begin == 0 else _between(info, begin)
    to_end = first + len(wanted) == len(picks)
    command = Command(decode_argv(file, info, seek=seek), file.pass_fds, keep_lines=TAIL_LINES)
    with running(scope, stage, command, ChildLimits(CPU_BASE_S + CPU_PER_FRAME_S * info.decoded)) as child:
        decoder = _Decoder(scope, file, info, fmt, child, begin, stage)
        index = first
        for at in range(begin, int(wanted[-1]) + 1):
            data = decoder.next()
            scope.beat(stage)
            while index - first < len(wanted) and wanted[index - first] == at:
                again = index + 1 - first < len(wanted) and wanted[index + 1 - first] == at
                yield Frame(index, data.copy() if again else data)
                index += 1
        if to_end:
            decoder.finish()
        else:
            decoder.stop()
    decoder.report()


def _between(info: VideoInfo, decoded: int) -> Fraction:
    """A time between a decoded frame and the one before it, s: rounding to µs cannot pick the wrong one."""
    return (int(info.pts[decoded - 1]) + int(info.pts[decoded])) * info.time_base / 2


def _padded(sent: U8, info: VideoInfo, shape: tuple[int, int]) -> U8:
    """Pad planes of an odd size: the luma gets a column or row more; 4:2:0 rounds the colour planes up already.

    ffmpeg's pad filter would not do: it works in pairs of pixels and would overwrite the last column.
    """
    width, height = info.width, info.height
    even = np.empty(shape, np.uint8)
    luma = sent[: width * height].reshape(height, width)
    even[: shape[0] * 2 // 3] = np.pad(luma, ((0, height % 2), (0, width % 2)), mode="edge")
    even[shape[0] * 2 // 3 :].reshape(-1)[:] = sent[width * height :]
    return even


class _Decoder:
    """The y4m stream of a running ffmpeg; frame numbers are those of the decoded video."""

    def __init__(
        self, scope: Scope, file: InputFile, info: VideoInfo, fmt: FrameFormat, child: Child, begin: int, stage: str
    ) -> None:
        self._scope, self._file, self._info, self._fmt, self._child = scope, file, info, fmt, child
        self._stage = stage
        self._begin, self._got = begin, begin
        self._stream: BinaryIO = os.fdopen(child.stdout.fileno(), "rb", buffering=1 << 16, closefd=False)
        self._opened = False
        self._last: U8 | None = None
        self._filled = 0
        """Frames that the decoder could not give: the one before is shown again."""
        self._wanted = 0

    def next(self) -> U8:
        """The next frame's planes, (H * 3 / 2, W) uint8."""
        self._wanted += 1
        if self._filled:
            return self._fill()
        if not self._opened:
            if not self._read_header():
                raise self._early()
            self._opened = True
        marker = self._stream.read(len(y4m.MARKER))
        if len(marker) < len(y4m.MARKER):
            return self._fill()
        if marker != y4m.MARKER:
            raise self._early("lost step between two frames")
        shape = (self._fmt.height * 3 // 2, self._fmt.width)
        data = np.empty(self._sent_bytes if self._info.padded else shape, np.uint8)
        if self._stream.readinto(data) != data.nbytes:  # type: ignore[attr-defined]
            raise self._early()
        self._got += 1
        self._last = _padded(data, self._info, shape) if self._info.padded else data
        return self._last

    @property
    def _sent_bytes(self) -> int:
        return self._info.width * self._info.height + self._fmt.width * self._fmt.height // 2

    def _fill(self) -> U8:
        """The last frame again, where a damaged video has fewer pictures than packets.

        Not behind a seek: it may have landed late, and then the frames would be others.
        """
        missing = self._info.decoded - self._got
        lost_most = missing > MOST_LOST * self._info.decoded and not self._info.cut
        if self._last is None or self._begin or lost_most or self._child.wait():
            raise self._early()
        self._filled += 1
        return self._last.copy()

    def finish(self) -> None:
        """Read to the end: ffmpeg exits with 0 even where a file is cut in a frame. Raises decode.failed, input.*."""
        left = 0
        while extra := self._stream.read(1 << 20):
            left += len(extra)
            self._scope.beat(self._stage)
        code = self._child.wait()
        self._scope.check()
        count = self._got + left // (self._sent_bytes + len(y4m.MARKER))
        if code:
            raise decode_error(self._file, self._child, code, f"{count} of {self._info.decoded} frames")
        if count > self._info.decoded:
            finding = f"gives {count} frames, {self._info.decoded} were found before"
            if not damage(self._own_complaints(), self._pattern):
                raise self._file.error("input.corrupt", finding, hint=COPY_AGAIN, stderr_tail=self._child.tail())
            self._remark(f"it {finding}; the last are left out")

    def stop(self) -> None:
        """End the child early; its messages about the frames so far are complete once it is dead."""
        self._child.kill()
        self._child.wait()
        self._scope.check()

    def report(self) -> None:
        """Remark at the file what was damaged in the frames so far, and whether their shape changed.

        Raises DhError input.too_large.
        """
        if self._info.is_image or self._begin:  # known from the probe; known from the first lap
            return
        told = spoken(self._child.tail(TAIL_LINES))
        if large := too_large(self._file, told):
            raise large
        self._remark_shape(told)
        self._check_size()
        complaint = damage(self._own_complaints(), self._pattern)
        if self._filled and not complaint:  # what was probed is not this file
            raise self._early()
        if not complaint:
            return
        end = float(self._info.pts[self._wanted - 1] - self._info.pts[0]) * float(self._info.time_base)
        end += 1 / float(self._info.fps)
        wanted = Wanted(self._info.index, self._info.codec, self._info.container, end)
        found = find_damage(self._scope, self._file, wanted, self._stage, frames=self._wanted, pattern=self._pattern)
        if found.times or self._filled:
            lost = f", {self._filled} of them lost" if self._filled else ""
            count = max(len(found.times), self._filled)
            where = f", at {found.where} ({found.complaint})" if found.times else ""
            self._remark(f"{count} of its {self._wanted} pictures are{lost}{where}")

    @property
    def _pattern(self) -> re.Pattern[str]:
        return DAMAGE if self._info.packets_are_frames else DAMAGED_PICTURE

    def _own_complaints(self) -> list[str]:
        told = spoken(self._child.tail(TAIL_LINES))
        return own_complaints(told, self._info.codec, self._info.container, self._info.index)

    def _check_size(self) -> None:
        """Raise DhError decode.failed where the file says another size than its probe: any size would be fitted."""
        listing = parse_listing(self._child.tail(TAIL_LINES)) if self._info.as_header else None
        streams = listing.streams if listing is not None else ()
        stream = next((one for one in streams if one.index == self._info.index and not one.tiled), None)
        if stream is not None and stream.upright_size not in {None, (self._info.width, self._info.height)}:
            raise self._other_size(*stream.upright_size or (0, 0))

    def _other_size(self, width: int, height: int) -> DhError:
        return DhError(
            "decode.failed",
            f"{self._file.label}: frames of {width}x{height} px came, not {self._info.width}x{self._info.height}.",
            hint="The rotation or size changes in the file; convert it with another program.",
        )

    def _remark(self, what: str) -> None:
        self._file.remarks["input.damaged"] = damage_message(self._file, what)

    def _remark_shape(self, told: list[str]) -> None:
        side = self._info.width / self._info.height
        for size in filter(None, map(RESHAPED.search, told)):
            width, height = int(size[1]), int(size[2])
            now = height / width if self._info.rotation % 180 else width / height
            if abs(now / side - 1) > SAME_SHAPE:
                message = f"{self._file.label}: its picture becomes {width}x{height} px on the way; it gets bars."
                self._file.remarks.setdefault("input.reshaped", message)

    def _read_header(self) -> bool:
        """False where the stream has no frame."""
        header = self._stream.readline(HEADER_BYTES)
        if not header:
            return False
        fields = header.split()
        size = {field[:1]: field[1:] for field in fields[1:3]}
        if fields[0] != b"YUV4MPEG2" or not header.endswith(b"\n"):
            raise self._early("its output is no y4m stream")
        width, height = int(size.get(b"W", 0)), int(size.get(b"H", 0))
        if (width, height) != (self._info.width, self._info.height):
            raise self._other_size(width, height)
        return True

    def _early(self, what: str = "") -> DhError:
        code = self._child.wait() if not what else None
        self._scope.check()
        finding = what or f"{self._got} of {self._info.decoded} frames"
        return decode_error(self._file, self._child, code, finding)
