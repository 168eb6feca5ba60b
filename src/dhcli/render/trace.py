"""What a job did so far, also after a failure: counts, times and warnings for its result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from dhcli.errors import WarningCode
from dhcli.media.info import AudioInfo, VideoInfo
from dhcli.picture.figures import PictureFigures
from dhcli.stages.census import Sighting


@dataclass(slots=True)
class Trace:
    """What a job did so far."""

    video: VideoInfo | None = None
    audio: AudioInfo | None = None
    channel: int | None = None
    """Of the sound, from 0, which the mouth follows; None: the mix of all."""
    warnings: list[tuple[WarningCode, str]] = field(default_factory=list)
    planned: int | None = None
    decoded: int = 0
    rendered: int = 0
    encoded: int = 0
    batch: int | None = None
    """Most frames that went through the main network at once; None before the first."""
    analysis: Literal["made", "cached"] | None = None
    face_missing: int = 0
    face_missing_ranges: list[tuple[int, int]] = field(default_factory=list)
    mouth_covered_ranges: list[tuple[int, int]] = field(default_factory=list)
    left_ranges: list[tuple[int, int]] = field(default_factory=list)
    """Of the options `leave`, `speak`, `lead` and `tail`: of the output, not of the video as in the two above."""
    sightings: tuple[Sighting, ...] = ()
    """Everybody in the analysed part of the video."""
    picture: PictureFigures | None = None
    """None until the finished video was looked at."""
    timings_s: dict[str, float] = field(default_factory=dict)
    stages_s: dict[str, float] = field(default_factory=dict)
    reader_wait_s: float = 0.0
    writer_wait_s: float = 0.0

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time of the block, s, to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.timings_s[phase] = self.timings_s.get(phase, 0.0) + time.monotonic() - began

    def snapshot(self) -> Trace:
        """A copy that no other thread writes to. `list` and `dict` copy in one step of the interpreter."""
        return replace(
            self,
            warnings=list(self.warnings),
            face_missing_ranges=list(self.face_missing_ranges),
            mouth_covered_ranges=list(self.mouth_covered_ranges),
            left_ranges=list(self.left_ranges),
            timings_s=dict(self.timings_s),
            stages_s=dict(self.stages_s),
        )

    def warn(self, code: WarningCode, message: str) -> None:
        """Add a warning: something that the user should know and that does not stop the job."""
        self.warnings.append((code, message))
