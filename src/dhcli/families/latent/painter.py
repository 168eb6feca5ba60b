"""Crops of the face to latents, and latents and rows of sound to new faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dhcli.families.latent.kept import F16
from dhcli.families.latent.parts import Part
from dhcli.families.latent.settings import LatentSettings
from dhcli.stages.align import YuvMatrix, crop_yuv, to_rgb
from dhcli.types import F32, F64, Frame


@dataclass(frozen=True, slots=True)
class Painter:
    """The three networks that have to do with pictures."""

    settings: LatentSettings
    encoder: Part
    unet: Part
    decoder: Part

    def crop(self, frame: Frame, matrix: F64, yuv: YuvMatrix) -> F32:  # -> (size, size, 3) RGB 0..255
        """The part of a frame that the networks see; `matrix` maps image px to its px."""
        return to_rgb(crop_yuv(frame, matrix, self.settings.size), yuv)

    def encode(self, crops: Sequence[F32]) -> F16:  # (size, size, 3) RGB 0..255 each -> (n, *settings.latents)
        """The latents of each crop, masked and whole, times `scale`: half precision, as they are kept.

        The masked one is black from the middle down, before colours get the network's range.
        """
        whole = np.stack([self._seen(crop) for crop in crops])
        masked = whole.copy()
        masked[:, :, self.settings.size // 2 :] = 0
        both = np.stack([masked, whole], 1).reshape(-1, *whole.shape[1:])
        latents = self.encoder.ask({"picture": self._scaled(both)})
        # Some exports give mean and logarithm of the variance, one behind the other.
        mean = latents[:, : self.settings.latent_channels] * np.float32(self.settings.scale)
        return mean.reshape(len(crops), *self.settings.latents).astype(np.float16)

    def paint(self, latents: F16, sounds: F32) -> list[F32]:
        """The new face for the latents (n, *settings.latents) and the sound (n, rows, width) of each frame.

        (size, size, 3) RGB 0..255 each. Raises DhError model.*, device.*.
        """
        new = self.unet.ask({"latents": latents, "sound": sounds}, {"timestep": self.settings.timestep})
        pictures = self.decoder.ask({"latents": new / np.float32(self.settings.scale)})
        return [self._shown(picture) for picture in pictures]

    def _seen(self, crop: F32) -> F32:  # (size, size, 3) RGB -> (3, size, size) in the network's order
        picture = crop if self.settings.channels == "rgb" else crop[..., ::-1]
        return np.ascontiguousarray(np.moveaxis(picture, 2, 0))

    def _scaled(self, pictures: F32) -> F32:
        low, high = self.settings.range
        return np.asarray(pictures * np.float32((high - low) / 255) + np.float32(low), np.float32)

    def _shown(self, picture: F32) -> F32:  # (3, size, size) -> (size, size, 3) RGB 0..255
        low, high = self.settings.range
        colours = np.moveaxis((picture - np.float32(low)) * np.float32(255 / (high - low)), 0, 2)
        if self.settings.channels == "bgr":
            colours = colours[..., ::-1]
        return np.ascontiguousarray(np.clip(colours, 0, 255), np.float32)
