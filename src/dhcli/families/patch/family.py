"""The family `patch`: rows of sound and a crop of the face in, the new crop out; its settings say how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from dhcli.errors import DhError
from dhcli.families.face_crop.crops import CropPlan, crop_matrix_of
from dhcli.families.face_crop.paste import FacePatch
from dhcli.families.family import Manner, Shot, Speech
from dhcli.families.hearing.encoders import open_encoder
from dhcli.families.hearing.hear import hear
from dhcli.families.patch.hearing import PatchAsked, PatchSounds
from dhcli.families.patch.presets import PRESETS, VALUES, Kind, expected, matches, recognise
from dhcli.families.patch.settings import PatchSettings, settings_of
from dhcli.families.patch.speak import Painter
from dhcli.networks.bundle import Bundle
from dhcli.networks.descriptor import DESCRIPTOR
from dhcli.networks.model import Model
from dhcli.networks.network import Network
from dhcli.sound.recipes import RECIPES, SAMPLE_RATE
from dhcli.stages.align import YuvMatrix
from dhcli.types import FrameFormat, Numbers

NETWORKS: Mapping[Numbers, str] = {"fp32": "network", "fp16": "network_fp16", "int8": "network_int8"}
"""The roles of the network that paints; a bundle need not have more than the first one."""
ENCODER = "encoder"
ENCODER_THREADS = 1
"""As for other networks that hear: with more the rounding depends on which thread has a core first."""


class PatchFamily:
    """A network that paints, the one it hears with if there is one, and the settings between them."""

    name: ClassVar[str] = "patch"
    version: ClassVar[int] = 1
    roles: ClassVar[tuple[str, ...]] = (NETWORKS["fp32"],)
    sample_rate: ClassVar[int] = SAMPLE_RATE

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        """Its settings are whole, and the encoder that they name is there. Raises DhError model.incompatible."""
        if settings_of(bundle, VALUES).encoder != "none":
            bundle.require(ENCODER)

    def __init__(self, model: Model) -> None:
        """Raises DhError model.* or env.device_unavailable."""
        self.model = model
        self.settings = settings = settings_of(model.bundle, VALUES)
        network = model.open_main(NETWORKS)
        self._painter = Painter(network, settings, tensors_of(network, settings, model.bundle))
        self._encoder = None
        if settings.encoder != "none":
            self._encoder = open_encoder(settings.encoder, model.open(ENCODER, threads=ENCODER_THREADS))
        self._plan = CropPlan(settings.crop, settings.size, settings.padding, settings.border)

    def listen(self, speech: Speech, manner: Manner) -> PatchSounds:
        """The rows of a whole speech of 16 kHz. Raises DhError model.incompatible where nothing has a gain."""
        settings = self.settings
        if manner.gain not in {None, 1.0} and settings.gain == "none":
            raise DhError(
                "model.incompatible",
                f"The model '{self.model.bundle.name}' cannot move the mouth more or less: gain is {manner.gain:g}.",
                hint="Leave the option 'gain' out, or use a model whose settings have a gain; dh-base has.",
            )
        heard = hear(
            speech,
            RECIPES[settings.recipe],
            self._encoder,
            manner,
            before_s=settings.before_s,
            after_s=settings.after_s,
        )
        return PatchSounds(heard.rows, settings, manner, heard.silent, heard.noise_db)

    def asked(self, _: PatchAsked) -> None:
        """Sound alone does not tell how far the mouth opens."""
        return

    def profiler(self, _: FrameFormat) -> None:
        """Nothing is kept of a person."""
        return

    def profile(self, _: bytes, __: int) -> None:
        """See `profiler`."""
        return

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> list[FacePatch]:
        """The new faces of up to a batch of frames."""
        ways = [crop_matrix_of(self._plan, shot.face, shot.frame.width, shot.frame.height) for shot in shots]
        crops = [self._painter.crop(shot.frame, way, yuv) for shot, way in zip(shots, ways, strict=True)]
        made = self._painter.paint(crops, [shot.condition for shot in shots])
        return [
            FacePatch(
                face=shot.face,
                matrix=way,
                given=crop,
                made=new,
                style=self.settings.paste,
                detail=shot.condition.manner.detail,
                faithful=shot.condition.manner.faithful,
            )
            for shot, way, crop, new in zip(shots, ways, crops, made, strict=True)
        ]


def tensors_of(network: Network, settings: PatchSettings, bundle: Bundle) -> Mapping[Kind, str]:
    """What the network's tensors carry. Raises DhError model.incompatible where they are not as the settings say."""
    if settings.tensors is None:
        found = next(
            matches(settings.preset, network.inputs, network.outputs)
            if settings.preset in PRESETS
            else iter(recognise(network.inputs, network.outputs)),
            None,
        )
        if found is None or found.size not in {None, settings.size}:
            wanted = " or ".join(expected(settings.preset)) if settings.preset in PRESETS else "one of the presets"
            raise _unlike(network, bundle, f"{wanted}, S = {settings.size}")
        return found.tensors
    named = cast("dict[Kind, str]", settings.tensors.model_dump(exclude_none=True))
    wanted_shapes = _shapes(named, settings)
    for kind, name in named.items():
        infos = network.outputs if kind == "output" else network.inputs
        info = next((info for info in infos if info.name == name), None)
        sizes = wanted_shapes.get(kind)
        if info is None or (sizes is not None and not _agree(info.shape[1:], sizes)):
            raise _unlike(network, bundle, f"{name} for {kind}" + ("" if sizes is None else f" (n, {_text(sizes)})"))
    return named


def _shapes(named: Mapping[Kind, str], settings: PatchSettings) -> dict[Kind, tuple[int, ...]]:
    picture = (settings.size, settings.size)
    shapes: dict[Kind, tuple[int, ...]] = {"sound": settings.layout, "output": (3, *picture)}
    shapes |= {kind: (3, *picture) for kind in ("masked", "whole") if kind in named}
    if "picture" in named:
        shapes["picture"] = (3 * len(settings.order), *picture)
    return shapes


def _agree(found: Sequence[int | str], wanted: Sequence[int]) -> bool:
    return len(found) == len(wanted) and all(
        isinstance(here, str) or here == there for here, there in zip(found, wanted, strict=True)
    )


def _text(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def _unlike(network: Network, bundle: Bundle, wanted: str) -> DhError:
    found = "; ".join(map(str, (*network.inputs, *network.outputs)))
    return DhError(
        "model.incompatible",
        f"The network '{network.name}' of the model '{bundle.name}' does not fit its settings: expected {wanted}; "
        f"it has {found}.",
        hint=f"Correct `settings` in {bundle.folder / DESCRIPTOR}, or put the network there that they describe.",
    )
