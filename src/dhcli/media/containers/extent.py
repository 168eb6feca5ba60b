"""The part of a file that is media: pictures behind the first one, and tags of other formats, are left out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from dhcli.media.containers.picture import first_picture

FRONT_BYTES = 1 << 16
"""Rubbish in front of a file is searched for its beginning this far."""
BEGINNING = re.compile(
    rb"\x00\x00.{2}ftyp|RIFF.{4}(?:WAVE|AVI |WEBP)|fLaC\x00\x00\x00\x22|OggS\x00\x02|\x1aE\xdf\xa3"
    rb"|\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xdb\xe0-\xef]|wvpk|GIF8[79]a|#!AMR|MPCK|MP\+\x07|DSD |FRM8|caff\x00|FLV\x01"
    rb"|\x30\x26\xb2\x75\x8e\x66",
    re.DOTALL,
)
"""The first bytes of containers whose demuxers take nothing in front of them."""
DEMUXERS = {
    ".mp3": "mp3",
    ".aac": "aac",
    ".ac3": "ac3",
    ".eac3": "eac3",
    ".dts": "dts",
    ".shn": "shn",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
    ".vob": "mpeg",
    ".h264": "h264",
    ".264": "h264",
    ".hevc": "hevc",
    ".265": "hevc",
    ".tga": "image2pipe",
}
"""Where the content says too little, the file's name decides: ffmpeg does not see it, since it gets open files."""


def find_beginning(fd: int) -> int:
    """How much rubbish an open file has in front; 0 where none is found. Raises OSError."""
    found = BEGINNING.search(os.pread(fd, FRONT_BYTES, 0))
    return found.start() if found else 0


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of a file, bytes."""

    begin: int
    end: int
    is_picture: bool = False
    """One picture, JPEG or PNG."""
    is_cut: bool = False
    """The picture's own end is missing."""


def find_extent(fd: int, size: int, suffix: str, begin: int = 0) -> Extent:
    """The part to read of an open file of `size` bytes, from `begin` on.

    `suffix` is that of its name. Raises OSError.
    """
    if begin:
        return Extent(begin, size)
    picture = first_picture(fd, size, suffix)
    if picture is not None:
        return Extent(0, picture.end or size, is_picture=True, is_cut=picture.end is None)
    return Extent(0, size)
