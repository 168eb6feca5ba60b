"""The settings of a latent model: what its `model.yaml` says beside its files. The defaults are MuseTalk's."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dhcli.errors import DhError
from dhcli.jobs.misfit import misfits
from dhcli.networks.bundle import Bundle
from dhcli.networks.descriptor import DESCRIPTOR

PARTS = 2
"""Pictures whose latents the painter is given: the masked one, then the whole one."""


class LatentSettings(BaseModel):
    """All that `dh` has to know to run a latent model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Annotated[int, Field(ge=16, le=1024)] = Field(default=256, description="Side of the square crop, px.")
    channels: Literal["rgb", "bgr"] = Field(default="rgb", description="Order of the colours, in and out.")
    range: tuple[float, float] = Field(default=(-1, 1), description="What 0 and 255 become.")
    latent_channels: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=4, description="Numbers that the VAE has for one place of a picture."
    )
    latent_size: Annotated[int, Field(ge=2, le=256)] = Field(default=32, description="Places along a side.")
    scale: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=0.18215, description="Times the latents, for the network that paints."
    )
    timestep: float = Field(default=0, description="Of the input for the step of diffusion, if there is one.")
    layers: Annotated[int, Field(ge=1, le=64)] = Field(default=5, description="Rows that it hears at one time.")
    width: Annotated[int, Field(ge=1, le=4096)] = Field(default=384, description="Numbers in such a row.")
    window: Annotated[int, Field(ge=1, le=1000)] = Field(default=10, description="Times of 20 ms that a frame hears.")
    shift: Annotated[int, Field(ge=-1000, le=1000)] = Field(
        default=-4, description="The first of them, counted from the frame's own."
    )
    positional: bool = Field(default=True, description="Whether sines that tell the rows apart are added to them.")
    extra_margin: Annotated[int, Field(ge=-256, le=256)] = Field(
        default=10, description="px of the picture added below the chin; 0 for MuseTalk 1."
    )

    @model_validator(mode="after")
    def _fits(self) -> LatentSettings:
        if self.range[0] == self.range[1] or not all(map(math.isfinite, self.range)):
            raise ValueError("range: two different numbers")
        if self.size % self.latent_size:
            raise ValueError(f"size: {self.size} px are not a whole number for each of {self.latent_size} places")
        return self

    @property
    def latents(self) -> tuple[int, int, int]:
        """Shape of what is kept of a frame: the latents of both pictures."""
        return PARTS * self.latent_channels, self.latent_size, self.latent_size


def settings_of(bundle: Bundle) -> LatentSettings:
    """The settings of a bundle. Raises DhError model.incompatible."""
    try:
        return LatentSettings.model_validate(dict(bundle.settings))
    except ValidationError as error:
        raise DhError(
            "model.incompatible",
            f"The settings of the model '{bundle.name}' do not fit: {'; '.join(misfits(error))}.",
            hint=f"Correct `settings` in {bundle.folder / DESCRIPTOR}, or add the model again with `dh models add`.",
        ) from error
