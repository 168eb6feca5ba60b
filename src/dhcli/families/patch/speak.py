"""Crops of the face and pieces of sound through a patch network, and its pictures back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dhcli.families.face_crop.answer import require_shape
from dhcli.families.patch.hearing import PatchAsked
from dhcli.families.patch.presets import Kind
from dhcli.families.patch.settings import Part, PatchSettings
from dhcli.networks.network import Network, Tensor
from dhcli.stages.align import YuvMatrix, crop_yuv, to_rgb
from dhcli.types import F32, F64, Frame

PARTS: tuple[Part, ...] = ("masked", "whole")


@dataclass(frozen=True, slots=True)
class Painter:
    """A patch network and what its tensors mean."""

    network: Network
    settings: PatchSettings
    tensors: Mapping[Kind, str]

    def crop(self, frame: Frame, matrix: F64, yuv: YuvMatrix) -> F32:  # -> (size, size, 3) RGB 0..255
        """The part of a frame that the network sees; `matrix` maps image px to its px."""
        return to_rgb(crop_yuv(frame, matrix, self.settings.size), yuv)

    def paint(self, crops: Sequence[F32], asked: Sequence[PatchAsked]) -> list[F32]:
        """The new picture of each crop, (size, size, 3) RGB 0..255. Raises DhError model.*, device.*."""
        pictures = np.stack([self._seen(crop) for crop in crops])
        feeds = self._pictures(pictures)
        feeds["sound"] = np.stack([one.sound for one in asked])
        made: list[F32] = []
        for begin, end in self._batches(len(crops), asked):
            part = {kind: values[begin:end] for kind, values in feeds.items()}
            made += self._ask(part, asked[begin].weight, end - begin)
        return made

    def _seen(self, crop: F32) -> F32:  # (size, size, 3) RGB 0..255 -> (3, size, size) in the network's order
        picture = crop if self.settings.channels == "rgb" else crop[..., ::-1]
        return np.ascontiguousarray(np.moveaxis(picture, 2, 0))

    def _pictures(self, whole: F32) -> dict[Kind, F32]:  # (n, 3, size, size) 0..255
        masked = self._masked(whole) if self.settings.mask != "none" else whole
        parts = {"whole": self._scaled(whole), "masked": self._scaled(masked)}
        if "picture" in self.tensors:
            return {"picture": np.concatenate([parts[part] for part in self.settings.order], 1)}
        return {kind: parts[kind] for kind in PARTS if kind in self.tensors}

    def _masked(self, whole: F32) -> F32:
        masked, size = whole.copy(), self.settings.size
        x, y, width, height = self.settings.rectangle or (0, size // 2, size, size - size // 2)
        masked[:, :, y : y + height, x : x + width] = 0
        return masked

    def _scaled(self, pictures: F32) -> F32:
        low, high = self.settings.range
        return np.asarray(pictures * np.float32((high - low) / 255) + np.float32(low), np.float32)

    def _batches(self, rows: int, asked: Sequence[PatchAsked]) -> list[tuple[int, int]]:
        """Runs of rows that go through the network at once: of its batch if that is fixed, and of one weight."""
        most = self._fixed or rows
        cuts = [0]
        for row in range(1, rows):
            if row - cuts[-1] == most or asked[row].weight != asked[row - 1].weight:
                cuts.append(row)
        return list(zip(cuts, [*cuts[1:], rows], strict=True))

    @property
    def _fixed(self) -> int | None:
        sound_and_pictures = {name for kind, name in self.tensors.items() if kind not in {"weight", "output"}}
        sizes = [info.shape[0] for info in self.network.inputs if info.name in sound_and_pictures]
        return next((size for size in sizes if isinstance(size, int)), None)

    def _ask(self, feeds: Mapping[Kind, F32], weight: float, count: int) -> list[F32]:
        """The network's pictures. A fixed batch that is not full is filled with its last row."""
        types = {info.name: info.dtype for info in self.network.inputs}
        lacking = max(0, (self._fixed or count) - count)
        named: dict[str, Tensor] = {}
        for kind, values in feeds.items():
            full = np.concatenate([values, np.repeat(values[-1:], lacking, 0)]) if lacking else values
            named[self.tensors[kind]] = np.ascontiguousarray(full, types[self.tensors[kind]])
        if name := self.tensors.get("weight"):
            shape = next(info.shape for info in self.network.inputs if info.name == name)
            named[name] = np.full([1] * len(shape), weight, types[name])
        # Silence is one value everywhere, and a network may well answer it with one colour.
        silence = bool(np.ptp(feeds["sound"]) == 0)
        (answer,) = self.network.run((self.tensors["output"],), named, even=silence)
        require_shape(self.network, answer, (count + lacking, 3, self.settings.size, self.settings.size))
        return [self._picture(one) for one in np.asarray(answer[:count], np.float32)]

    def _picture(self, answer: F32) -> F32:  # (3, size, size) -> (size, size, 3) RGB 0..255
        low, high = self.settings.range
        picture = np.moveaxis((answer - np.float32(low)) * np.float32(255 / (high - low)), 0, 2)
        if self.settings.channels == "bgr":
            picture = picture[..., ::-1]
        return np.ascontiguousarray(np.clip(picture, 0, 255), np.float32)
