"""A painted crop back into its frame, at the frame's own resolution.

The network's crop has 96 to 512 px where the frame may have more. What it changed is its answer beside the crop it was
given: where it only moved skin and lips, the frame's own px are moved there in its place, so that they stay as sharp as
they were; its own px are shown where they show something new.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.families.face_crop.detail import Change, changed, moved
from dhcli.families.face_crop.mask import Paste, original_mask, soft_mask
from dhcli.families.face_crop.match import matched
from dhcli.stages import align
from dhcli.stages.paste import ColourPatch
from dhcli.types import F32, F64, U8, FaceRow, Frame

AROUND = 0.06
"""Of the crop's side: what is looked at beyond the mask, from where px may come into it."""


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
        left, top, right, bottom = shown = _shown(mask)
        area = align.covered(self.matrix, shown, frame.width, frame.height)
        out = frame if frame.data.flags.writeable else frame.copy()
        if align.is_empty(area):
            return out
        margin = round(AROUND * size)
        x, y = max(left - margin, 0), max(top - margin, 0)
        part = slice(y, bottom + margin), slice(x, right + margin)
        to_part = self.matrix - np.array([[0.0, 0.0, x], [0.0, 0.0, y]])
        given, made, mask = (np.ascontiguousarray(one[part]) for one in (self.given, self.made, mask))
        made = matched(made, given, mask, size)
        change = changed(align.from_rgb(given, yuv), align.from_rgb(made, yuv), self.detail, size)
        mask *= np.float32(weight)
        _mix(out.y, area, to_part, change.of(0), mask)
        for number, plane in enumerate((out.u, out.v), 1):
            _mix(plane, align.halved(area), align.chroma_matrix(to_part), change.of(number), mask)
        return out


def _shown(mask: F32) -> align.Area:
    """The part of the crop, px, where the mask is above 0."""
    left, top, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    return left, top, left + width, top + height


def _mix(plane: U8, area: align.Area, matrix: F64, change: Change, mask: F32) -> None:
    """Show the change in the area of a plane. `matrix` maps the plane's px to those of the change."""
    x0, y0, x1, y1 = area
    size, flags = (x1 - x0, y1 - y0), cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    to_crop = align.regrid(matrix, (x0, y0), (1.0, 1.0))
    shown = cv2.warpAffine(mask, to_crop, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    lacking, new, trust = (
        cv2.warpAffine(one, to_crop, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for one in (change.lacking, change.new, change.trust)
    )
    part = plane[y0:y1, x0:x1]
    here: U8 | F32 = part
    if change.flow.any():
        linear = np.linalg.inv(matrix[:, :2]).astype(np.float32)
        way = cv2.warpAffine(change.flow @ linear.T, to_crop, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        here = moved(plane, way[..., 0], way[..., 1], (x0, y0))
    target = new + trust * (here + lacking - new)
    part[:] = np.clip(np.rint(part + (target - part) * shown), 0, 255)
