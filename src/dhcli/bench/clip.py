"""The clip of a measurement: the sample that comes with dh, or the user's video, brought to the wanted size."""

from __future__ import annotations

import re
from pathlib import Path

from dhcli.errors import DhError
from dhcli.media.ffmpeg import base_argv, input_argv, start
from dhcli.media.ffmpeg_errors import decode_error
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import ChildLimits
from dhcli.networks.bundle import shipped
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope

SIZE = re.compile(r"(?P<width>[0-9]{2,4})x(?P<height>[0-9]{2,4})|(?P<lines>[0-9]{2,4})p")
LEAST, WIDEST, HIGHEST = 64, 7680, 4320
GRAIN = 5
"""Strength of the noise. With it 720p takes 5.5 Mbit/s, as a phone's recording does; a smooth picture codes faster."""
CODING = "-c:v libx264 -preset veryfast -crf 20 -threads 2 -bitexact -f mp4 -y"
"""Two threads on every machine, since libx264's output depends on their number."""
Size = tuple[int, int]
"""Width and height, px."""


def parse_size(text: str) -> Size:
    """The size of "1280x720" or "720p", which means 16:9. Raises ValueError."""
    if found := SIZE.fullmatch(text):
        height = int(found["height"] or found["lines"])
        width = int(found["width"]) if found["width"] else round(height * 8 / 9) * 2
        if LEAST <= width <= WIDEST and LEAST <= height <= HIGHEST and not width % 2 and not height % 2:
            return width, height
    raise ValueError(f"{text}: expected WIDTHxHEIGHT or LINESp, even, from {LEAST} px to {WIDEST}x{HIGHEST}")


def sample() -> tuple[Path, Path]:
    """Audio and video of the sample, from the installed package or the checkout. Raises DhError input.missing."""
    places = shipped("sample", "examples/media")
    for place in places:
        if (place / "avatar.mp4").is_file():
            return place / "speech.wav", place / "avatar.mp4"
    raise DhError("input.missing", f"No sample in {places[0]}.", hint="Give --video and --audio, or install dh again.")


def resize(scope: Scope, video: Path, size: Size, target: Path) -> Path:
    """Write the first 30 s of the video to `target`, as a picture of `size`.

    The video takes three quarters of the height. Behind it is a blurred, moving copy of it, and over all lies grain, so
    that the picture is as hard to encode as a recording of that size. Raises DhError input.*, env.*,
    decode.*, and Stopped.
    """
    (width, height), (wide, high) = size, (round(side * 0.55) * 2 for side in size)
    fit = "force_original_aspect_ratio=decrease:force_divisible_by=2:flags=lanczos"
    filters = (
        f"[0:V:0]split[a][b];[b]scale=160:-2,gblur=3,scale={wide}:{high}:force_original_aspect_ratio=increase,"
        f"crop={width}:{height}:x='(iw-ow)/2*(1+sin(t))':y='(ih-oh)/2'[behind];"
        f"[a]scale={width}:{round(height * 0.375) * 2}:{fit}[front];"
        f"[behind][front]overlay=(W-w)/2:H-h,noise=alls={GRAIN}:allf=t:all_seed=7,format=yuv420p"
    )
    with InputFile(video, "video") as file:
        argv = [*base_argv("error"), *input_argv(file, "-t", "30"), "-filter_complex", filters, *CODING.split()]
        child = start(scope, "ffmpeg", Command([*argv, str(target)], file.pass_fds), ChildLimits(cpu_s=None))
        code = child.wait()
        scope.check()
        if code:
            raise decode_error(file, child, code, f"no copy of {width}x{height} px could be made")
    return target
