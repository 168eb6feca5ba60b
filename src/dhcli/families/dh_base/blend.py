"""The new mouth into the frame: at native resolution, in the codec's own planes, and nowhere but under a soft window.

The network's answer comes on the crop's 160 px grid. It is carried to the frame's pixels, not the frame to the crop:
every pixel of the frame and of the reference is sampled once, skin, teeth and grain stay sharp, and where the window is
0 nothing changes.

    new = (1 - w_c - w_r) * warp(frame) + w_c * colour + w_r * (warp(reference) + light)
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
from dhcli.families.dh_base.references import Reference
from dhcli.families.dh_base.speak import Mouth, Spoken
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


def covering(mouth: Mouth) -> align.Area:
    """The part of the crop, px, where more than the frame's own pixels is seen: around the inside of the mouth."""
    step = max(1.0, 1 / align.spacing(mouth.matrix))  # crop px from one image px to the next, or of averaged layers
    seen = mouth.weights.sum(2) * _reach(round(step)) > UNSEEN
    x, y, width, height = cv2.boundingRect(seen.view(np.uint8))
    margin = 1 + math.ceil(2 * step)  # as far as averaging and sampling carry the weights
    return max(0, x - margin), max(0, y - margin), min(CROP, x + width + margin), min(CROP, y + height + margin)


@lru_cache(maxsize=8)
def _reach(px: int) -> F32:  # (160, 160)
    """The most of the window that averaging over so many px may bring to each."""
    return np.asarray(cv2.dilate(window(), np.ones((2 * px + 1, 2 * px + 1), np.uint8)), np.float32)


@dataclass(frozen=True, slots=True)
class _Layers:
    """A mouth on its own grid, which is the crop's or a smaller one."""

    matrix: F64  # (2, 3) image px -> grid px
    motion: F32  # (n, n, 3): from the new picture's pixel to where it comes from, image px; window
    cover: F32  # (n, n, 4): weight of all that is not the frame's; the reference's; where it comes from there, px
    fill: F32  # (n, n, 3) YUV in 8-bit units: colour and light, each times its weight


