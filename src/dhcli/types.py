"""The values that travel between the rooms: pictures, faces, conditions. No behaviour beyond views and checks."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

U8: TypeAlias = npt.NDArray[np.uint8]
F32: TypeAlias = npt.NDArray[np.float32]
F64: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = Literal["fp32", "fp16", "int8"]
"""Types of the main network's numbers."""

HD_HEIGHT = 720
"""Untagged video from this height on means BT.709, below BT.601, as players guess."""


@dataclass(frozen=True, slots=True)
class Colour:
    """A video's colour description in ffmpeg's words; "unknown" where the source does not say."""

    range: str = "unknown"  # tv | pc
    matrix: str = "unknown"  # bt709, smpte170m, bt470bg, bt2020nc, …
    primaries: str = "unknown"
    transfer: str = "unknown"


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """What every frame of one stream has in common."""

    width: int
    height: int
    """Both even: 4:2:0 has one colour sample for two pixels."""
    fps: Fraction
    sar: Fraction = Fraction(1)
    colour: Colour = Colour()

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2 or self.width % 2 or self.height % 2:
            raise ValueError(f"frame size {self.width}x{self.height} is not even")

    @property
    def frame_bytes(self) -> int:
        return self.width * self.height * 3 // 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as the codec holds it, planar YUV 4:2:0 with 8 bits: what is not touched stays bit for bit.

    `index` counts the source video's frames at its constant rate. `data` is (height * 3 / 2, width) uint8, the Y plane
    above the U and V planes; the views share its memory.
    """

    index: int
    data: U8

    @property
    def height(self) -> int:
        return int(self.data.shape[0]) * 2 // 3

    @property
    def width(self) -> int:
        return int(self.data.shape[1])

    @property
    def y(self) -> U8:  # (H, W)
        return self.data[: self.height]

    @property
    def u(self) -> U8:  # (H/2, W/2)
        h, w = self.height, self.width
        return self.data.reshape(-1)[h * w : h * w * 5 // 4].reshape(h // 2, w // 2)

    @property
    def v(self) -> U8:  # (H/2, W/2)
        h, w = self.height, self.width
        return self.data.reshape(-1)[h * w * 5 // 4 :].reshape(h // 2, w // 2)

    @property
    def bytes(self) -> memoryview[int]:
        """All planes, one behind the other; a copy where the rows do not lie so."""
        return np.ascontiguousarray(self.data).data.cast("B")

    def copy(self) -> Frame:
        return Frame(self.index, self.data.copy())

    def read_only(self) -> Frame:
        """The frame itself, its memory read-only from now on, because it is shown again."""
        self.data.flags.writeable = False
        return self


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in image px: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1."""
        w = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        h = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        common = max(0.0, w) * max(0.0, h)
        return common / (self.area + other.area - common) if common else 0.0


@dataclass(frozen=True, slots=True)
class Face:
    """A face that the detector found in one frame."""

    box: Box
    eyes: F64  # (2, 2) image px: the eye at the picture's left, then the other
    score: float  # 0..1


@dataclass(frozen=True, slots=True)
class Pose:
    """Similarity transform from the canonical face to image px: `scale * rotation @ point + translation`."""

    scale: float  # px per canonical unit
    rotation: F64  # (3, 3)
    translation: F64  # (3,)


@dataclass(frozen=True, slots=True)
class FaceRow:
    """The followed face in one frame."""

    index: int
    """Of the frame."""
    person: int
    """Number of the person in this video, from 0."""
    weight: float
    """How much of the new mouth to show, 0..1; fades where the face comes and goes so that nothing pops."""
    pose: Pose
    box: Box
    """The upright rectangle around the landmarks."""
    points: F64  # (478, 3) the landmarks, image px, z in the same scale
    seen: bool = True
    """False: the face is hidden for a moment, and its landmarks lie between those of the frames before and after; or
    its mouth is covered."""
    looked: bool = True
    """False: they do, too, where the face hardly moves and the landmark network was not asked."""
    covered: bool = False
    """Something is in front of the mouth, or is so in a moment: the weight is 0, and the landmarks may be guesses."""
