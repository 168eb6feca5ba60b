"""The new mouth into the frame: at native resolution, in the codec's own planes, and nowhere but under a soft window.

Flow, colour and opacity come on the crop's 160 px grid. They are carried to the frame's pixels, not the frame to the
crop, so every original pixel is sampled once, skin and grain stay sharp, and where the window is 0 nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import cv2
import numpy as np

from dhcli.families.dh_base.geometry import CROP_SIDE as CROP
from dhcli.families.dh_base.speak import Mouth
from dhcli.stages import align
from dhcli.types import F32, F64, U8, Frame

TAPER = 8  # crop px over which the window ends at the crop's border, where the ellipse alone would still be at 0.4
SMALL = 0.6  # below this size the layers are averaged down first; sampling alone would alias
COARSE = 0.5  # px of the layers per px of the grid that they are turned on; at 1 a pixel in 80 is off by two levels
WHOLE = (0, 0, CROP, CROP)
UNSEEN = 1 / 4096  # of opacity in the window: a sixteenth of a level at most


@lru_cache(maxsize=1)
def window() -> F32:  # (160, 160)
    """The soft ellipse around the mouth that fades the new picture into the frame, 0..1."""
    y, x = np.mgrid[0:CROP, 0:CROP]
    ellipse = np.clip(1.25 - np.hypot((x - 80) / 70, (y - 88) / 68), 0, 0.25) / 0.25
    soft = cv2.GaussianBlur(ellipse.astype(np.float32), (0, 0), 4)
    ramp = np.clip(np.minimum(np.arange(CROP), np.arange(CROP)[::-1]) / TAPER, 0, 1).astype(np.float32)
    return np.asarray(soft * np.minimum.outer(ramp, ramp), np.float32)


def rectangle(matrix: F64, width: int, height: int, part: align.Area = WHOLE) -> align.Area:
    """What `part` of the crop covers of the frame, even numbers, inside the frame."""
    return align.covered(matrix, part, width, height)


def coloured(mouth: Mouth) -> align.Area:
    """The part of the crop, px, where the colour is seen: half of it, around the inside of the mouth."""
    image_px = max(1.0, 1 / align.spacing(mouth.matrix))  # of the crop; as wide as a px of layers that were averaged
    x, y, width, height = cv2.boundingRect((mouth.opacity * _reach(round(image_px)) > UNSEEN).view(np.uint8))
    margin = 1 + math.ceil(2 * image_px)  # as far as averaging and sampling carry the opacity
    return max(0, x - margin), max(0, y - margin), min(CROP, x + width + margin), min(CROP, y + height + margin)


@lru_cache(maxsize=8)
def _reach(px: int) -> F32:  # (160, 160)
    """The most of the window that averaging over so many px may bring to each."""
    return np.asarray(cv2.dilate(window(), np.ones((2 * px + 1, 2 * px + 1), np.uint8)), np.float32)


@dataclass(frozen=True, slots=True)
class _Layers:
    """A mouth on its own grid, which is the crop's or a smaller one."""

    matrix: F64  # (2, 3) image px -> grid px
    motion: F32  # (n, n, 4): from the new picture's pixel to where it comes from, image px; opacity; window
    colour: F32  # (n, n, 3) YUV in 8-bit units


