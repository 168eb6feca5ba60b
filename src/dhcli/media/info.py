"""What is known of a probed input, and what follows from it: format, colours, frames at another rate."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from dhcli.errors import DhError, WarningCode
from dhcli.jobs.options import Trim
from dhcli.media import rate
from dhcli.media.besides import NOTHING, Besides
from dhcli.media.listing import Picture
from dhcli.media.rate import I64
from dhcli.types import HD_HEIGHT, Colour, FrameFormat

Warnings = tuple[tuple[WarningCode, str], ...]
"""Codes and messages about unusual inputs that are rendered all the same."""

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
MP4_AUDIO = frozenset({"aac", "mp3", "alac", "ac3", "eac3"})
"""Codecs that common players play from an MP4; others are encoded to AAC."""
WEBM_AUDIO = frozenset({"opus", "vorbis"})
MKV_AUDIO = MP4_AUDIO | WEBM_AUDIO | {"flac"}
MIN_MP4_MP3_RATE = 16_000
"""Hz. MP4 has a number for MPEG-1 and MPEG-2 audio, but none for the MP3 of 8, 11.025 and 12 kHz (MPEG 2.5)."""
RGB = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8", "monob", "monow")
EIGHT_BIT_420 = ("yuv420p", "yuvj420p")


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """A sound that can be used."""

    index: int
    """Stream of the file."""
    codec: str
    container: str
    sample_rate: int
    channels: int
    samples: int
    """Decoded samples of one channel, gaps filled; the sound begins at the file's time 0."""
    tidy: bool = True
    """False: there are packets without sound among those with it, which no copy should have."""
    louder: int | None = None
    """The loudest channel, from 0, where the mix of all is much quieter."""
    warnings: Warnings = ()
    damage: str = ""
    """What is damaged in it; "" for nothing."""
    cut: str = ""
    """How early it ends against what its header promises; "" where it does not."""
    begin: int = 0
    """Bytes of rubbish in front of it."""
    demuxer: str = ""
    """What its name says that it is, where ffmpeg cannot tell."""

    @property
    def duration(self) -> Fraction:
        """Length of the decoded sound, s, exact."""
        return Fraction(self.samples, self.sample_rate)

    def fits(self, ending: str) -> bool:
        """Whether it can be copied into a file with this ending."""
        if ending == ".webm":
            return self.codec in WEBM_AUDIO
        if ending == ".mkv":
            return self.codec in MKV_AUDIO
        return self.codec in MP4_AUDIO and not (self.codec == "mp3" and self.sample_rate < MIN_MP4_MP3_RATE)

    def used(self, trim: Trim | None) -> Fraction:
        """Length of the part that `trim` leaves, s. Raises audio.too_short where nothing is left."""
        if trim is None:
            return self.duration
        left = min(self.duration, self.duration if trim.end is None else trim.end) - trim.start
        if left <= 0:
            raise DhError(
                "audio.too_short",
                f"The trim begins at {float(trim.start):g} s, but the sound has {float(self.duration):.3f} s.",
                hint="Correct 'trim'.",
            )
        return left


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video, or a still image, that can be rendered."""

    index: int
    """Stream of the file."""
    codec: str
    container: str
    width: int
    height: int
    """As displayed: upright, before a padding to even sides."""
    fps: Fraction
    """Exact where the rate is constant; else the constant rate that replaces the variable one."""
    vfr: bool
    frames: int
    """Frames at `fps`, what the reader delivers."""
    duration: Fraction
    rotation: int
    sar: Fraction
    colour: Colour
    """Of the frames that the reader delivers."""
    source_colour: Colour
    pix_fmt: str
    interlaced: bool
    alpha: bool
    is_image: bool
    packets_are_frames: bool
    """False: frames were counted by decoding, and packets that give no frame are no damage."""
    audio_streams: int
    warnings: Warnings
    pts: I64 = field(repr=False, compare=False)  # (decoded frames,), ascending, in time_base
    time_base: Fraction
    damage: str = ""
    """What is damaged in its container; "" for nothing. Damaged pictures are found when they are decoded."""
    cut: str = ""
    """How early it ends against what its header promises; "" where it does not."""
    begin: int = 0
    """Bytes of rubbish in front of it."""
    demuxer: str = ""
    """What its name says that it is, where ffmpeg cannot tell."""
    besides: Besides = NOTHING
    """What the file has besides pictures and sounds."""
    as_header: bool = True
    """The first picture has the size that the header says."""
    tiled: bool = False
    """A picture made of tiles: `index` counts ffmpeg's groups of streams."""

    @property
    def specifier(self) -> str:
        """The name that ffmpeg gives the stream."""
        return f"0:g:{self.index}" if self.tiled else f"0:{self.index}"

    @property
    def padded(self) -> bool:
        return bool(self.width % 2 or self.height % 2)

    @property
    def hdr(self) -> bool:
        return self.source_colour.transfer in HDR_TRANSFERS

    @property
    def decoded(self) -> int:
        """Frames that the decoder gives, before any change of rate."""
        return len(self.pts)

    def frames_at(self, fps: Fraction) -> int:
        """Frames of the video at another rate."""
        return self.frames if fps == self.fps or self.is_image else rate.frames_at(self.duration, fps)

    def picks(self, fps: Fraction) -> I64:  # (frames_at(fps),)
        """The decoded frame that each frame at `fps` shows."""
        if self.is_image or (fps == self.fps and not self.vfr):
            return np.arange(self.frames_at(fps))
        return rate.picks(self.pts, self.time_base, fps, self.frames_at(fps))


