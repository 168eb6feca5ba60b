"""What is rendered for a measurement: the sample that comes with dh, or a clip of the user's, at a wanted size.

It owns the sizes' names and the one command that makes a clip larger. It knows nothing of clocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dhcli.bench.alone import run_alone
from dhcli.bundle import shipped
from dhcli.errors import DhError
from dhcli.media.ffmpeg import base_argv, input_argv
from dhcli.plan import Plan
from dhcli.timing import rate_text

SIZE = re.compile(r"(?P<width>[0-9]{2,4})x(?P<height>[0-9]{2,4})|(?P<lines>[0-9]{2,4})p")
LEAST_SIDE, MOST_WIDTH, MOST_HEIGHT = 64, 7680, 4320
SHARE = 3 / 4
"""Of the new picture's height, for the clip in it: the sample's face is a third of its own height, then a quarter."""
GRAIN = 5
"""Strength of the noise filter. Upscaled pictures are smooth and would flatter the encoder: with this, 720p25 takes 5.5
Mbit/s and 1080p25 15, like a phone's recordings; with 4 it is 1.4 and 4, with 7 it is 19 and 46."""
THREADS = 2
"""Of the encoder: its choices depend on their number, and the clip should be the same on every machine."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in px, both even."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def parse_size(text: str) -> Size:
    """The size that "1280x720" or "720p" means; lines alone are 16:9. Raises ValueError."""
    found = SIZE.fullmatch(text)
    if found:
        height = int(found["height"] or found["lines"])
        width = int(found["width"]) if found["width"] else round(height * 8 / 9) * 2
        fits = LEAST_SIDE <= width <= MOST_WIDTH and LEAST_SIDE <= height <= MOST_HEIGHT
        if fits and not width % 2 and not height % 2:
            return Size(width, height)
    raise ValueError(f"WIDTHxHEIGHT or LINESp, even, from {LEAST_SIDE} px to {MOST_WIDTH}x{MOST_HEIGHT}")


def sample() -> tuple[Path, Path]:
    """Audio and video of the sample: in the installed package, or in the checkout. Raises DhError input.missing."""
    places = shipped("sample", "examples/media")
    for place in places:
        if (place / "avatar.mp4").is_file():
            return place / "speech.wav", place / "avatar.mp4"
    raise DhError(
        "input.missing",
        f"The sample is not in {places[0]}.",
        hint="Give a clip by --video and --audio, or install dh again.",
    )


def enlarge(plan: Plan, size: Size, target: Path) -> Path:
    """The frames that the job shows in a picture of another size, as the video `target`.

    The clip stands at the bottom, `SHARE` of the height, before an enlarged, blurred, swaying copy of itself, with
    grain over all. Raises DhError env.*, decode.failed.
    """
    file = plan.video_file
    argv = [*base_argv("error"), *input_argv(file), "-filter_complex", _filters(plan, size)]
    argv += ["-frames:v", str(plan.source_frames), "-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]
    argv += ["-threads", str(THREADS), "-bitexact", "-f", "mp4", "-y", str(target)]
    run_alone(argv, f"{file.label}: a copy of {size} px could not be made", "decode.failed", pass_fds=file.pass_fds)
    return target


def _filters(plan: Plan, size: Size) -> str:
    wide, high = (round(side * 0.55) * 2 for side in (size.width, size.height))
    inside = f"{size.width}:{round(size.height * SHARE / 2) * 2}"
    return (
        f"[0:{plan.video.index}]fps={rate_text(plan.format.fps)},split[a][b];"
        f"[b]scale=160:-2,gblur=3,scale={wide}:{high}:force_original_aspect_ratio=increase,"
        f"crop={size.width}:{size.height}:x='(iw-ow)/2*(1+sin(t))':y='(ih-oh)/2'[behind];"
        f"[a]scale={inside}:force_original_aspect_ratio=decrease:force_divisible_by=2:flags=lanczos[front];"
        f"[behind][front]overlay=(W-w)/2:H-h,noise=alls={GRAIN}:allf=t:all_seed=7,format=yuv420p"
    )