class Blender:
    """Puts mouths into frames. It keeps its working memory, which else costs more time than the arithmetic: a quarter
    of a megapixel of fresh memory is a thousand page faults. Not for two threads at once.
    """

    def __init__(self) -> None:
        self._memory: dict[str, F32] = {}

    def blend(self, frame: Frame, mouth: Mouth, weight: float, yuv: align.YuvMatrix) -> Frame:
        """The frame with the new mouth in it, or a copy if it is read-only. `weight` 0..1 scales the window."""
        area = rectangle(mouth.matrix, frame.width, frame.height)
        out = frame if frame.data.flags.writeable else frame.copy()
        if align.is_empty(area):
            return out
        layers = _layers(mouth, weight, yuv)
        inside = rectangle(mouth.matrix, frame.width, frame.height, coloured(mouth))
        self._paste([frame.y], [out.y], area, inside, layers.matrix, layers.motion, layers.colour[..., :1], 1)
        chroma = align.chroma_matrix(layers.matrix)
        old, new = [frame.u, frame.v], [out.u, out.v]
        self._paste(
            old, new, align.halved(area), align.halved(inside), chroma, layers.motion, layers.colour[..., 1:], 2
        )
        return out

    def _paste(
        self,
        old: Sequence[U8],
        new: Sequence[U8],
        area: align.Area,
        inside: align.Area,
        matrix: F64,
        motion: F32,
        colour: F32,
        subsampling: int,
    ) -> None:
        """Write the new pixels of planes that lie alike; those `inside` have something of the colour.

        `matrix` maps their px to the layers' px.
        """
        x0, y0, x1, y1 = area
        size = _size(area)
        coarse, to_layers = _coarse_grid(area, matrix)
        dx, dy, opacity, mask = (
            self._spread(f"motion {k}", part, size, cv2.INTER_LINEAR)
            for k, part in enumerate(self._turned("turned motion", motion, to_layers, coarse, cv2.INTER_LINEAR))
        )
        if subsampling != 1:
            dx /= subsampling
            dy /= subsampling
        dx += np.arange(x0, x1, dtype=np.float32)
        dy += np.arange(y0, y1, dtype=np.float32)[:, None]
        pixels, sampled = self._array("pixels", size), self._pixels(size)
        left, top, right, bottom = inside
        part = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
        for before, after, plane in zip(old, new, self._fresh(inside, matrix, colour), strict=True):
            cv2.remap(before, dx, dy, cv2.INTER_CUBIC, dst=sampled, borderMode=cv2.BORDER_REPLICATE)
            np.copyto(pixels, sampled)
            if plane is not None:
                mixed = self._spread("colour", plane, _size(inside), cv2.INTER_CUBIC)
                under = pixels[part]
                mixed -= under
                mixed *= opacity[part]
                under += mixed
            pixels -= before[y0:y1, x0:x1]
            pixels *= mask
            pixels += before[y0:y1, x0:x1]
            cv2.addWeighted(pixels, 1, pixels, 0, 0, dst=sampled, dtype=cv2.CV_8U)  # rounds and saturates
            after[y0:y1, x0:x1] = sampled

    def _fresh(self, inside: align.Area, matrix: F64, colour: F32) -> Sequence[cv2.typing.MatLike | None]:
        """The colour's layers on a coarse grid over the pixels `inside`; None each where there are no such pixels."""
        if align.is_empty(inside):
            return [None] * colour.shape[2]
        coarse, to_layers = _coarse_grid(inside, matrix)
        return self._turned("turned colour", colour, to_layers, coarse, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)

    def _turned(
        self,
        name: str,
        layers: F32,  # (n, n, k)
        matrix: F64,
        size: tuple[int, int],
        how: int,
        border: int = cv2.BORDER_CONSTANT,
    ) -> Sequence[cv2.typing.MatLike]:
        """The k layers on the coarse grid."""
        count = layers.shape[2]
        flags = cv2.WARP_INVERSE_MAP | how
        memory = self._array(name, size, count)
        turned = cv2.warpAffine(layers, matrix, size, dst=memory, flags=flags, borderMode=border)
        return cv2.split(turned, [self._array(f"{name} {k}", size) for k in range(count)])

    def _spread(self, name: str, layer: cv2.typing.MatLike, size: tuple[int, int], how: int) -> F32:
        """A layer of the coarse grid on every pixel."""
        if layer.shape == size[::-1]:
            return cast("F32", layer)
        return cast("F32", cv2.resize(layer, size, dst=self._array(name, size), interpolation=how))

    def _array(self, name: str, size: tuple[int, int], layers: int = 1) -> F32:
        """Memory of `size` (width, height) and so many layers; what was in it under this name is lost."""
        width, height = size
        count = width * height * layers
        memory = self._memory.get(name)
        if memory is None or memory.size < count:
            memory = self._memory[name] = np.empty(count * 5 // 4, np.float32)  # the face comes closer
        return memory[:count].reshape((height, width) if layers == 1 else (height, width, layers))

    def _pixels(self, size: tuple[int, int]) -> U8:
        """The like for pixels as they are in the frame."""
        width, height = size
        return self._array("sampled", size).view(np.uint8).reshape(-1)[: width * height].reshape(height, width)


@dataclass(frozen=True, slots=True)
class FlowPatch:
    """A mouth with what puts it into its frame."""

    mouth: Mouth
    blender: Blender

    def paste(self, frame: Frame, weight: float, yuv: align.YuvMatrix) -> Frame:
        """See `families.family.Patch`."""
        return self.blender.blend(frame, self.mouth, weight, yuv)


def _layers(mouth: Mouth, weight: float, yuv: align.YuvMatrix) -> _Layers:
    to_image = np.linalg.inv(mouth.matrix[:, :2]).astype(np.float32)
    fx, fy = mouth.flow[..., 0], mouth.flow[..., 1]
    # The network's planes, merged by OpenCV: numpy takes twice to five times as long to bring them between each other.
    moves = [to_image[k, 0] * fx + to_image[k, 1] * fy for k in range(2)]
    motion = np.asarray(cv2.merge([*moves, mouth.opacity, window() * np.float32(weight)]), np.float32)
    colour = np.asarray(cv2.merge([mouth.colour[..., k] for k in range(3)]), np.float32)
    layers = _Layers(mouth.matrix, motion, align.from_rgb(colour, yuv))
    scale = align.spacing(mouth.matrix)
    return layers if scale >= SMALL else _shrink(layers, max(16, round(CROP * scale)))


def _size(area: align.Area) -> tuple[int, int]:
    x0, y0, x1, y1 = area
    return x1 - x0, y1 - y0


def _shrink(layers: _Layers, side: int) -> _Layers:
    k = side / layers.motion.shape[0]
    smaller = layers.matrix * k
    smaller[:, 2] += (k - 1) / 2  # pixel centres stay where they are
    size = (side, side)
    return _Layers(
        smaller,
        np.asarray(cv2.resize(layers.motion, size, interpolation=cv2.INTER_AREA), np.float32),
        np.asarray(cv2.resize(layers.colour, size, interpolation=cv2.INTER_AREA), np.float32),
    )


def _coarse_grid(area: align.Area, matrix: F64) -> tuple[tuple[int, int], F64]:
    """A grid over the area, upright with the frame and no finer than the layers, and the way from it to their px.

    The layers are turned on this grid and then only enlarged, which costs a sixth of turning them at the resolution
    of a 2160p video; they have no more detail than that.
    """
    step = max(1.0, align.spacing(matrix) * COARSE)
    columns, rows = _size(area)
    width, height = math.ceil(columns / step), math.ceil(rows / step)
    return (width, height), align.regrid(matrix, area[:2], (columns / width, rows / height))
