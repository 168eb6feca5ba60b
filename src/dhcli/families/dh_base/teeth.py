"""Two rows of teeth as planes: where each pixel lies on a row, and what the row looks like there.

One canonical unit is 50 mm: the eyes' outer corners are 1.775 apart, in people 88 mm (Farkas 1994). Crowns have their
usual sizes (Wheeler's Dental Anatomy): above 8.5, 6.5, 7.5, 7 mm wide from the middle outwards and 10.5, 9, 10, 8.5 mm
high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dhcli.types import F32, F64

ROUNDS = 6
"""Of the search for a pixel's place on a row; at a yaw of 0.5 rad the last one moves it by a hundredth of a tooth."""
OUTMOST = 0.6
"""Canonical units from the middle, beyond which no tooth is seen."""
SEAM, SEAM_DEPTH = 0.006, 0.34
"""Width of the line between two teeth, canonical units, and how much light it takes at the edge."""


@dataclass(frozen=True, slots=True)
class Arch:
    """One row. The halves of each pair, left and right in the picture, differ a little, as people's do. Lengths are in
    canonical units, from the middle outwards.
    """

    widths: tuple[tuple[float, ...], tuple[float, ...]]
    shorter: tuple[tuple[float, ...], tuple[float, ...]]  # than the first tooth
    heights: tuple[float, ...]
    corners: tuple[float, ...]  # how far the ends of the edge lie behind its middle
    roundness: tuple[float, ...]  # exponent of the edge's outline: incisors are straight, canines pointed
    curve: float  # a tooth that is x off the middle lies curve * x**2 deeper than the first


UPPER = Arch(
    widths=((0.168, 0.133, 0.150, 0.140, 0.135, 0.200), (0.172, 0.129, 0.152, 0.141, 0.133, 0.200)),
    shorter=((0.0, 0.017, 0.002, 0.020, 0.030, 0.040), (0.002, 0.013, 0.005, 0.022, 0.031, 0.040)),
    heights=(0.21, 0.18, 0.20, 0.17, 0.16, 0.15),
    corners=(0.014, 0.020, 0.026, 0.024, 0.020, 0.010),
    roundness=(5.0, 5.0, 1.8, 1.8, 1.8, 1.8),
    curve=1.4,
)
LOWER = Arch(
    widths=((0.104, 0.115, 0.136, 0.140, 0.140, 0.220), (0.107, 0.113, 0.138, 0.140, 0.140, 0.220)),
    shorter=((0.0, 0.004, -0.006, 0.010, 0.020, 0.020), (0.005, 0.0, -0.004, 0.012, 0.020, 0.020)),
    heights=(0.17, 0.17, 0.19, 0.16, 0.15, 0.14),
    corners=(0.007, 0.009, 0.030, 0.024, 0.015, 0.010),
    roundness=(5.0, 5.0, 1.8, 1.8, 1.8, 1.8),
    curve=1.7,
)


@dataclass(frozen=True, slots=True)
class Row:
    """Where each pixel lies on a row of teeth; planes (h, w) in canonical units."""

    along: F32  # along the arch, from its middle, right is positive
    beyond: F32  # from the first tooth's edge away from its gum
    depth: F32  # behind the first tooth
    facing: F32  # 0..1: across the picture per way along the arch


@dataclass(frozen=True, slots=True)
class Teeth:
    """What a row looks like, planes (h, w)."""

    cover: F32  # 0..1
    shade: F32  # light that comes back, 1 where a tooth faces the viewer
    gum: F32  # 0..1: share of gum in what covers


def place(dx: F64, dy: F64, turn: F64, arch: Arch, up: bool) -> Row:
    """The way from the picture to a row of teeth.

    `dx` and `dy` are the pixels' distances from the edge of its first tooth, (h, w) canonical units; `turn` (3, 3)
    turns the head into the picture; `up` says that the gum is above.
    """
    (a, b), (c, d) = np.linalg.inv(turn[:2, :2])
    x = y = depth = np.zeros_like(dx)
    for _ in range(ROUNDS):
        across, down = dx - turn[0, 2] * depth, dy - turn[1, 2] * depth
        x, y = np.clip(a * across + b * down, -OUTMOST, OUTMOST), c * across + d * down
        depth = arch.curve * x**2
    steep = np.sqrt(1 + (2 * arch.curve * x) ** 2)
    along = x / 2 * steep + np.arcsinh(2 * arch.curve * x) / (4 * arch.curve)  # length of a parabola
    planes = (along, y if up else -y, depth, 1 / steep)
    return Row(*(np.asarray(plane, np.float32) for plane in planes))


def draw(row: Row, arch: Arch, soft: float) -> Teeth:
    """The row's teeth; edges are `soft` canonical units wide."""
    left, right = _half(row, arch, 0, soft), _half(row, arch, 1, soft)
    return Teeth(*(np.where(row.along < 0, a, b) for a, b in zip(left, right, strict=True)))


def _half(row: Row, arch: Arch, half: int, soft: float) -> tuple[F32, F32, F32]:
    along = np.abs(row.along)
    ends = np.cumsum(arch.widths[half])
    tooth = np.minimum(np.searchsorted(ends, along), len(ends) - 1)
    width, height = _of(arch.widths[half], tooth), _of(arch.heights, tooth)
    off = np.abs(
        np.clip((ends.astype(np.float32)[tooth] - along) / width * 2 - 1, -1, 1)
    )  # 0 middle of the tooth, 1 side
    edge = -_of(arch.shorter[half], tooth) - _of(arch.corners, tooth) * off ** _of(arch.roundness, tooth)
    inward = edge - row.beyond
    cover = step(inward / soft + 0.5) * (along < ends[-1])
    gum = step((inward - height * (1 - 0.16 * off**2)) / soft + 0.5)
    up = np.clip(inward / height, 0, 1)
    line = max(SEAM, 0.6 * soft)  # blurred, it is wider and lighter
    distance = (1 - off) * width / 2 * row.facing
    seam = np.exp(-((distance / line) ** 2)) * (SEAM / line) ** 0.7 * SEAM_DEPTH * (1 - 0.5 * up)
    body = (1 - 0.13 * off**2.5) * (1 - 0.14 * np.exp(-((up / 0.1) ** 2)) - 0.1 * np.clip(up - 0.5, 0, 1))
    return cover, (1 - seam) * body, gum


def _of(values: tuple[float, ...], tooth: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> F32:
    return np.array(values, np.float32)[tooth]


def step(x: F32) -> F32:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(x, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
