"""Patch networks that are known: the values of their settings, and how they are recognised by their tensors.

The contracts are facts about other people's programs: names, shapes, ranges and rectangles that these use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dhcli.networks.network import TensorInfo

Kind = Literal["picture", "masked", "whole", "sound", "weight", "output"]
Shape = tuple[int | str, ...]
ANY_SIDE = "S"
"""Stands in a signature for the side of the square: a number that all pictures of the network share."""
SIDES = range(16, 1025)


@dataclass(frozen=True, slots=True)
class Signature:
    """One way in which the tensors of a preset are laid out: a shape for each, without the batch."""

    inputs: Mapping[Kind, Shape]
    names: Mapping[Kind, str] | None = None
    """Names that tell this preset from another one of the same shapes; None: any."""
    output: Shape = (3, ANY_SIDE, ANY_SIDE)


@dataclass(frozen=True, slots=True)
class Preset:
    """A kind of network that people have."""

    values: Mapping[str, Any]
    """Settings, see `PatchSettings`; the side of the square comes from the network where it is not among them."""
    signatures: tuple[Signature, ...]
    about: str
    """One line for people who choose."""
    licence: str
    """What is known of the licence of the usual weights."""


@dataclass(frozen=True, slots=True)
class Match:
    """A preset whose tensors a network has."""

    preset: str
    tensors: Mapping[Kind, str]
    size: int | None
    """Side of the square, px; None where the network leaves it free."""


_MEL_PIECE = {"window": 16, "layout": [1, 80, 16], "transposed": True, "after_s": 0.4}
_WAV2LIP = {
    **_MEL_PIECE,
    "channels": "bgr",
    "mask": "lower_half",
    "order": ["masked", "whole"],
    "recipe": "wav2lip_mel",
}
_PAIR: Mapping[Kind, Shape] = {"picture": (6, ANY_SIDE, ANY_SIDE), "sound": (1, 80, 16)}
_PHONETIC: Shape = (256, 20)
_RESEARCH = "weights trained on LRS2: research and personal use only"
_PERSONAL = "of the person whose weights they are"
_ULTRALIGHT = {
    "size": 160,
    "channels": "bgr",
    "mask": "rectangle",
    "rectangle": [5, 5, 150, 145],
    "order": ["whole", "masked"],
    "crop": "ultralight",
    "border": 4,
    "paste": "box",
}
_HUBERT = {**_ULTRALIGHT, "recipe": "samples", "encoder": "hubert"}
_WENET_STREAM = {**_ULTRALIGHT, "recipe": "kaldi_fbank", "encoder": "wenet_stream"}

PRESETS: Mapping[str, Preset] = {
    "facefusion_wav2lip": Preset(
        values={
            **_WAV2LIP,
            "recipe": "facefusion_mel",
            "gain": "scale",
            "crop": "ffhq_mouth",
            "paste": "mask",
        },
        signatures=(Signature(_PAIR, {"picture": "target", "sound": "source"}),),
        about="Wav2Lip as facefusion exports and feeds it",
        licence=_RESEARCH,
    ),
    "wav2lip_hq": Preset(
        values={**_WAV2LIP, "crop": "head_mouth", "paste": "ellipse"},
        signatures=(Signature(_PAIR, {"picture": "video_frames", "sound": "mel_spectrogram"}),),
        about="Wav2Lip as wav2lip-onnx-HQ exports and feeds it",
        licence=_RESEARCH,
    ),
    "wav2lip": Preset(
        values={**_WAV2LIP, "crop": "face_box", "padding": [0, 10, 0, 0], "paste": "box"},
        signatures=(Signature(_PAIR),),
        about="Wav2Lip of 96 to 512 px",
        licence=_RESEARCH,
    ),
    "edtalk": Preset(
        values={
            **_MEL_PIECE,
            "size": 256,
            "channels": "rgb",
            "mask": "none",
            "order": ["whole"],
            "recipe": "facefusion_mel",
            "weight": 0.5,
            "gain": "weight",
            "crop": "ffhq",
            "paste": "edge",
        },
        signatures=(Signature({"picture": (3, 256, 256), "sound": (1, 80, 16), "weight": ()}, output=(3, 256, 256)),),
        about="EDTalk as facefusion exports it",
        licence="Apache-2.0, as declared by facefusion",
    ),
    "dinet": Preset(
        values={
            "size": 256,
            "channels": "rgb",
            "mask": "rectangle",
            "rectangle": [37, 86, 181, 166],
            "order": ["masked", "whole"],
            "recipe": "wenet_logmel",
            "encoder": "wenet",
            "window": 20,
            "shift": -10,
            "before_s": 0.4,
            "after_s": 0.4,
            "layout": [256, 20],
            "transposed": True,
            "crop": "heygem",
            "border": 5,
            "paste": "hull",
        },
        signatures=(
            Signature({"picture": (6, 256, 256), "sound": _PHONETIC}, output=(3, 256, 256)),
            Signature({"masked": (3, 256, 256), "whole": (3, 256, 256), "sound": _PHONETIC}, output=(3, 256, 256)),
        ),
        about="DINet of HeyGem",
        licence="DUIX.COM Community License: commercial licence needed beyond its limits, notice required",
    ),
    "ultralight": Preset(
        values=_HUBERT | {"window": 8, "shift": -4, "layout": [16, 32, 32]},
        signatures=(Signature({"picture": (6, 160, 160), "sound": (16, 32, 32)}, output=(3, 160, 160)),),
        about="Ultralight-Digital-Human that hears 8 rows of HuBERT",
        licence=_PERSONAL,
    ),
    "ultralight_16": Preset(
        values=_HUBERT | {"window": 16, "shift": -8, "layout": [32, 32, 32]},
        signatures=(Signature({"picture": (6, 160, 160), "sound": (32, 32, 32)}, output=(3, 160, 160)),),
        about="Ultralight-Digital-Human that hears 16 rows of HuBERT",
        licence=_PERSONAL,
    ),
    "ultralight_wenet": Preset(
        values=_WENET_STREAM | {"window": 8, "shift": -4, "layout": [128, 16, 32]},
        signatures=(Signature({"picture": (6, 160, 160), "sound": (128, 16, 32)}, output=(3, 160, 160)),),
        about="Ultralight-Digital-Human that hears 8 rows of WeNet",
        licence=_PERSONAL,
    ),
    "ultralight_wenet_16": Preset(
        values=_WENET_STREAM | {"window": 16, "shift": -8, "layout": [256, 16, 32]},
        signatures=(Signature({"picture": (6, 160, 160), "sound": (256, 16, 32)}, output=(3, 160, 160)),),
        about="Ultralight-Digital-Human that hears 16 rows of WeNet",
        licence=_PERSONAL,
    ),
}
"""In the order in which they are tried: one whose names are known before another of the same shapes."""
VALUES: Mapping[str, Mapping[str, Any]] = {name: preset.values for name, preset in PRESETS.items()}


def recognise(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> list[Match]:
    """The presets that a network with these tensors can be, the likeliest first; usually one or none."""
    return [match for name in PRESETS for match in matches(name, inputs, outputs)]


def matches(name: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> Iterator[Match]:
    """How the tensors fit one preset: not at all, or in one way or more."""
    for signature in PRESETS[name].signatures:
        match = _match(name, signature, inputs, outputs)
        if match is not None:
            yield match


def _match(
    name: str, signature: Signature, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> Match | None:
    if len(inputs) != len(signature.inputs) or not outputs:
        return None
    sides: set[int] = set()
    tensors: dict[Kind, str] = {}
    free = list(inputs)
    for kind, shape in signature.inputs.items():
        # Of two alike the masked one is called so, or is the first in the network's order.
        order = sorted(free, key=lambda info: "mask" not in info.name.lower()) if kind == "masked" else free
        found = next((info for info in order if _fits(info, shape, sides)), None)
        if found is None:
            return None
        free.remove(found)
        tensors[kind] = found.name
    if not _fits(outputs[0], signature.output, sides) or len(sides) > 1:
        return None
    if signature.names is not None and any(tensors[kind] != known for kind, known in signature.names.items()):
        return None
    tensors["output"] = outputs[0].name
    return Match(name, tensors, next(iter(sides), None))


def _fits(info: TensorInfo, shape: Shape, sides: set[int]) -> bool:
    """Whether a tensor has this shape behind its batch; the sides that stand in place of `ANY_SIDE` are noted."""
    if not info.dtype.startswith("float"):
        return False
    if not shape:  # one number, in whatever shape
        return all(size == 1 or isinstance(size, str) for size in info.shape) and len(info.shape) <= 1
    sizes = info.shape[1:]
    if len(sizes) != len(shape):
        return False
    pairs = list(zip(sizes, shape, strict=True))
    if any(isinstance(here, int) and wanted not in {ANY_SIDE, here} for here, wanted in pairs):
        return False
    noted = {here for here, wanted in pairs if wanted == ANY_SIDE and isinstance(here, int)}
    sides |= noted
    return all(side in SIDES for side in noted)


def expected(name: str) -> list[str]:
    """What a network of a preset has, one line for each way: "picture (n, 6, S, S), sound (n, 1, 80, 16) -> …"."""
    return [
        f"{', '.join(f'{kind} {_shape(shape)}' for kind, shape in one.inputs.items())} -> output {_shape(one.output)}"
        for one in PRESETS[name].signatures
    ]


def _shape(shape: Shape) -> str:
    return f"({', '.join(map(str, ('n', *shape) if shape else (1,)))})"
