"""The family `latent`: an autoencoder, a network that paints in its latents, and the one it hears with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from dhcli.errors import DhError
from dhcli.families.face_crop.crops import CropPlan, crop_matrix_of
from dhcli.families.face_crop.paste import FacePatch
from dhcli.families.family import Manner, Shot, Speech
from dhcli.families.hearing.hear import hear
from dhcli.families.latent.ears import whisper
from dhcli.families.latent.hearing import Counted, LatentAsked, LatentSounds
from dhcli.families.latent.kept import F16, LatentFile
from dhcli.families.latent.painter import Painter
from dhcli.families.latent.parts import part_of
from dhcli.families.latent.presets import ROLES
from dhcli.families.latent.profile import FRAMES, KeptLatents, LatentProfiler, kept_in
from dhcli.families.latent.settings import settings_of
from dhcli.networks.bundle import Bundle
from dhcli.networks.model import Model
from dhcli.networks.network import CPU_PROVIDER
from dhcli.sound.recipes import RECIPES, SAMPLE_RATE
from dhcli.stages.align import YuvMatrix, yuv_matrix
from dhcli.types import F32, FrameFormat, Numbers

UNETS: Mapping[Numbers, str] = {"fp32": "unet", "fp16": "unet_fp16"}
"""The roles of the network that paints; a bundle need not have more than the first one."""
HEARING_THREADS = 1
"""As for other networks that hear: with more the rounding depends on which thread has a core first."""
PICTURES = 8
"""That go through the autoencoder at once. One of 256 px takes 32 MiB between two layers, several of which are held."""
RECIPE = "whisper_logmel"


class LatentFamily:
    """The four networks of a bundle, and the settings between them."""

    name: ClassVar[str] = "latent"
    version: ClassVar[int] = 1
    roles: ClassVar[tuple[str, ...]] = ROLES
    sample_rate: ClassVar[int] = SAMPLE_RATE

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        """Its settings are whole. Raises DhError model.incompatible."""
        settings_of(bundle)

    def __init__(self, model: Model) -> None:
        """Raises DhError model.*, env.device_unavailable, device.*."""
        self.model, bundle = model, model.bundle
        self.settings = settings = settings_of(bundle)
        unet = part_of("unet", model.open_main(UNETS), settings, bundle)
        encoder = part_of("vae_encoder", model.open("vae_encoder"), settings, bundle, PICTURES)
        decoder = part_of("vae_decoder", model.open("vae_decoder"), settings, bundle, PICTURES)
        self._painter = Painter(settings, encoder, unet, decoder)
        self._hearing = whisper(
            part_of("hearing", model.open("hearing", threads=HEARING_THREADS), settings, bundle), settings
        )
        self._plan = CropPlan("musetalk", settings.size, (0, settings.extra_margin, 0, 0))

    def listen(self, speech: Speech, manner: Manner) -> LatentSounds:
        """The rows of a whole speech of 16 kHz. Raises DhError model.*; .incompatible where a gain is asked for."""
        if manner.gain not in {None, 1.0}:
            raise DhError(
                "model.incompatible",
                f"The model '{self.model.bundle.name}' cannot move the mouth more or less: gain is {manner.gain:g}.",
                hint="Leave the option 'gain' out, or use a model that has something to scale, as dh-base.",
            )
        # MuseTalk's own program hears each 30 s for themselves.
        hearing = dataclasses.replace(self._hearing, margin=0) if manner.faithful else self._hearing
        counted = Counted(speech)
        heard = hear(counted, RECIPES[RECIPE], hearing, manner)
        # Whisper hears 30 s, silence behind the speech included; behind its end the painter gets zeros, as before it.
        heard.rows.cut(math.floor(counted.samples * heard.rows.rate / SAMPLE_RATE))
        kept = LatentFile(manner.scratch, self.settings.latents)
        return LatentSounds(heard.rows, self.settings, manner, kept, heard.silent, heard.noise_db)

    def asked(self, _: LatentAsked) -> None:
        """Sound alone does not tell how far the mouth opens."""
        return

    def profiler(self, fmt: FrameFormat) -> LatentProfiler:
        """Of a video the latents of its frames."""
        yuv = yuv_matrix(fmt.colour, fmt.height)
        at_once = 1 if self._painter.encoder.network.provider == CPU_PROVIDER else FRAMES
        return LatentProfiler(self._painter, self._plan, fmt, yuv, at_once)

    def profile(self, kept: bytes, _: int) -> KeptLatents:
        """The latents by their frames."""
        return kept_in(kept, self.settings.latents)

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> list[FacePatch]:
        """The new faces of up to a batch of frames."""
        ways = [crop_matrix_of(self._plan, shot.face, shot.frame.width, shot.frame.height) for shot in shots]
        crops = [self._painter.crop(shot.frame, way, yuv) for shot, way in zip(shots, ways, strict=True)]
        sounds = np.stack([shot.condition.sound for shot in shots])
        made = self._painter.paint(self._latents(shots, crops), sounds)
        return [
            FacePatch(
                face=shot.face,
                matrix=way,
                given=crop,
                made=new,
                style="half",
                detail=shot.condition.manner.detail,
                faithful=shot.condition.manner.faithful,
            )
            for shot, way, crop, new in zip(shots, ways, crops, made, strict=True)
        ]

    def _latents(self, shots: Sequence[Shot], crops: Sequence[F32]) -> F16:  # -> (n, *settings.latents)
        """The latents of each frame: from the profile, from an earlier time it was shown, or encoded now."""
        known: dict[int, F16] = {}
        lacking: dict[int, tuple[LatentFile, F32]] = {}
        for shot, crop in zip(shots, crops, strict=True):
            frame, kept = shot.frame.index, shot.condition.kept
            found = shot.profile.find(frame)
            if found is None:
                found = kept.find(frame)
            if found is None:
                lacking[frame] = kept, crop
            else:
                known[frame] = found
        if lacking:
            encoded = self._painter.encode([crop for _, crop in lacking.values()])
            for (frame, (kept, _)), latents in zip(lacking.items(), encoded, strict=True):
                kept.keep(frame, latents)
                known[frame] = latents
        return np.stack([known[shot.frame.index] for shot in shots])
