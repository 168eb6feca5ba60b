"""A short video made as long as the sound: the frames of the output in order, with bounded memory.

What fits the budget is decoded once and kept. Where a video is larger, forward laps are decoded again, and reverse ones
in chunks from the end, each decoded forward after a seek. A checksum of every frame, taken in the first lap, finds a
seek that landed elsewhere.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator
from fractions import Fraction

from dhcli.errors import DhError
from dhcli.media.ffmpeg import InputFile
from dhcli.media.info import VideoInfo
from dhcli.media.reader import read_frames
from dhcli.scope import Scope
from dhcli.timing import Loop, source_index
from dhcli.types import Frame, FrameFormat

BUDGET_BYTES = 256 << 20


def play(
    scope: Scope,
    file: InputFile,
    info: VideoInfo,
    fmt: FrameFormat,
    frames_out: int,
    loop: Loop,
    *,
    budget_bytes: int = BUDGET_BYTES,
    stage: str = "decode",
) -> Iterator[Frame]:
    """The source frame of each of `frames_out` output frames, as `timing.source_index` orders them.

    Frames may be yielded more than once: copy before writing to one. A still image is one frame, repeated under every
    `loop`.

    Raises input.too_short as `check_length` does, else what `read_frames` does.
    """
    frames = info.frames_at(fmt.fps)
    check_length(file, info, fmt, frames_out, loop)
    player = _Player(scope, file, info, fmt, stage, max(1, budget_bytes // fmt.frame_bytes))
    if frames_out <= frames:
        yield from player.forward(0, frames_out)
        return
    if frames <= player.room or loop in ("hold", "error"):
        yield from player.kept(frames, frames_out, loop)
        return
    yield from player.laps(frames, frames_out, loop)


def check_length(file: InputFile, info: VideoInfo, fmt: FrameFormat, frames_out: int, loop: Loop) -> None:
    """Raise input.too_short where `loop` is "error" and the video has fewer frames than the output."""
    frames = info.frames_at(fmt.fps)
    if loop == "error" and frames < frames_out and not info.is_image:
        have, need = frames / fmt.fps, frames_out / fmt.fps
        finding = f"is shorter than the sound ({_seconds(have)} of {_seconds(need)}; {frames} of {frames_out} frames)"
        raise file.error(
            "input.too_short", finding, hint="Give a longer video, or set loop: pingpong, restart or hold."
        )


def _seconds(time: Fraction) -> str:
    return f"{float(time):.2f} s"


class _Player:
    """Reads parts of one video forward and backward."""

    def __init__(self, scope: Scope, file: InputFile, info: VideoInfo, fmt: FrameFormat, stage: str, room: int) -> None:
        self._scope, self._file, self._info, self._fmt, self._stage = scope, file, info, fmt, stage
        self.room = room
        """Frames that fit into memory."""
        self._sums = array("I")
        self._seekable = True

    def forward(self, first: int, stop: int) -> Iterator[Frame]:
        """Frames `first` … `stop - 1`, decoded."""
        yield from read_frames(
            self._scope, self._file, self._info, self._fmt, first=first, count=stop - first, stage=self._stage
        )

    def kept(self, frames: int, frames_out: int, loop: Loop) -> Iterator[Frame]:
        """Everything, decoded once; where only the last frame is repeated, only that is kept."""
        store: list[Frame] = []
        last: Frame | None = None
        for frame in self.forward(0, frames):
            last = frame
            if loop in ("pingpong", "restart"):
                store.append(frame)
            yield frame
        assert last is not None
        for index in range(frames, frames_out):
            self._scope.check()
            self._scope.beat(self._stage)
            yield store[source_index(index, frames, loop)] if store else last

    def laps(self, frames: int, frames_out: int, loop: Loop) -> Iterator[Frame]:
        """Lap after lap, decoded again each time."""
        for frame in self.forward(0, frames):
            self._sums.append(zlib.crc32(frame.data.data))
            yield frame
        at = frames
        while at < frames_out:
            source = source_index(at, frames, loop)
            if source_index(at + 1, frames, loop) < source:
                left = min(source + 1, frames_out - at)
                yield from self._backward(source, left)
            else:
                left = min(frames - source, frames_out - at)
                yield from self.forward(source, source + left)
            at += left

    def _backward(self, source: int, count: int) -> Iterator[Frame]:
        """Frames `source`, `source - 1`, …: `count` of them."""
        last = source - count + 1
        while source >= last:
            begin = max(last, source - self.room + 1)
            chunk = self._chunk(begin, source + 1)
            while chunk:  # given away one by one: two chunks in memory would be twice the budget
                yield chunk.pop()
            source = begin - 1

    def _chunk(self, begin: int, stop: int) -> list[Frame]:
        if self._seekable:
            try:
                chunk = list(self.forward(begin, stop))
            except DhError as error:
                # After a seek that landed too late, frames seem to be missing; a first lap found them all.
                if error.code not in ("input.truncated", "input.corrupt"):
                    raise
                chunk = []
            if [zlib.crc32(frame.data.data) for frame in chunk] == list(self._sums[begin:stop]):
                return chunk
            self._seekable = False
        chunk = []
        for frame in self.forward(0, stop):
            if frame.index >= begin:
                chunk.append(frame)
        return chunk
