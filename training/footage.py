"""A video as dh sees it: its frames at 25 a second, and the largest face in each, found by dh's own finder."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import CROP_SIDE, Geometry, face_crop_matrix
from dhcli.families.dh_base.listen import CODE_RATE, SAMPLE_RATE
from dhcli.media.audio import read_waveform
from dhcli.media.info import frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.reader import read_frames
from dhcli.networks.network import Device
from dhcli.render.analysis import analyse
from dhcli.render.face_finder import FaceFinder, finder_bundle
from dhcli.runtime.scope import Scope
from dhcli.stages.align import apply, crop_yuv, to_rgb, yuv_matrix
from dhcli.types import F32, F64, U8, FaceRow, Frame, FrameFormat

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg"})
NO_SOUND = frozenset({"input.no_audio", "audio.too_short"})
"""Errors of a video without any."""


@dataclass(frozen=True, slots=True)
class Footage:
    """One person of one video; frames are read anew each time."""

    path: Path
    fmt: FrameFormat
    rows: dict[int, FaceRow]
    """The faces of the person who is in most frames, by frame."""

    def crops(self, matrices: dict[int, F64], side: int = CROP_SIDE) -> Iterator[tuple[int, U8]]:
        """The RGB crops (side, side, 3) of these frames, in order; `matrices` map image px to crop px."""
        yuv = yuv_matrix(self.fmt.colour, self.fmt.height)
        for frame in frames_of(self.path, self.fmt):
            if frame.index in matrices:
                crop = crop_yuv(frame, matrices[frame.index], side)
                yield frame.index, np.rint(to_rgb(crop, yuv)).astype(np.uint8)


def videos_in(folder: Path) -> list[Path]:
    """Its videos, by name. Raises FileNotFoundError where it has none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{folder} has no video ({', '.join(sorted(SUFFIXES))}).")
    return found


def frames_of(path: Path, fmt: FrameFormat) -> Iterator[Frame]:
    """All frames. Raises DhError input.*, decode.*."""
    with Scope() as scope, InputFile(path, "video") as file:
        yield from read_frames(scope, file, probe_video(scope, file), fmt)


def analysed(path: Path) -> Footage:
    """Find and follow the largest face of a video. Raises DhError input.*, decode.*, face.*."""
    finder = FaceFinder(finder_bundle(), Device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        with Scope() as scope, InputFile(path, "video") as file:
            fmt = frame_format(probe_video(scope, file), Fraction(CODE_RATE))
        scratch = Scratch(Path(folder) / "track")
        with analyse(frames_of(path, fmt), fmt, finder, "largest", lambda: None, scratch=scratch) as track:
            rows = list(track.rows())
    person, _ = Counter(row.person for row in rows).most_common(1)[0]
    return Footage(path, fmt, {row.index: row for row in rows if row.person == person})


def speech_of(path: Path) -> F32 | None:
    """The sound at 16 kHz, mono; None where the video has none. Raises DhError input.*, decode.*."""
    with Scope() as scope, InputFile(path, "video") as file:
        try:
            return np.concatenate(list(read_waveform(scope, file, probe_audio(scope, file), rate=SAMPLE_RATE)))
        except DhError as error:
            if error.code in NO_SOUND:
                return None
            raise


def crop_points(row: FaceRow, geometry: Geometry) -> F64:
    """The mouth points (106, 2) in px of the face network's crop."""
    return apply(face_crop_matrix(row.pose), row.points[geometry.mouth, :2])
