"""What an output can be: containers by the ending of `save_path`, and the encoders that each of them takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

EncoderName = Literal[
    "auto", "auto-hw", "libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks",
    "h264_nvenc", "hevc_nvenc", "h264_qsv", "h264_vaapi",
]  # fmt: skip
AudioCodec = Literal["auto", "copy", "aac", "opus"]

HARDWARE: tuple[EncoderName, ...] = ("h264_nvenc", "h264_qsv", "h264_vaapi")
"""What `auto-hw` tries, in this order."""
H26X: tuple[EncoderName, ...] = ("auto", "auto-hw", "libx264", "libx265", "hevc_nvenc", *HARDWARE)
ENCODERS: dict[str, tuple[EncoderName, ...]] = {
    ".mp4": (*H26X, "libsvtav1"),
    ".mov": (*H26X, "prores_ks"),
    ".mkv": (*H26X, "libsvtav1", "libvpx-vp9", "prores_ks"),
    ".webm": ("auto", "libvpx-vp9", "libsvtav1"),
}
"""By container: encoders whose videos players take from it."""
SOUNDS: dict[str, tuple[AudioCodec, ...]] = {
    ".mp4": ("auto", "copy", "aac"),
    ".mov": ("auto", "copy", "aac"),
    ".mkv": ("auto", "copy", "aac", "opus"),
    ".webm": ("auto", "copy", "opus"),
}

KEPT = ("subtitles", "chapters", "timecode", "tags")
"""What an output can keep of its video besides pictures and sound."""


def ending_of(save_path: Path) -> str:
    """The ending that says what the output is, in small letters."""
    return save_path.suffix.lower()


def clash(save_path: Path, encoder: EncoderName, sound: AudioCodec) -> tuple[str, str] | None:
    """The option that does not go with the ending of `save_path`, and what does; None where both do."""
    ending = ending_of(save_path)
    for option, value, takes in (
        ("encoder", encoder, ENCODERS[ending]),
        ("audio_codec", sound, SOUNDS[ending]),
    ):
        if value not in takes:
            return option, f"found '{value}', expected one of {', '.join(takes)} in a file that ends in {ending}"
    return None


def parse_keep(value: str) -> str:
    """The value of the option `keep`, in one spelling. Raises ValueError."""
    parts = [part.strip() for part in value.split(",")]
    if value in ("all", "none"):
        return value
    if not set(parts) <= set(KEPT) or len(set(parts)) < len(parts):
        raise ValueError(f"all, none, or some of {', '.join(KEPT)}")
    return ",".join(kind for kind in KEPT if kind in parts)
