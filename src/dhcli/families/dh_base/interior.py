"""A drawn inside of the mouth, for people who never show theirs.

A dark cavity, a tongue and two rows of teeth, in the light and the colours of the skin around the mouth. A grey picture
stays grey, for all colour is a share of what the skin and the lips have. It is drawn once for a person, as in a wide
open mouth, and shown in each frame between the lips: upper teeth stand still in the skull, lower ones go with the lip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.families.dh_base import teeth
from dhcli.families.dh_base.geometry import (
    CLOSED_GAP,
    CROP_CENTRE,
    CROP_SIDE,
    INNER,
    LOWER_LIP,
    PX_PER_UNIT,
    UPPER_LIP,
    Geometry,
)
from dhcli.families.dh_base.surroundings import Light, filled, fine_detail, light_around
from dhcli.families.dh_base.teeth import LOWER, UPPER, Row, Teeth, step
from dhcli.types import F32, F64, U8

LEFT, RIGHT = 20, 30
"""Rows of the mouth points: the inner lips, from the left corner below to the right one and back above."""
NEVER_OPEN = 0.15
"""Canonical units: lips that are never farther apart show too little of the inside to use it as a reference."""
WIDE = 0.42
"""Gap between the lips, canonical units, for which the inside is drawn."""
EDGE_BELOW_LIP, EDGE_BEHIND_LIP = 0.05, 0.10
"""Canonical units from the closed upper lip's middle to the edge of the upper teeth: at rest they show 2 to 3 mm."""
USUAL_WIDTH = 0.95
"""Canonical units between the corners of a mouth at rest, with which teeth of the usual size go."""
SHUT = 1.25 * CLOSED_GAP
"""Canonical units between lips that show nothing yet."""
OVERBITE = 0.03
"""Canonical units by which the lower teeth's edge stays below the upper one's: it never comes through them."""
MARGIN = 12
"""Crop px around the open inner lips that are painted, for mouths wider than that."""
LIGHT_SIDE = 40
"""px, side of the plane `light`."""
EDGE_BLUR = 0.8
"""Crop px: standard deviation of the drawing's edge at the lips."""
SEED = 1


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the teeth of a drawing are, and how bright it is there."""

    upper: F64  # (2,) crop px: middle of the upper teeth's edge
    lower: float  # crop px: the lower teeth's edge, y
    low: F32  # (40, 40, 3) RGB 0..1, the picture's low frequencies


@dataclass(frozen=True, slots=True)
class Drawing:
    """The inside of a person's mouth. It has no lips: it goes on behind them."""

    picture: U8  # (n, n, 3) RGB, the face network's crop
    placed: Placed


@dataclass(frozen=True, slots=True)
class Answer:
    """The network's answer for one frame, as far as it is about the reference."""

    reference_flow: F32  # (2, 160, 160) crop px, from the new picture's pixels to the reference's
    weights: F32  # (2, 160, 160) of colour and reference
    light: F32  # (3, 40, 40) RGB 0..1, added to the reference


