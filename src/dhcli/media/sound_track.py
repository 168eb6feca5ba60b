"""The sound of the output: an input file's, copied where the container takes it, else encoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dhcli.errors import DhError
from dhcli.jobs.formats import AudioCodec
from dhcli.jobs.options import Trim
from dhcli.media.ffmpeg import input_argv, sound_filter
from dhcli.media.info import AudioInfo
from dhcli.media.input_file import InputFile

AAC_BITRATE = "192k"
AAC_RATES = "96000|88200|64000|48000|44100|32000|24000|22050|16000|12000|11025|8000|7350"
"""All sample rates of AAC, Hz; a sound with another one gets the nearest."""
AAC_LAYOUTS = "mono|stereo|3.0|4.0|5.0|5.1|7.1"
"""Layouts that AAC has numbers for. The encoder refuses 5.1.2 and 22.2, and writes 2.1 in a way few players read."""
CLIPPED = "volume=0.0009765625,asoftclip=hard,volume=1024"
"""Limits samples to 1024 times full scale: AAC refuses 1e9, and a player clips at 1 in any case. All other samples stay
the same bit for bit, since 1024 is a power of two."""
OPUS_BITRATE = "160k"
OPUS_RATES = "48000|24000|16000|12000|8000"
OPUS_LAYOUTS = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"
COPIED = {
    ".mp4": "AAC, MP3, ALAC or AC-3",
    ".mov": "AAC, MP3, ALAC or AC-3",
    ".mkv": "AAC, MP3, ALAC, AC-3, FLAC, Opus or Vorbis",
    ".webm": "Opus or Vorbis",
}
"""What each container takes, in words."""


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of the output."""

    file: InputFile
    info: AudioInfo
    codec: AudioCodec = "auto"
    trim: Trim | None = None
    """The part of the sound that is used; None: all of it."""
    duration: Fraction | None = None
    """Length of the video, s; None: that of the part."""
    ending: str = ".mp4"
    """Of the output: what container it is."""

    @property
    def video_duration(self) -> Fraction:
        """Length of the video, s. Raises DhError audio.too_short."""
        return self.duration or self.info.used(self.trim)

    @property
    def is_copied(self) -> bool:
        """Whether it is copied; a trimmed one is encoded, since packets cannot be cut at a sample.

        Raises DhError input.unsupported where a copy was asked for and the container does not take the codec.
        """
        fits = self.info.fits(self.ending)
        if self.codec == "copy" and not fits:
            raise DhError(
                "input.unsupported",
                f"audio_codec is copy, but common players do not take {self.info.codec} from a file that ends in "
                f"{self.ending}.",
                hint=f"Set audio_codec: auto, or give {COPIED[self.ending]}.",
            )
        sound = self.info.tidy and not (self.info.damage or self.info.cut)
        whole = self.trim is None and (self.codec == "copy" or sound)
        return self.codec in ("auto", "copy") and fits and whole

    @property
    def encoding(self) -> list[str]:
        """Filter and encoder where it is not copied."""
        if self.ending == ".webm" or self.codec == "opus":
            form = f"aformat=sample_rates={OPUS_RATES}:channel_layouts={OPUS_LAYOUTS},{CLIPPED}"
            return [form, "-c:a", "libopus", "-b:a", OPUS_BITRATE]
        form = f"aformat=sample_rates={AAC_RATES}:channel_layouts={AAC_LAYOUTS},{CLIPPED}"
        return [form, "-c:a", "aac", "-b:a", AAC_BITRATE]


def audio_argv(sound: Sound) -> tuple[list[str], list[str]]:
    """Input and output options of the sound. It is cut only where the video was made shorter than the sound.

    Raises DhError input.unsupported, audio.too_short.
    """
    duration, stream = float(sound.video_duration), f"1:{sound.info.index}"
    is_cut = sound.info.used(sound.trim) > sound.video_duration
    if sound.is_copied:
        cut = ["-t", f"{duration:.6f}"] if is_cut else []
        return input_argv(sound.file, *cut), ["-map", stream, "-c:a", "copy"]
    chain = sound_filter(sound.trim)
    if is_cut:
        chain += f",atrim=end={duration:.6f}"
    form, *encoder = sound.encoding
    return input_argv(sound.file), ["-map", stream, "-af", f"{chain},{form}", *encoder]
