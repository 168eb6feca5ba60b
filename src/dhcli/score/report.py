"""The report of a score: the fields of `dh score --json`, and a table. Fields are added and never removed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Literal

from pydantic import ConfigDict, Field

from dhcli.results.parts import Part, WarningInfo

WIDTH = 80


class Against(Part):
    """The same frames of another video beside these: figures in parts of its own. Null: one of both tells nothing."""

    path: str = Field(description="Absolute path.")
    frames: int = Field(description="Frames that both have, at the video's rate; only these are compared.")
    opening: float | None = Field(description="Range of the opening.")
    sharpness: float | None = Field(
        description="Sharpness inside the mouth; null where the pictures differ in size, too."
    )
    flicker: float | None = Field(description="Trembling of the lips: second difference of their points.")
    inside_change: float | None = Field(description="Change inside the open mouth from frame to frame.")
    outside_mean: float | None = Field(
        description="Mean difference of the luma outside the mouth, 8-bit levels; null where the sizes differ."
    )
    outside_most: float | None = Field(description="The same, 99.9th percentile.")


class Score(Part):
    """How the mouth of a video moves and looks. Null stands for what no frame tells."""

    model_config = ConfigDict(title="dh score")

    schema_version: Literal[1] = 1
    dh: str = Field(description="Version of dh.")
    path: str = Field(description="Absolute path of the video.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    fps: str = Field(description="Frame rate, as a fraction.")
    frames: int = Field(description="Frames that were looked at: all.")
    with_face: float = Field(ge=0, le=1, description="Share of them that shows the face.")
    face_px: float | None = Field(description="Width of the face from cheek to cheek, px, median.")
    face_px_least: float | None = Field(description="The smallest of all frames.")
    yaw_deg: float | None = Field(description="Turn of the head to a side, degrees, median.")
    yaw_deg_most: float | None = Field(description="The largest of all frames.")
    opening: float | None = Field(
        description="How far the mouth opens and closes: 95th less 5th percentile of the gap between the inner lips, "
        "in widths of the mouth. Talkers have 0.3."
    )
    sharpness: float | None = Field(
        description="Inside the open mouth: variance of the luma's Laplacian, median; null where it is never open."
    )
    audio: str | None = Field(description="Absolute path of what has the sound; null where there is none.")
    model: str | None = Field(description="The model that heard it.")
    asked: float | None = Field(description="Range of the opening that the model makes of the sound.")
    correlation: float | None = Field(
        description="Of the opening with what the model makes of the sound, 1 at best; null without speech."
    )
    lag_ms: float | None = Field(
        description="Where it is best; positive: the picture is late. Null below a correlation of 0.5."
    )
    against: Against | None = Field(description="Beside the video of --against.")
    warnings: tuple[WarningInfo, ...] = Field(description="Warnings about the picture, as in a result.")


def rows(score: Score) -> Iterator[tuple[str, str, str]]:
    """Figure, value, and how to read it."""
    yield "frames with a face", f"{score.with_face * 100:.1f} %", f"of {score.frames}"
    yield "face", _number(score.face_px, "px"), f"wide; least {_number(score.face_px_least, 'px')}"
    yield "turned by", _number(score.yaw_deg, "deg"), f"most {_number(score.yaw_deg_most, 'deg')}"
    yield "opening", _number(score.opening, places=2), "widths of the mouth; talkers have 0.3"
    yield "sharpness inside", _number(score.sharpness), "variance of the Laplacian"
    yield "opening asked for", _number(score.asked, places=2), "by the sound, as the model hears it"
    yield "follows the sound", _number(score.correlation, places=2), "correlation; 1 at best"
    yield "lag", _number(score.lag_ms, "ms"), "positive: the picture is late"
    other = score.against
    if other is None:
        return
    yield "compared frames", str(other.frames), "figures below: 1 is like the original"
    yield "opening beside it", _number(other.opening, places=2), ""
    yield "sharpness inside beside it", _number(other.sharpness, places=2), ""
    yield "flicker of the lips beside it", _number(other.flicker, places=2), ""
    yield "change inside beside it", _number(other.inside_change, places=2), ""
    yield "difference outside the mouth", _number(other.outside_mean, places=2), "levels of 255"
    yield "its 99.9th percentile", _number(other.outside_most), ""


def heading(score: Score) -> list[str]:
    """What was measured, in lines of 80 columns at most."""
    text = f"{score.path}: {score.width}x{score.height}, {score.frames} frames"
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)


def _number(value: float | None, unit: str = "", *, places: int = 0) -> str:
    return "unknown" if value is None else f"{value:.{places}f} {unit}".strip()
