"""A painted crop back into its frame, at the frame's own resolution.

The network's crop has 96 to 512 px where the frame may have more. What it changed is its answer beside the crop it was
given: where it only moved skin and lips, the frame's own px are moved there in its place, so that they stay as sharp as
they were; its own px are shown where they show something new.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.families.face_crop.mask import Paste, original_mask, soft_mask
from dhcli.families.face_crop.match import matched
from dhcli.stages import align
from dhcli.stages.paste import ColourPatch
from dhcli.types import F32, F64, U8, FaceRow, Frame

FLOW_SIDE = 256
"""The way that pixels went is looked for in crops of this many px at most."""
MOST_MOVED = 0.12
"""Of the crop's side; a mouth does not move farther from one picture to another."""
TRUST = 22.0
"""Levels of luma between the moved frame and the network's picture at which the frame counts for a third."""


@dataclass(frozen=True, slots=True)
class FacePatch:
    """One painted crop; see `families.family.Patch`."""

    face: FaceRow
    matrix: F64  # (2, 3) image px -> crop px
    given: F32  # (s, s, 3) RGB 0..255 the crop as it was
    made: F32  # (s, s, 3) RGB 0..255 what the network made of it
    style: Paste
    """How the model's own program pastes."""
    detail: float = 1.0
    """0..1: how much of the frame's own detail stays."""
    faithful: bool = False
    opening: float | None = None
    reference: int | None = None

    def paste(self, frame: Frame, weight: float, yuv: align.YuvMatrix) -> Frame:
        """The frame with the new face in it, or a copy where it is read-only. `weight` 0..1 scales the mask."""
        size = len(self.made)
        if self.faithful:
            mask = original_mask(self.style, self.face.points, self.matrix, size)
            return ColourPatch(self.matrix, self.made, mask).paste(frame, weight, yuv)
        mask = soft_mask(self.face.points, self.matrix, size)
        left, top, wide, high = cv2.boundingRect((mask > 0).astype(np.uint8))
        area = align.covered(self.matrix, (left, top, left + wide, top + high), frame.width, frame.height)
        out = frame if frame.data.flags.writeable else frame.copy()
        if align.is_empty(area):
            return out
        given, made = align.from_rgb(self.given, yuv), align.from_rgb(self.made, yuv)
        change = changed(given, matched(made, given, mask), self.detail)
        _mix(out.y, area, self.matrix, change.of(0), mask * weight)
        chroma = align.chroma_matrix(self.matrix)
        for number, plane in enumerate((out.u, out.v), 1):
            _mix(plane, align.halved(area), chroma, change.of(number), mask * weight)
        return out


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a crop: its px moved, plus a difference; and a new picture where that is not trusted."""

    flow: F32  # (s, s, 2) crop px, from the new picture's px to where it was
    lacking: F32  # (s, s, 3) or (s, s) what the moved crop lacks of the new one
    new: F32  # (s, s, 3) or (s, s)
    trust: F32  # (s, s) 0..1: how much of the moved crop to take

    def of(self, channel: int) -> Change:
        """The same for one plane."""
        lacking, new = (np.ascontiguousarray(one[..., channel]) for one in (self.lacking, self.new))
        return Change(self.flow, lacking, new, self.trust)


def changed(given: F32, made: F32, detail: float) -> Change:  # (s, s, 3) YUV, twice
    """How the px of one crop became those of the other."""
    size = len(made)
    if not detail:
        still, none = np.zeros((size, size, 2), np.float32), np.zeros((size, size), np.float32)
        return Change(still, made - given, made, none)
    flow = _flow(given[..., 0], made[..., 0])
    moved = _moved(given, flow[..., 0], flow[..., 1], (0, 0))
    lacking = made - np.asarray(moved, np.float32)
    error = cv2.GaussianBlur(np.abs(lacking[..., 0]), (0, 0), max(1.0, size / 96))
    trust = np.exp(-np.square(np.asarray(error, np.float32) / TRUST)) * np.float32(detail)
    return Change(flow, lacking, made, np.asarray(trust, np.float32))


def _flow(given: F32, made: F32) -> F32:  # (s, s) luma, twice -> (s, s, 2)
    """Where each px of the new picture came from, crop px; 0 where the pictures are alike."""
    size = len(made)
    before, after = (np.clip(np.rint(picture), 0, 255).astype(np.uint8) for picture in (given, made))
    if np.array_equal(before, after):
        return np.zeros((size, size, 2), np.float32)
    shrink = min(1.0, FLOW_SIDE / size)
    if shrink < 1:
        before, after = (np.asarray(cv2.resize(one, (FLOW_SIDE, FLOW_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
                         for one in (before, after))  # fmt: skip
    found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(after, before, None)  # type: ignore[call-overload]
    found = cv2.GaussianBlur(found, (0, 0), max(1.0, len(after) / 96))
    if shrink < 1:
        found = cv2.resize(found, (size, size), interpolation=cv2.INTER_LINEAR) / shrink
    most = MOST_MOVED * size
    return np.asarray(np.clip(found, -most, most), np.float32)


def _mix(plane: U8, area: align.Area, matrix: F64, change: Change, mask: F32) -> None:
    """Show the change in the area of a plane. `matrix` maps the plane's px to crop px."""
    x0, y0, x1, y1 = area
    size, flags = (x1 - x0, y1 - y0), cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    to_crop = align.regrid(matrix, (x0, y0), (1.0, 1.0))
    shown = cv2.warpAffine(mask, to_crop, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    lacking, new, trust = (
        cv2.warpAffine(one, to_crop, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for one in (change.lacking, change.new, change.trust)
    )
    part = plane[y0:y1, x0:x1]
    moved: cv2.typing.MatLike = part
    if change.flow.any():
        linear = np.linalg.inv(matrix[:, :2]).astype(np.float32)
        way = cv2.warpAffine(change.flow @ linear.T, to_crop, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        moved = _moved(plane, way[..., 0], way[..., 1], (x0, y0))
    target = trust * (moved + lacking) + (1 - trust) * new
    part[:] = np.clip(np.rint(part + (target - part) * shown), 0, 255)


def _moved(
    picture: U8 | F32, x: cv2.typing.MatLike, y: cv2.typing.MatLike, origin: tuple[int, int]
) -> cv2.typing.MatLike:
    """The part of a picture from `origin` on, each px taken from where the way (x, y) px leads."""
    height, width = x.shape[:2]
    columns = np.arange(origin[0], origin[0] + width, dtype=np.float32)
    rows = np.arange(origin[1], origin[1] + height, dtype=np.float32)[:, None]
    # Cubic, since linear sampling takes away what the detail is kept for: half of the sharpness at half a pixel.
    return cv2.remap(picture, x + columns, y + rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
