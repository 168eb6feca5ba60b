"""The four networks of a latent model: how each is recognised by its tensors, and what its tensors carry.

The contracts are facts about MuseTalk, whose shapes the settings have as defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dhcli.families.latent.settings import PARTS, LatentSettings
from dhcli.networks.network import TensorInfo

Role = Literal["hearing", "vae_encoder", "unet", "vae_decoder"]
ROLES: tuple[Role, ...] = get_args(Role)
Kind = Literal["picture", "latents", "sound", "timestep", "output"]
Shape: TypeAlias = tuple[int | None, ...]
"""Sizes of a tensor; None for the batch, which may be fixed or free."""
MEL_BANDS, MEL_ROWS, STEPS = 80, 3000, 1500
"""What whisper hears: 30 s in rows of 10 ms; it gives one row for 20 ms."""
ABOUT = "MuseTalk 1 and 1.5: whisper encoder, VAE encoder, UNet, VAE decoder"
LICENCE = "MIT, as declared by MuseTalk; VAE and whisper MIT"
COUNTS = frozenset({"int32", "int64"})


@dataclass(frozen=True, slots=True)
class Signature:
    """The tensors of one of the networks: for each the shapes that it may have."""

    inputs: Mapping[Kind, tuple[Shape, ...]]
    outputs: tuple[Shape, ...]
    optional: frozenset[Kind] = frozenset()
    """Inputs that it need not have."""

    def tensors(self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> Mapping[Kind, str] | None:
        """Names of the tensors by what they carry; None where they do not fit."""
        named: dict[Kind, str] = {}
        free = list(inputs)
        for kind, shapes in self.inputs.items():
            found = next((info for info in free if _fits(info, kind, shapes)), None)
            if found is not None:
                free.remove(found)
                named[kind] = found.name
            elif kind not in self.optional:
                return None
        output = next((info for info in outputs if _fits(info, "output", self.outputs)), None)
        if free or output is None:
            return None
        return named | {"output": output.name}

    def __str__(self) -> str:
        inputs = (f"{kind} {_or(shapes)}{' if any' * (kind in self.optional)}" for kind, shapes in self.inputs.items())
        return f"{', '.join(inputs)} -> {_or(self.outputs)}"


def signatures(settings: LatentSettings) -> Mapping[Role, Signature]:
    """The tensors of all four networks."""
    side, places, channels = settings.size, settings.latent_size, settings.latent_channels
    picture, latents = (None, 3, side, side), (None, channels, places, places)
    heard = (settings.layers, STEPS, settings.width)
    return {
        "hearing": Signature(
            {"sound": ((None, MEL_BANDS, MEL_ROWS),)},
            ((None, *heard), (None, heard[1], heard[0], heard[2]), (None, *heard[1:])),
        ),
        "vae_encoder": Signature({"picture": (picture,)}, (latents, (None, 2 * channels, places, places))),
        "unet": Signature(
            {
                "latents": ((None, PARTS * channels, places, places),),
                "sound": ((None, settings.window * settings.layers, settings.width),),
                "timestep": ((), (None,)),
            },
            (latents,),
            optional=frozenset({"timestep"}),
        ),
        "vae_decoder": Signature({"latents": (latents,)}, (picture,)),
    }


MUSETALK = signatures(LatentSettings())


def recognise(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> Role | None:
    """Which of MuseTalk's networks has these tensors; None where it is none, or could be several."""
    fits = [role for role, signature in MUSETALK.items() if signature.tensors(inputs, outputs) is not None]
    return fits[0] if len(fits) == 1 else None


def _fits(info: TensorInfo, kind: Kind, shapes: Sequence[Shape]) -> bool:
    """Whether a tensor has one of these shapes; a size that the network leaves free is any."""
    if not info.dtype.startswith("float") and not (kind == "timestep" and info.dtype in COUNTS):
        return False
    return any(
        len(info.shape) == len(shape)
        and all(
            want is None or isinstance(have, str) or have == want for have, want in zip(info.shape, shape, strict=True)
        )
        for shape in shapes
    )


def _or(shapes: Sequence[Shape]) -> str:
    return " or ".join(f"({', '.join('n' if size is None else str(size) for size in shape)})" for shape in shapes)
