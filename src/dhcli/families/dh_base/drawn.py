"""The reference of a person who never opens the mouth: a closed frame of his, with the inside drawn into it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from dhcli.families.dh_base.geometry import CROP_SIDE, Geometry
from dhcli.families.dh_base.interior import draw_inside
from dhcli.families.dh_base.references import Reference
from dhcli.stages import align
from dhcli.types import F32, F64, Frame

LARGEST_SIDE = 1600
"""px of the drawing; a mouth of 700 px has nothing that it would lack."""
LEFT_SITED = np.array([0.25, 0.5, 0.25])
"""Luma px that a colour sample stands for, left to right; see `align.CHROMA_SHIFT`."""


def drawn_reference(closed: Reference, rest: F64, geometry: Geometry, yuv: align.YuvMatrix) -> Reference:
    """A reference whose picture shows the inside of the mouth, as large as the person is in the frame `closed`.

    `rest` (106, 3) is the person's mouth at rest, canonical units.
    """
    side = min(LARGEST_SIDE, max(CROP_SIDE, round(CROP_SIDE * closed.image_px / 2) * 2))
    native = align.resized(closed.matrix, side / CROP_SIDE)
    crop = np.rint(align.to_rgb(align.crop_yuv(closed.picture, native, side), yuv)).astype(np.uint8)
    drawing = draw_inside(crop, closed.points, closed.stand.angle, rest, geometry)
    matrix = align.resized(np.eye(2, 3), CROP_SIDE / side)
    picture = _planar(align.from_rgb(drawing.picture.astype(np.float32), yuv))
    return dataclasses.replace(closed, picture=picture, matrix=matrix, drawing=drawing.placed)


def _planar(yuv: F32) -> Frame:  # (n, n, 3) at full resolution
    luma, *colour = cv2.split(yuv)
    once = np.ones(1)
    planes = [luma]
    for plane in colour:
        wide = cv2.sepFilter2D(plane, -1, LEFT_SITED, once, borderType=cv2.BORDER_REPLICATE)[:, ::2]
        planes.append((wide[::2] + wide[1::2]) / 2)
    data = np.concatenate([np.clip(np.rint(plane), 0, 255).astype(np.uint8).reshape(-1) for plane in planes])
    return Frame(0, data.reshape(-1, len(yuv)))
