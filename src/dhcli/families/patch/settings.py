"""The settings of a patch network: what its `model.yaml` says of it beside its files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dhcli.errors import DhError
from dhcli.jobs.misfit import misfits
from dhcli.networks.bundle import Bundle
from dhcli.networks.descriptor import DESCRIPTOR

PRESET = "preset"
"""The key that names where all other values come from that are not stated."""
Part = Literal["masked", "whole"]
Recipe = Literal["wav2lip_mel", "facefusion_mel", "wenet_logmel", "whisper_logmel", "kaldi_fbank", "samples"]
Encoder = Literal["none", "wenet", "wenet_stream", "hubert"]
Crop = Literal["face_box", "ffhq", "ffhq_mouth", "head_mouth", "heygem", "ultralight", "musetalk"]
Paste = Literal["box", "mask", "edge", "ellipse", "hull", "half"]
Pixels = Annotated[int, Field(ge=0, le=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorNames(_Strict):
    """The network's inputs and outputs by what they carry."""

    picture: str | None = Field(default=None, description="Input with all parts of the picture, along the channels.")
    masked: str | None = Field(default=None, description="Input with the masked picture alone.")
    whole: str | None = Field(default=None, description="Input with the whole picture alone.")
    sound: str = Field(description="Input with the piece of sound.")
    weight: str | None = Field(default=None, description="Input with one number: how strongly the mouth moves.")
    output: str = Field(description="Output with the new picture.")

    @model_validator(mode="after")
    def _one_way(self) -> TensorNames:
        if (self.picture is None) == (self.masked is None and self.whole is None):
            raise ValueError("either 'picture', or 'masked' and 'whole'")
        return self


class PatchSettings(_Strict):
    """All that `dh` has to know to run a patch network."""

    preset: str = Field(default="none", description="Gives the values that are not stated; see `dh models info`.")
    size: Annotated[int, Field(ge=16, le=1024)] = Field(description="Side of the square that the network sees, px.")
    channels: Literal["rgb", "bgr"] = Field(description="Order of the colours, in and out.")
    range: tuple[float, float] = Field(default=(0, 1), description="What 0 and 255 become for the network.")
    mask: Literal["none", "lower_half", "rectangle"] = Field(description="What is black in the masked picture.")
    rectangle: tuple[Pixels, Pixels, Pixels, Pixels] | None = Field(
        default=None, description="x, y, width, height of the black rectangle, px."
    )
    order: tuple[Part, ...] = Field(description="Parts of the input 'picture', in order.", min_length=1, max_length=2)
    tensors: TensorNames | None = Field(default=None, description="Names; left out, they are found by their shapes.")
    recipe: Recipe = Field(description="How sound becomes rows of numbers.")
    encoder: Encoder = Field(default="none", description="The network that hears these rows, the file 'encoder'.")
    window: Annotated[int, Field(ge=1, le=1000)] = Field(description="Rows of one piece of sound.")
    shift: Annotated[int, Field(ge=-1000, le=1000)] = Field(
        default=0, description="First row of the piece, counted from the row of the frame's time."
    )
    before_s: Annotated[float, Field(ge=0, le=10)] = Field(default=0, description="Silence before the speech, s.")
    after_s: Annotated[float, Field(ge=0, le=10)] = Field(default=0, description="Silence behind the speech, s.")
    layout: tuple[Annotated[int, Field(ge=1)], ...] = Field(description="Shape of one piece, without the batch.")
    transposed: bool = Field(default=False, description="The piece's rows become columns before it gets its shape.")
    scale: float = Field(default=1, description="Times the rows.")
    weight: float = Field(default=1, description="Of the input 'weight'.")
    gain: Literal["none", "weight", "scale"] = Field(
        default="none", description="What the option 'gain' scales: nothing, the weight, or the rows."
    )
    crop: Crop = Field(description="Which part of the picture the network sees.")
    padding: tuple[int, int, int, int] = Field(
        default=(0, 0, 0, 0), description="px of the picture added to that part: top, bottom, left, right."
    )
    border: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0, description="px cut off each side after the part is resized; it is made larger by so many first."
    )
    paste: Paste = Field(description="How the model's own program puts the new picture back.")

    @model_validator(mode="after")
    def _fits(self) -> PatchSettings:
        if self.range[0] == self.range[1]:
            raise ValueError("range: two different numbers")
        if (self.mask == "rectangle") != (self.rectangle is not None):
            raise ValueError("a 'rectangle' goes with 'mask: rectangle'")
        if self.rectangle is not None:
            x, y, width, height = self.rectangle
            if x + width > self.size or y + height > self.size:
                raise ValueError(f"the rectangle reaches out of {self.size}x{self.size} px")
        if math.prod(self.layout) % self.window:
            raise ValueError(f"layout: {self.window} rows cannot have the shape {list(self.layout)}")
        return self

    @property
    def row_width(self) -> int:
        """Numbers in one row of sound."""
        return math.prod(self.layout) // self.window


def settings_of(bundle: Bundle, presets: Mapping[str, Mapping[str, Any]]) -> PatchSettings:
    """The settings of a bundle, over the values of the preset it names. Raises DhError model.incompatible."""
    name = bundle.settings.get(PRESET, "none")
    if name != "none" and name not in presets:
        raise unfit(bundle, f"there is no preset '{name}'; presets are {', '.join(presets)}")
    values = {} if name == "none" else presets[str(name)]
    try:
        return PatchSettings.model_validate({**values, **bundle.settings})
    except ValidationError as error:
        raise unfit(bundle, "; ".join(misfits(error))) from error


def unfit(bundle: Bundle, found: str) -> DhError:
    """What is wrong with a bundle's settings, as an error."""
    return DhError(
        "model.incompatible",
        f"The settings of the model '{bundle.name}' do not fit: {found}.",
        hint=f"Correct `settings` in {bundle.folder / DESCRIPTOR}, or add the model again with `dh models add`.",
    )
