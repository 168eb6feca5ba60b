"""Frames of a finished output, which was read back and compared with its plan before: nothing of it is probed again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from dhcli.media.info import VideoInfo
from dhcli.media.reader import read_frames
from dhcli.media.verify import opened_output
from dhcli.runtime.scope import Scope
from dhcli.types import Colour, Frame, FrameFormat


def read_excerpt(
    scope: Scope,
    path: Path,
    *,
    folder: int | None,
    fmt: FrameFormat,
    frames: int,
    first: int,
    count: int,
    stage: str = "verify",
) -> Iterator[Frame]:
    """Frames `first`, `first + 1`, … of the output at `path` with `frames` frames; `folder` is its folder where open.

    Raises output.mismatch, decode.failed, env.*, Stopped.
    """
    with opened_output(path, folder) as file:
        yield from read_frames(scope, file, _as_written(fmt, frames), fmt, first=first, count=count, stage=stage)


def _as_written(fmt: FrameFormat, frames: int) -> VideoInfo:
    """What a probe would say of dh's own file."""
    return VideoInfo(
        index=0,
        codec="h264",
        container="mp4",
        width=fmt.width,
        height=fmt.height,
        fps=fmt.fps,
        vfr=False,
        frames=frames,
        duration=frames / fmt.fps,
        rotation=0,
        sar=fmt.sar,
        colour=fmt.colour,
        source_colour=Colour(),
        pix_fmt="yuvj420p" if fmt.colour.range == "pc" else "yuv420p",
        interlaced=False,
        alpha=False,
        is_image=False,
        packets_are_frames=True,
        audio_streams=0,
        warnings=(),
        pts=np.arange(frames, dtype=np.int64),
        time_base=Fraction(1) / fmt.fps,
    )
