"""A short video made as long as the sound: the frames of the output in order, with bounded memory.

A video that fits the frame store is decoded once and kept. A larger one is decoded again for every forward lap. For a
reverse lap it is decoded in chunks from the end: while one chunk is shown backward, the chunk before it is decoded
forward after a seek. A checksum of every frame, taken in the first lap, finds a seek that landed elsewhere.
"""

from __future__ import annotations

import contextlib
import zlib
from array import array
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.media.frame_store import FrameStore, store_budget
from dhcli.media.info import VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.reader import read_frames
from dhcli.runtime.scope import Scope
from dhcli.timing import Loop, source_index
from dhcli.types import Frame, FrameFormat

STAGE = "decode"


@dataclass(frozen=True, slots=True)
class Footage:
    """A video, open, and the format in which its frames are wanted."""

    file: InputFile
    info: VideoInfo
    fmt: FrameFormat

    @property
    def frames(self) -> int:
        """How many it has at the wanted rate."""
        return self.info.frames_at(self.fmt.fps)


def play(
    scope: Scope,
    footage: Footage,
    frames_out: int,
    loop: Loop,
    *,
    scratch: Scratch,
    budget_bytes: int | None = None,
) -> Iterator[Frame]:
    """The source frame of each of `frames_out` output frames, as `timing.source_index` orders them.

    A frame that is yielded more than once is read-only; others may be written to. A still image is one frame, repeated
    under every `loop`. Kept frames that are too many for memory lie in a file of `scratch`, which takes at most
    `budget_bytes`; None: as much as suits the free space of its disk.

    Raises input.too_short as `check_length` does, output.disk_full and output.not_writable, else what `read_frames`
    does.
    """
    frames, fmt = footage.frames, footage.fmt
    check_length(footage, frames_out, loop)
    again = frames_out > frames and loop in ("pingpong", "restart")
    budget = store_budget(scratch) if budget_bytes is None else budget_bytes
    kept = again and (loop == "pingpong" or frames * fmt.frame_bytes <= budget)
    with FrameStore(scratch, fmt, frames if kept else 2, budget) as store:
        player = _Player(scope, footage, store)
        if frames_out <= frames:
            yield from player.forward(0, frames_out)
        elif loop in ("hold", "error") or frames == 1:
            yield from player.held(frames, frames_out)
        elif frames <= store.capacity:
            yield from player.kept(frames, frames_out, loop)
        else:
            yield from player.laps(frames, frames_out, loop, store.capacity // 2)


def check_length(footage: Footage, frames_out: int, loop: Loop) -> None:
    """Raise input.too_short where `loop` is "error" and the video has fewer frames than the output."""
    frames, fps = footage.frames, footage.fmt.fps
    if loop == "error" and frames < frames_out and not footage.info.is_image:
        have, need = frames / fps, frames_out / fps
        finding = f"is shorter than the sound ({_seconds(have)} of {_seconds(need)}; {frames} of {frames_out} frames)"
        raise footage.file.error(
            "input.too_short", finding, hint="Give a longer video, or set loop: pingpong, restart or hold."
        )


def _seconds(time: Fraction) -> str:
    return f"{float(time):.2f} s"


class _Player:
    """Reads parts of one video forward and backward."""

    def __init__(self, scope: Scope, footage: Footage, store: FrameStore) -> None:
        self._scope, self._footage, self._store = scope, footage, store
        self._sums = array("I")
        self._seekable = True

    def forward(self, first: int, stop: int) -> Iterator[Frame]:
        """Frames `first` … `stop - 1`, decoded."""
        video = self._footage
        yield from read_frames(
            self._scope, video.file, video.info, video.fmt, first=first, count=stop - first, stage=STAGE
        )

    def held(self, frames: int, frames_out: int) -> Iterator[Frame]:
        """All `frames` once, then the last one again up to `frames_out`."""
        last: Frame | None = None
        for frame in self.forward(0, frames):
            if frame.index == frames - 1:
                last = frame.read_only()
            yield frame
        assert last is not None
        for _ in range(frames, frames_out):
            self._alive()
            yield last

    def kept(self, frames: int, frames_out: int, loop: Loop) -> Iterator[Frame]:
        """All frames, decoded once and kept."""
        for frame in self.forward(0, frames):
            self._store.put(frame)
            yield frame
        for index in range(frames, frames_out):
            self._alive()
            yield self._store.get(source_index(index, frames, loop))

    def laps(self, frames: int, frames_out: int, loop: Loop, chunk: int) -> Iterator[Frame]:
        """Lap after lap. A forward lap is decoded again; its last `chunk` frames are kept for the way back."""
        at = 0
        while at < frames_out:
            source = source_index(at, frames, loop)
            if at and source_index(at + 1, frames, loop) < source:  # to frame 1; a forward lap begins at frame 0
                left = min(source, frames_out - at)
                yield from self._backward(source, left, frames - chunk, chunk)
            else:
                left = min(frames, frames_out - at)
                for frame in self.forward(0, left):
                    if not at:
                        self._sums.append(zlib.crc32(frame.data.data))
                    if loop == "pingpong" and frame.index >= frames - chunk:
                        self._store.put(frame)
                    yield frame
            at += left

    def _backward(self, source: int, count: int, low: int, chunk: int) -> Iterator[Frame]:
        """Frames `source`, `source - 1`, …: `count` of them. Those from `low` on are kept already."""
        last = source - count + 1
        low = max(last, low)
        while True:
            below = max(last, low - chunk)
            with contextlib.closing(self._fetched(below, low)) as ahead:
                for index in range(source, low - 1, -1):
                    self._alive()
                    yield self._store.get(index)
                    next(ahead, None)  # one for one, so that no pause comes before the next chunk
                for _ in ahead:
                    self._alive()
            if low == last:
                return
            source, low = low - 1, below

    def _fetched(self, begin: int, stop: int) -> Generator[None]:
        """Decode and keep frames `begin` … `stop - 1`, one a step."""
        if begin >= stop:
            return
        if self._seekable:
            sums = []
            try:
                for frame in self.forward(begin, stop):
                    sums.append(zlib.crc32(frame.data.data))
                    self._store.put(frame)
                    yield
            except DhError as error:
                # After a seek that landed too late, frames seem to be missing; the first lap has had them all.
                if error.code not in ("input.truncated", "input.corrupt"):
                    raise
            if sums == list(self._sums[begin:stop]):
                return
            self._seekable = False
        for frame in self.forward(0, stop):
            if frame.index >= begin:
                self._store.put(frame)
            yield

    def _alive(self) -> None:
        self._scope.check()
        self._scope.beat(STAGE)
