"""What a result says of the video that it tells of: what that was made from, and whether it is still there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast, get_args

from dhcli.results.parts import OutputInfo
from dhcli.results.result import JobResult
from dhcli.sheets.mouths import Source
from dhcli.timing import Loop


def source_of(result: JobResult) -> Source | None:
    """The original of a finished video; None where the result names none."""
    video = result.inputs.video
    if video is None:
        return None
    loop = str(result.options.get("loop", "pingpong"))
    face = str(result.options.get("face", "largest"))
    return Source(Path(video.path), cast("Loop", loop) if loop in get_args(Loop) else "pingpong", face)


def unlike(output: OutputInfo) -> str:
    """Why the file at the output's path is not what the result tells of; "" where it may be."""
    try:
        size = os.stat(output.path).st_size  # noqa: PTH116 - bytes that are no UTF-8 stand escaped in a result
    except OSError as error:
        return f"The video {output.path} cannot be read: {error.strerror}."
    if size != output.bytes:
        return f"The video {output.path} is another one now: {size} bytes, and {output.bytes} were rendered."
    return ""
