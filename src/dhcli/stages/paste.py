"""A new picture of a part of the face into the frame, at the frame's resolution and in the codec's own planes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhcli.errors import DhError
from dhcli.stages import align
from dhcli.types import F32, F64, U8, Frame


@dataclass(frozen=True, slots=True)
class ColourPatch:
    """A picture that covers a part of the frame under a soft mask."""

    matrix: F64  # (2, 3) image px -> patch px
    colour: F32  # (h, w, 3) RGB 0..255
    mask: F32  # (h, w) 0..1: how much of the picture to show; beyond the patch nothing is shown
    opening: float | None = None
    reference: int | None = None
    """See `families.family.Patch`."""

    def paste(self, frame: Frame, weight: float, yuv: align.YuvMatrix) -> Frame:
        """The frame with the patch in it, or a copy where it is read-only. `weight` 0..1 scales the mask.

        Raises ValueError where picture and mask differ in size, DhError model.bad_output where a value is no number.
        """
        self._check()
        height, width = self.mask.shape
        area = align.covered(self.matrix, (0, 0, width, height), frame.width, frame.height)
        out = frame if frame.data.flags.writeable else frame.copy()
        if align.is_empty(area):
            return out
        luma, *chroma = cv2.split(align.from_rgb(self.colour, yuv))
        self._mix(out.y, area, self.matrix, luma, weight)
        for plane, picture in zip((out.u, out.v), chroma, strict=True):
            self._mix(plane, align.halved(area), align.chroma_matrix(self.matrix), picture, weight)
        return out

    def _check(self) -> None:
        if self.colour.shape != (*self.mask.shape, 3):
            raise ValueError(f"a picture of shape {self.colour.shape} under a mask of shape {self.mask.shape}")
        if not (np.isfinite(self.colour).all() and np.isfinite(self.mask).all()):
            raise DhError(
                "model.bad_output",
                "A patch has values that are NaN or infinite.",
                hint="Try --device cpu; if it fails there too, report it to the makers of the model.",
            )

    def _mix(self, plane: U8, area: align.Area, matrix: F64, picture: cv2.typing.MatLike, weight: float) -> None:
        """Show the picture in the area of a plane. `matrix` maps the plane's px to patch px."""
        x0, y0, x1, y1 = area
        to_patch = align.regrid(matrix, (x0, y0), (1.0, 1.0))
        size, flags = (x1 - x0, y1 - y0), cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        new = cv2.warpAffine(picture, to_patch, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        shown = cv2.warpAffine(self.mask, to_patch, size, flags=flags, borderMode=cv2.BORDER_CONSTANT) * weight
        part = plane[y0:y1, x0:x1]
        part[:] = np.clip(np.rint(part + (new - part) * shown), 0, 255)
