"""The sound of the output: an input file's, copied where the container takes it, else encoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from dhcli.errors import DhError
from dhcli.jobs.formats import AudioCodec
from dhcli.jobs.options import Trim
from dhcli.media.ffmpeg import SOUND_FILTER, input_argv, sound_filter
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
LIMITED = "alimiter=limit=0.97:attack=5:release=100:level=false:latency=true"
"""Two sounds can add up to more than full scale. 0.97 leaves 0.3 dB for what an encoder adds; it delays nothing."""
DUCKED = "sidechaincompress=threshold=0.0056:ratio=20:attack=20:release=400"
"""Speech above -45 dB pushes the other sound far down within 20 ms, and lets it come back in 0.4 s."""


@dataclass(frozen=True, slots=True)
class OwnSound:
    """The video's own sound, under the speech."""

    file: InputFile
    info: AudioInfo
    how: Literal["mix", "duck"]
    """Quieter all the time, or only while there is speech."""
    level_db: float
    """By how much, dB, at most 0."""
    repeats: bool
    """Whether it begins again at its end, as the pictures do."""


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
    lead: Fraction = Fraction(0)
    """Seconds of the video before the part begins."""
    own: OwnSound | None = None

    @property
    def video_duration(self) -> Fraction:
        """Length of the video, s. Raises DhError audio.too_short."""
        return self.duration or self.speech_end

    @property
    def end(self) -> Fraction:
        """Where in the video it ends, s. Raises DhError audio.too_short."""
        return self.video_duration if self.own is not None else min(self.speech_end, self.video_duration)

    @property
    def speech_end(self) -> Fraction:
        """Where the speech would end if the video were long enough, s. Raises DhError audio.too_short."""
        return self.lead + self.info.used(self.trim)

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """Descriptors that the encoder has to inherit."""
        return (*self.file.pass_fds, *(self.own.file.pass_fds if self.own is not None else ()))

    @property
    def is_copied(self) -> bool:
        """Whether it is copied. One that is trimmed, begins later or is mixed is encoded: packets cannot be cut at a
        sample.

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
        alone = self.trim is None and not self.lead and self.own is None
        return self.codec in ("auto", "copy") and fits and alone and (self.codec == "copy" or sound)

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
    is_cut = sound.speech_end > sound.video_duration
    if sound.is_copied:
        cut = ["-t", f"{duration:.6f}"] if is_cut else []
        return input_argv(sound.file, *cut), ["-map", stream, "-c:a", "copy"]
    chain = sound_filter(sound.trim)
    if sound.lead:
        chain += f",adelay=delays={round(sound.lead * sound.info.sample_rate)}S:all=1"
    if is_cut:
        chain += f",atrim=end={duration:.6f}"
    form, *encoder = sound.encoding
    if (own := sound.own) is not None:
        again = math.ceil(sound.video_duration / own.info.duration) - 1 if own.repeats else 0
        inputs = [*input_argv(sound.file), *input_argv(own.file, "-stream_loop", str(max(0, again)))]
        graph = _mixed(sound, own, f"[{stream}]{chain}")
        return inputs, ["-filter_complex", f"{graph},{form}[sound]", "-map", "[sound]", *encoder]
    return input_argv(sound.file), ["-map", stream, "-af", f"{chain},{form}", *encoder]


def _mixed(sound: Sound, own: OwnSound, speech: str) -> str:
    """Filters that put the video's own sound under the speech, both as long as the video; mono or stereo."""
    rate = max(sound.info.sample_rate, own.info.sample_rate)
    stereo = max(sound.info.channels, own.info.channels) > 1
    whole = f"apad=whole_dur={float(sound.video_duration):.6f},atrim=end={float(sound.video_duration):.6f}"

    def form(info: AudioInfo) -> str:
        # Of mono, "aformat" would make two channels 3 dB quieter.
        both = "pan=stereo|c0=c0|c1=c0" if info.channels == 1 else "aformat=channel_layouts=stereo"
        one = "aformat=channel_layouts=mono"
        return f"aresample={rate},aformat=sample_fmts=fltp,{both if stereo else one},{whole}"

    level = 10 ** (own.level_db / 20)
    graph = f"{speech},{form(sound.info)}[speech];[2:{own.info.index}]{SOUND_FILTER},{form(own.info)}[own];"
    if own.how == "mix":
        return f"{graph}[own]volume={level:.6f}[low];[speech][low]amix=inputs=2:normalize=0:duration=first,{LIMITED}"
    return (
        f"{graph}[speech]asplit[said][key];[own]asplit[high][always];[high][key]{DUCKED},volume={1 - level:.6f}[rest];"
        f"[always]volume={level:.6f}[low];[said][low][rest]amix=inputs=3:normalize=0:duration=first,{LIMITED}"
    )