@dataclass(frozen=True, slots=True)
class _Sampling:
    """What is pasted into planes of one resolution, for each of their px under the crop."""

    area: align.Area
    """What the crop covers, px of the planes."""
    x: F32  # (h, w) px of the planes that the frame's pixels come from
    y: F32
    mask: F32  # (h, w) 0..1: the window
    inside: align.Area
    """The part of the area where more than the frame's own pixels is seen."""
    own: F32  # (h', w') inside: share of the frame's own pixels
    share: F32  # (h', w') the reference's
    there_x: F32  # (h', w') px of the reference's planes
    there_y: F32
    added: tuple[F32, ...]  # (h', w') for each plane, 8-bit units: colour and light


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
        inside = rectangle(mouth.matrix, frame.width, frame.height, covering(mouth))
        reference, shrink = _at_scale(mouth.reference, align.spacing(mouth.matrix))
        layers = _layers(mouth, weight, shrink, yuv)
        luma = self._luma(layers, area, inside)
        chroma = self._chroma(luma)
        self._paste((frame.y, out.y, reference.y), luma, luma.added[0])
        self._paste((frame.u, out.u, reference.u), chroma, chroma.added[0])
        self._paste((frame.v, out.v, reference.v), chroma, chroma.added[1])
        return out

    def _luma(self, layers: _Layers, area: align.Area, inside: align.Area) -> _Sampling:
        x, y, mask = self._layer("motion", layers.motion, layers.matrix, area)
        x += np.arange(area[0], area[2], dtype=np.float32)
        y += np.arange(area[1], area[3], dtype=np.float32)[:, None]
        if align.is_empty(inside):
            nothing = np.empty((0, 0), np.float32)
            return _Sampling(area, x, y, mask, inside, nothing, nothing, nothing, nothing, (nothing,) * 3)
        own, share, there_x, there_y = self._layer("cover", layers.cover, layers.matrix, inside)
        np.subtract(1, own, out=own)
        added = tuple(self._layer("fill", layers.fill, layers.matrix, inside))
        return _Sampling(area, x, y, mask, inside, own, share, there_x, there_y, added)

    def _chroma(self, luma: _Sampling) -> _Sampling:
        """The same for planes of half the size: a colour sample (x, y) lies at (2x, 2y + 0.5), `align.CHROMA_SHIFT`."""
        parts = (luma.x, luma.y, luma.mask, luma.own, luma.share, luma.there_x, luma.there_y, *luma.added[1:])
        halves = [self._halved(f"half {i}", part) for i, part in enumerate(parts)]
        x, y, mask, own, share, there_x, there_y, *added = halves
        for place, shift in zip((x, y, there_x, there_y), (*align.CHROMA_SHIFT, *align.CHROMA_SHIFT), strict=True):
            np.subtract(place, shift, out=place)
            np.multiply(place, 0.5, out=place)
        area, inside = align.halved(luma.area), align.halved(luma.inside)
        return _Sampling(area, x, y, mask, inside, own, share, there_x, there_y, tuple(added))

    def _halved(self, name: str, plane: F32) -> F32:
        height, width = (side // 2 for side in plane.shape)
        half = self._array(name, (width, height))
        np.add(plane[::2, ::2], plane[1::2, ::2], out=half)
        half *= np.float32(0.5)
        return half

    def _paste(self, planes: tuple[U8, U8, U8], sampling: _Sampling, added: F32) -> None:
        """Write the new pixels of a plane. The planes are the frame's, the new frame's and the reference's."""
        before, after, lender = planes
        x0, y0, x1, y1 = sampling.area
        size = _size(sampling.area)
        pixels, sampled = self._array("pixels", size), self._pixels("sampled", size)
        cv2.remap(before, sampling.x, sampling.y, cv2.INTER_CUBIC, dst=sampled, borderMode=cv2.BORDER_REPLICATE)
        np.copyto(pixels, sampled)
        if not align.is_empty(sampling.inside):
            left, top, right, bottom = sampling.inside
            part = pixels[top - y0 : bottom - y0, left - x0 : right - x0]
            part *= sampling.own
            part += self._taken(lender, sampling)
            part += added
        pixels -= before[y0:y1, x0:x1]
        pixels *= sampling.mask
        pixels += before[y0:y1, x0:x1]
        cv2.addWeighted(pixels, 1, pixels, 0, 0, dst=sampled, dtype=cv2.CV_8U)  # rounds and saturates
        after[y0:y1, x0:x1] = sampled

    def _taken(self, lender: U8, sampling: _Sampling) -> F32:
        """The reference's pixels, times their share."""
        size = _size(sampling.inside)
        taken, fresh = self._pixels("taken", size), self._array("fresh", size)
        x, y = sampling.there_x, sampling.there_y
        cv2.remap(lender, x, y, cv2.INTER_CUBIC, dst=taken, borderMode=cv2.BORDER_REPLICATE)
        np.multiply(sampling.share, taken, out=fresh)
        return fresh

    def _layer(self, name: str, layers: F32, matrix: F64, area: align.Area) -> list[F32]:
        """The layers (n, n, k) on every px of an area; `matrix` maps its px to theirs."""
        coarse, to_layers = _coarse_grid(area, matrix)
        turned = self._turned(name, layers, to_layers, coarse)
        return [self._spread(f"{name} {k}", part, _size(area)) for k, part in enumerate(turned)]

    def _turned(self, name: str, layers: F32, matrix: F64, size: tuple[int, int]) -> Sequence[cv2.typing.MatLike]:
        """The layers (n, n, k) on the coarse grid, one by one."""
        count = layers.shape[2]
        memory = self._array(f"turned {name}", size, count)
        turned = cv2.warpAffine(layers, matrix, size, dst=memory, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR)
        return cv2.split(turned, [self._array(f"turned {name} {k}", size) for k in range(count)])

    def _spread(self, name: str, layer: cv2.typing.MatLike, size: tuple[int, int]) -> F32:
        """A layer of the coarse grid on every pixel."""
        if layer.shape == size[::-1]:
            return cast("F32", layer)
        return cast("F32", cv2.resize(layer, size, dst=self._array(name, size), interpolation=cv2.INTER_LINEAR))

    def _array(self, name: str, size: tuple[int, int], layers: int = 1) -> F32:
        """Memory of `size` (width, height) and so many layers; what was in it under this name is lost."""
        width, height = size
        count = width * height * layers
        memory = self._memory.get(name)
        if memory is None or memory.size < count:
            memory = self._memory[name] = np.empty(count * 5 // 4, np.float32)  # the face comes closer
        return memory[:count].reshape((height, width) if layers == 1 else (height, width, layers))

    def _pixels(self, name: str, size: tuple[int, int]) -> U8:
        """The like for pixels as they are in the frame."""
        width, height = size
        return self._array(name, size).view(np.uint8).reshape(-1)[: width * height].reshape(height, width)


@dataclass(frozen=True, slots=True)
class FlowPatch:
    """A mouth with what puts it into its frame."""

    spoken: Spoken
    blender: Blender

    @property
    def opening(self) -> float | None:
        """See `families.family.Patch`."""
        return self.spoken.wanted.opening

    @property
    def reference(self) -> int | None:
        """See `families.family.Patch`."""
        return self.spoken.reference

    def paste(self, frame: Frame, weight: float, yuv: align.YuvMatrix) -> Frame:
        """See `families.family.Patch`."""
        (_, mouth), *others = self.spoken.mouths
        if not others:
            return self.blender.blend(frame, mouth, weight, yuv)
        ((share, other),) = others  # of two references
        new = self.blender.blend(frame.copy(), other, weight, yuv)
        out = self.blender.blend(frame, mouth, weight, yuv)
        cv2.addWeighted(out.data, 1 - share, new.data, share, 0, dst=out.data)
        return out


def _at_scale(reference: Reference, image_px: float) -> tuple[Frame, int]:
    """The reference's picture for a frame of `image_px` px per crop px, and how many px of it became one.

    A face that was nearer to the camera has more pixels than are wanted; sampled alone they would flicker.
    """
    shrink = max(1, round(reference.image_px / image_px))
    picture = reference.picture
    if shrink == 1:
        return picture, 1
    width, height = (max(2, side // (2 * shrink) * 2) for side in (picture.width, picture.height))
    planes = [
        cv2.resize(
            plane[: height * shrink // k, : width * shrink // k],
            (width // k, height // k),
            interpolation=cv2.INTER_AREA,
        )
        for plane, k in ((picture.y, 1), (picture.u, 2), (picture.v, 2))
    ]
    return Frame(0, np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, width).astype(np.uint8)), shrink


@lru_cache(maxsize=1)
def _grid() -> tuple[F32, F32]:  # (160, 160) each
    y, x = np.mgrid[0:CROP, 0:CROP].astype(np.float32)
    return x, y


def _layers(mouth: Mouth, weight: float, shrink: int, yuv: align.YuvMatrix) -> _Layers:
    to_image = np.linalg.inv(mouth.matrix[:, :2]).astype(np.float32)
    fx, fy = mouth.flow[..., 0], mouth.flow[..., 1]
    # The network's planes, merged by OpenCV: numpy takes twice to five times as long to bring them between each other.
    moves = [to_image[k, 0] * fx + to_image[k, 1] * fy for k in range(2)]
    motion = np.asarray(cv2.merge([*moves, window() * np.float32(weight)]), np.float32)
    colour_weight, share = mouth.weights[..., 0], mouth.weights[..., 1]
    gx, gy = _grid()
    rx, ry = gx + mouth.reference_flow[..., 0], gy + mouth.reference_flow[..., 1]
    there = align.invert(mouth.reference.matrix).astype(np.float32)
    places = [(there[k, 0] * rx + there[k, 1] * ry + (there[k, 2] + 0.5)) / shrink - 0.5 for k in range(2)]
    cover = np.asarray(cv2.merge([colour_weight + share, share, *places]), np.float32)
    layers = _Layers(mouth.matrix, motion, cover, _fill(mouth, yuv))
    scale = align.spacing(mouth.matrix)
    return layers if scale >= SMALL else _shrink(layers, max(16, round(CROP * scale)))


def _fill(mouth: Mouth, yuv: align.YuvMatrix) -> F32:  # (160, 160, 3)
    colour = align.from_rgb(np.asarray(cv2.merge([mouth.colour[..., k] for k in range(3)]), np.float32), yuv)
    light = cv2.transform(cv2.merge([mouth.light[..., k] for k in range(3)]), yuv.from_rgb)  # a difference: no offset
    light = cv2.resize(light, (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    colour *= mouth.weights[..., :1]
    colour += light * mouth.weights[..., 1:]
    return colour


def _size(area: align.Area) -> tuple[int, int]:
    x0, y0, x1, y1 = area
    return x1 - x0, y1 - y0


def _shrink(layers: _Layers, side: int) -> _Layers:
    averaged = (
        np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA), np.float32)
        for part in (layers.motion, layers.cover, layers.fill)
    )
    return _Layers(align.resized(layers.matrix, side / layers.motion.shape[0]), *averaged)


def _coarse_grid(area: align.Area, matrix: F64) -> tuple[tuple[int, int], F64]:
    """A grid over the area, upright with the frame and no finer than the layers, and the way from it to their px.

    The layers are turned on this grid and then only enlarged, which costs a sixth of turning them at the resolution
    of a 2160p video; they have no more detail than that.
    """
    step = max(1.0, align.spacing(matrix) * COARSE)
    columns, rows = _size(area)
    width, height = math.ceil(columns / step), math.ceil(rows / step)
    return (width, height), align.regrid(matrix, area[:2], (columns / width, rows / height))
