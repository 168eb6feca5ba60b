"""What a result says about the picture of a render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

KeptWhy: TypeAlias = Literal["missing", "covered", "left"]
"""Why a frame stays as it was filmed: the face was not found, something covers the mouth, or the job says so."""


@dataclass(frozen=True, slots=True)
class PictureFigures:
    """Figures of one render; None where nothing tells them."""

    face_px: float | None
    face_px_least: float | None
    yaw_deg: float | None
    yaw_deg_most: float | None
    looked: int
    """Frames of the finished video that were looked at."""
    asked: float | None
    """Range of the opening in these frames, as it was asked for, in widths of the mouth."""
    shown: float | None
    """Range of the opening that they show."""
    correlation: float | None
    lag_ms: float | None
    sharpness: float | None
    source_sharpness: float | None
    kept: dict[KeptWhy, float]
    """Shares of the output's frames."""
    reference_switches: int | None
    noise_db: float | None
