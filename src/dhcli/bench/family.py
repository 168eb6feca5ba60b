"""A model family that tells a meter when it works, and keeps what its networks were asked, to ask them again alone.

It computes what the family computes: every call goes through to it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Self

from dhcli.bench.meter import Meter
from dhcli.disk.memory import memory_file
from dhcli.disk.part import write_all
from dhcli.errors import DhError
from dhcli.families.dh_base import DhBase
from dhcli.inference import Network
from dhcli.media import y4m
from dhcli.stages.align import YuvMatrix
from dhcli.stages.speak import Mouth, Shot
from dhcli.types import F32, Frame, FrameFormat


class Reel:
    """The first frames that got a new mouth, in memory, as the encoder reads them. Leaving the block gives it back."""

    def __init__(self, limit_bytes: int) -> None:
        """A frame that would make it larger than `limit_bytes` is left out, and all after it."""
        self.fd = memory_file()
        self.frames = 0
        self._limit_bytes, self._room = limit_bytes, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)

    def begin(self, fmt: FrameFormat) -> None:
        """What the frames will be, once. Raises DhError env.limits where there is no room for one."""
        self._room = self._limit_bytes // y4m.frame_bytes(fmt)
        if not self._room:
            raise DhError(
                "env.limits",
                f"No memory is free for the frames that the encoder is measured with: {self._limit_bytes} bytes.",
                hint="End other programs, raise the memory limit, or measure a smaller size.",
            )
        write_all(self.fd, y4m.header(fmt))

    def append(self, frame: Frame) -> None:
        """Copy the frame."""
        if self.frames < self._room:
            for piece in y4m.pieces(frame):
                write_all(self.fd, piece)
            self.frames += 1


class MeteredFamily(DhBase):
    """Opened once; `meter` is the one of the job that runs, `reel` where its frames go, if anywhere."""

    meter: Meter
    reel: Reel | None = None
    _runs_before = (0, 0)
    looks = (0, 0)
    """How often the last analysis ran the detector and the landmark network."""

    def watch(self, meter: Meter, reel: Reel | None = None) -> None:
        """The next job: what was kept of the one before is forgotten."""
        self.meter, self.reel = meter, reel
        self._runs_before = self._runs()
        self.heard: list[int] = []
        """Samples in each call of the audio network."""
        self.longest: F32 | None = None
        """The longest of them."""
        self.asked: list[int] = []
        """Frames in each call of the face network."""
        self.largest: dict[str, F32] | None = None
        """What the largest of them was asked."""

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> list[Mouth]:
        with self.meter.call("speak"):
            return super().speak(shots, yuv)

    def blend(self, shot: Shot, mouth: Mouth, yuv: YuvMatrix) -> Frame:
        with self.meter.call("blend"):
            frame = super().blend(shot, mouth, yuv)
        if self.reel is not None:
            self.reel.append(frame)
        return frame

    def close_finders(self) -> None:
        (detect, landmarks), (detect_before, landmarks_before) = self._runs(), self._runs_before
        self.looks = (detect - detect_before, landmarks - landmarks_before)
        super().close_finders()

    def _runs(self) -> tuple[int, int]:
        """Of the networks that are open."""
        detect, landmarks = (self.__dict__.get(name) for name in ("detect", "landmarks"))
        return (detect.runs if detect else 0, landmarks.runs if landmarks else 0)

    def looking(self) -> tuple[Network, Network]:
        """The detector and the landmark network, opened now: otherwise they wait for their first use."""
        return self.detect, self.landmarks

    def hear_again(self, samples: F32) -> F32:
        """The audio network alone."""
        return super()._hear(samples)

    def speak_again(self, feeds: dict[str, F32]) -> tuple[F32, F32, F32]:
        """The face network alone."""
        return super()._speak(feeds)

    def _hear(self, samples: F32) -> F32:
        self.heard.append(len(samples))
        if self.longest is None or len(samples) > len(self.longest):
            self.longest = samples.copy()
        return super()._hear(samples)

    def _speak(self, feeds: dict[str, F32]) -> tuple[F32, F32, F32]:
        count = len(feeds["source"])
        self.asked.append(count)
        if self.largest is None or count > len(self.largest["source"]):
            self.largest = {name: values.copy() for name, values in feeds.items()}
        return super()._speak(feeds)