def frame_format(info: VideoInfo, fps: Fraction | None = None) -> FrameFormat:
    """The format of the frames that the reader delivers: even sides, the video's own rate unless `fps` is given."""
    width, height = info.width + info.width % 2, info.height + info.height % 2
    return FrameFormat(width, height, fps or info.fps, info.sar, info.colour)


def delivered_colour(picture: Picture) -> Colour:
    """The colour description of a picture after its conversion to 8-bit YUV."""
    colour = picture.colour
    if colour.transfer in HDR_TRANSFERS:
        return Colour("tv", "bt709", "bt709", "bt709")
    if picture.pix_fmt.startswith(RGB):
        matrix = "bt709" if picture.height >= HD_HEIGHT else "smpte170m"  # what players assume where the tag is missing
        return Colour("tv", matrix, colour.primaries, colour.transfer)
    if picture.pix_fmt.startswith("yuvj"):
        return Colour("pc", colour.matrix, colour.primaries, colour.transfer)
    return colour


def has_alpha(pix_fmt: str) -> bool:
    return pix_fmt.startswith(("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya8", "ya16", "pal8"))


def bit_depth(pix_fmt: str) -> int:
    """Bits of one sample: 8, 10, 12, 16, 32."""
    if match := re.search(r"(?:p|gray|gbrpf|gbrapf|x2rgb|x2bgr|p0|xv)(9|10|12|14|16|32)(?:le|be)?$", pix_fmt):
        return int(match[1])
    return 16 if re.match(r"(rgb|bgr)a?(48|64)", pix_fmt) or pix_fmt.startswith("ya16") else 8


def unusual(picture: Picture, fps: Fraction, *, vfr: bool, interlaced: bool, alpha: bool) -> Warnings:
    """Warnings about properties that the output does not keep."""
    warnings: list[tuple[WarningCode, str]] = []
    if vfr:
        warnings.append(("input.vfr", f"The frame rate varies; it becomes {float(fps):.6g} fps."))
    if interlaced:
        warnings.append(("input.interlaced", "The video is interlaced; it is deinterlaced (bwdif)."))
    if alpha:
        warnings.append(("input.alpha", "The transparency is dropped."))
    if picture.colour.transfer in HDR_TRANSFERS:
        warnings.append(("input.hdr", f"The video is HDR ({picture.colour.transfer}); it is tone-mapped to BT.709."))
    if (depth := bit_depth(picture.pix_fmt)) > 8:
        warnings.append(
            ("input.high_bit_depth", f"The video has {depth} bits a sample ({picture.pix_fmt}); it becomes 8.")
        )
    if picture.width % 2 or picture.height % 2:
        size = f"{picture.width}x{picture.height}"
        warnings.append(("input.padded", f"The size {size} is odd; the last column or row is repeated once."))
    return tuple(warnings)