def draw_inside(picture: U8, points: F64, angles: F64, rest: F64, geometry: Geometry) -> Drawing:
    """The inside that goes with `picture`, the face network's crop at the video's resolution, (n, n, 3) RGB.

    `points` (106, 2) crop px are the mouth points in it, `angles` the head's yaw and pitch, rad, `rest` the mouth at
    rest, (106, 3) canonical units.
    """
    pixels, turn = picture.astype(np.float32), _turn(angles)
    wide = points + (_opening(points, geometry) @ turn.T)[:, :2] * PX_PER_UNIT
    mouth, light = _measure(wide, len(picture)), light_around(pixels, points)
    upper, lower = teeth_at(wide, angles, rest)
    size = PX_PER_UNIT * float(np.clip(np.linalg.norm(rest[RIGHT] - rest[LEFT]) / USUAL_WIDTH, 0.9, 1.1))
    across, down = (mouth.x - upper[0]) / size, (mouth.y - upper[1]) / size
    rows = (
        teeth.place(across, down, turn, UPPER, up=True),
        teeth.place(across, (mouth.y - lower) / size, turn, LOWER, up=False),
    )
    luma, chroma = _paint(mouth, light, *rows)
    pixels[mouth.part] = luma[..., None] * (1 + chroma)
    drawn = np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)
    low = cv2.resize(drawn, (LIGHT_SIDE, LIGHT_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return Drawing(drawn, Placed(upper, lower, np.asarray(low, np.float32)))


def teeth_at(points: F64, angles: F64, rest: F64) -> tuple[F64, float]:
    """Where the teeth's edges are in a frame, crop px: the middle of the upper one, (2,), and the lower one's y.

    `points` (106, 2) crop px are its mouth points; upper teeth depend on `angles` and `rest` alone.
    """
    lip = rest[UPPER_LIP]
    edge = np.array([rest[INNER, 0].mean(), lip[1] + EDGE_BELOW_LIP, lip[2] + EDGE_BEHIND_LIP])
    upper = CROP_SIDE / 2 + PX_PER_UNIT * (_turn(angles) @ (edge - CROP_CENTRE))[:2]
    shown = min(0.06, 0.01 + 0.1 * _gap(points))
    return upper, max(float(points[LOWER_LIP, 1]) - shown * PX_PER_UNIT, float(upper[1]) + OVERBITE * PX_PER_UNIT)


def show(drawing: Placed, target: F64, angles: F64, rest: F64, answer: Answer) -> None:
    """Overwrite the network's answer so that it shows the drawing as the reference.

    `target` are the frame's new mouth points, (106, 2) crop px, `angles` its head's yaw and pitch, rad.

    Upper teeth are only shifted, and so are lower ones; what is between them is stretched. Nothing is left to the
    network, which has learnt no inside for people who never show one: its colour is fog, green in a grey picture, and
    its light holds the same colour.
    """
    upper, lower = teeth_at(target, angles, rest)
    ends = np.array([upper[1], lower])
    move = np.array([drawing.upper[1], drawing.lower]) - ends
    answer.reference_flow[0] = drawing.upper[0] - upper[0]
    answer.reference_flow[1] = np.interp(np.arange(CROP_SIDE), ends, move)[:, None]
    open_by = float(np.clip((_gap(target) - SHUT) / CLOSED_GAP, 0, 1))
    answer.weights[0] = 0
    np.multiply(filled(target[INNER], CROP_SIDE, EDGE_BLUR), np.float32(open_by), out=answer.weights[1])
    mouth = _measure(target, LIGHT_SIDE, everywhere=True)
    down = np.interp(mouth.y[:, 0], ends, move)
    x, y = mouth.x + (drawing.upper[0] - upper[0]), mouth.y + down[:, None]
    x, y = (np.asarray((at + 0.5) * LIGHT_SIDE / CROP_SIDE - 0.5, np.float32) for at in (x, y))
    seen = cv2.remap(drawing.low, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    np.multiply(seen.transpose(2, 0, 1), _lip_shadow(mouth) - 1, out=answer.light)


def _lip_shadow(mouth: _Mouth) -> F32:
    """Share of the light that the upper lip leaves; in a narrow gap, less."""
    by_upper = 0.65 + 0.35 * step(mouth.below / np.float32(0.09))
    left = 1 - (1 - by_upper * min(1.0, 0.85 + 0.8 * mouth.gap)) * _to_corners(mouth)
    return np.asarray(left, np.float32)


def _to_corners(mouth: _Mouth) -> F32:
    """Light that falls into the mouth, less towards the corners."""
    return np.asarray(0.25 + 0.75 * step(mouth.inward / np.float32(0.24)), np.float32)


def _turn(angles: F64) -> F64:  # (2,) -> (3, 3)
    """The rotation of a head that looks there and is upright, as it is in the crop."""
    x, y = np.sin(angles)
    z = math.sqrt(max(1 - x * x - y * y, 0.1))
    right = np.array([z, 0.0, -x]) / math.hypot(x, z)
    forward = np.array([x, y, z])
    return np.stack([right, np.cross(forward, right), forward], 1)


def _opening(points: F64, geometry: Geometry) -> F64:  # (106, 3) canonical units
    """The smallest move along the basis that opens these lips wide and keeps their width."""
    width = geometry.basis[:, RIGHT, 0] - geometry.basis[:, LEFT, 0]
    code = np.linalg.pinv(np.stack([geometry.gap_of_code, width])) @ np.array([WIDE - _gap(points), 0.0])
    return np.asarray(np.tensordot(code, geometry.basis, 1), np.float64)


def _gap(points: F64) -> float:
    """Canonical units between the inner lips' middles."""
    return float(np.linalg.norm(points[LOWER_LIP] - points[UPPER_LIP])) / PX_PER_UNIT


@dataclass(frozen=True, slots=True)
class _Mouth:
    """The open mouth. Planes are (h, w), over `part` of the picture."""

    part: tuple[slice, slice]
    unit: float  # px of the picture per canonical unit
    x: F64  # crop px of the pixels
    y: F64
    below: F32  # canonical units below the upper lip's line
    above: F32  # canonical units above the lower lip's line
    inward: F32  # distance from the nearer corner, as a share of the mouth's width
    gap: float  # canonical units


def _measure(points: F64, side: int, everywhere: bool = False) -> _Mouth:
    """In a picture of `side` px, around the lips or everywhere."""
    k, inner = side / CROP_SIDE, points[INNER]
    low = np.clip((inner.min(0) - MARGIN) * k, 0, side - 1).astype(int)
    high = np.clip((inner.max(0) + MARGIN) * k, low + 1, side).astype(int)
    part = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    if everywhere:
        part = slice(0, side), slice(0, side)
    x, y = np.meshgrid(*((np.arange(side)[axis] + 0.5) / k - 0.5 for axis in part[::-1]))
    lower, upper = inner[:11], np.concatenate([inner[:1], inner[:9:-1]])  # both from left to right
    below = (y - np.interp(x[0], upper[:, 0], upper[:, 1])) / PX_PER_UNIT
    above = (np.interp(x[0], lower[:, 0], lower[:, 1]) - y) / PX_PER_UNIT
    share = (x - inner[0, 0]) / max(inner[10, 0] - inner[0, 0], 1.0)
    below, above, inward = (np.asarray(plane, np.float32) for plane in (below, above, np.minimum(share, 1 - share)))
    return _Mouth(part, PX_PER_UNIT * k, x, y, below, above, inward, _gap(points))


@dataclass(slots=True)
class _Canvas:
    """What is painted so far."""

    luma: F32  # (h, w) 0..255
    chroma: F32  # (h, w, 3): (RGB - luma) / luma

    def put(self, cover: F32, luma: F32, chroma: F32) -> None:
        self.luma = self.luma + cover * (luma - self.luma)
        self.chroma = self.chroma + cover[..., None] * (chroma - self.chroma)


def _paint(mouth: _Mouth, light: Light, upper: Row, lower: Row) -> tuple[F32, F32]:
    """Luma (h, w), 0..255, and chroma (h, w, 3) of the inside. The numbers were chosen by eye, beside filmed mouths."""
    rng = np.random.default_rng(SEED)
    soft = max(1.2 / mouth.unit, 0.010)
    skin = np.broadcast_to(light.skin[:, mouth.part[1]], mouth.x.shape)
    shade, by_lower = _to_corners(mouth), 0.7 + 0.3 * step(mouth.above / 0.05)
    black = float(np.clip(0.8 * light.black, 6, 0.16 * max(float(skin.mean()), 40)))  # the picture's own shadows
    cavity = 0.07 * skin * (1 + step(mouth.below / max(mouth.gap, 0.05))) * shade
    canvas = _Canvas(np.maximum(cavity, black), np.broadcast_to(1.1 * light.lips, (*skin.shape, 3)))
    cover, tongue = _tongue(lower, mouth, rng)
    canvas.put(cover, np.maximum(0.58 * skin * tongue * shade * by_lower, black), 0.85 * light.lips)
    for row, arch, dim in ((lower, LOWER, 0.7 * by_lower), (upper, UPPER, np.ones_like(skin))):
        lit = skin * dim * shade / (1 + (row.depth / 0.27) ** 2)
        _put_teeth(canvas, teeth.draw(row, arch, soft), lit, light, black)
    luma, chroma = (cv2.GaussianBlur(plane, (0, 0), light.blur) for plane in (canvas.luma, canvas.chroma))
    grain = fine_detail(_noise(rng, skin.shape, 0.6))
    # Light leaves less of it in the dark, but not nothing.
    luma = luma + light.grain * grain / max(float(grain.std()), 1e-6) * np.clip(luma / np.maximum(skin, 1), 0.3, 1)
    return np.asarray(np.clip(luma, 0, light.highlight), np.float32), np.asarray(chroma, np.float32)


def _tongue(lower: Row, mouth: _Mouth, rng: np.random.Generator) -> tuple[F32, F32]:
    """Cover and shade of the tongue, which lies behind the lower teeth and comes up a little in a wide mouth."""
    dome = np.asarray(0.02 + 0.3 * mouth.gap - lower.beyond - 0.72 * lower.along**2, np.float32)
    width = np.asarray(0.36 - np.abs(lower.along), np.float32)
    cover = np.asarray(step(dome / np.float32(0.06)) * step(width / np.float32(0.08)), np.float32)
    rough = _noise(rng, dome.shape, max(0.6, 0.012 * mouth.unit))
    groove = 1 - 0.08 * np.exp(-((lower.along / 0.05) ** 2))
    return cover, (0.55 + 0.45 * step(dome / np.float32(0.2))) * groove * (1 + 0.05 * rough)


def _put_teeth(canvas: _Canvas, row: Teeth, lit: F32, light: Light, black: float) -> None:
    tooth = light.white * lit * row.shade
    luma = tooth + row.gum * (0.5 * lit - tooth)
    chroma = light.tooth + row.gum[..., None] * (0.9 * light.lips - light.tooth)
    canvas.put(row.cover, np.maximum(luma, black), chroma)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], blur: float) -> F32:
    """Noise of standard deviation 1 with features of `blur` px."""
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), blur)
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)
