"""A network that sharpens a face: 512 x 512 px aligned as FFHQ, RGB -1..1, in and out, as GFPGAN has it."""

from __future__ import annotations

import numpy as np

from dhcli.errors import DhError
from dhcli.families.face_crop.crops import CropPlan, crop_matrix_of
from dhcli.families.face_crop.paste import FacePatch
from dhcli.networks.bundle import Bundle
from dhcli.networks.model import Model
from dhcli.stages.align import YuvMatrix, crop_yuv, to_rgb
from dhcli.types import FaceRow, Frame

FAMILY, NETWORK = "enhancer", "network"
"""Family and role in the bundle."""
SIZE = 512
PLAN = CropPlan("ffhq", SIZE)


def check_enhancer(bundle: Bundle) -> Bundle:
    """The bundle, if it is an enhancer's. Raises DhError model.incompatible."""
    if bundle.family != FAMILY:
        raise DhError(
            "model.incompatible",
            f"The model '{bundle.name}' is of the family '{bundle.family}', and no enhancer.",
            hint="Name a model of the family 'enhancer', or leave the option 'enhancer' out.",
        )
    bundle.require(NETWORK)
    return bundle


class Enhancer:
    """The opened network."""

    def __init__(self, model: Model) -> None:
        """Raises DhError model.*, env.device_unavailable."""
        check_enhancer(model.bundle)
        self._network = model.open_main({"fp32": NETWORK})
        wanted = (3, SIZE, SIZE)
        for kind, infos in (("input", self._network.inputs), ("output", self._network.outputs)):
            if len(infos) != 1 or infos[0].shape[1:] != wanted:
                raise DhError(
                    "model.incompatible",
                    f"The network of the enhancer '{model.bundle.name}': expected one {kind} (n, 3, {SIZE}, {SIZE}); "
                    f"it has {', '.join(map(str, infos))}.",
                    hint="Give a network of GFPGAN's contract.",
                )

    def enhance(self, frame: Frame, face: FaceRow, yuv: YuvMatrix) -> Frame:
        """The frame with its lower face sharpened, as far as the face shows a new mouth. Raises DhError model.*."""
        matrix = crop_matrix_of(PLAN, face, frame.width, frame.height)
        crop = to_rgb(crop_yuv(frame, matrix, SIZE), yuv)
        info = self._network.inputs[0]
        seen = np.ascontiguousarray(np.moveaxis(crop / np.float32(127.5) - 1, 2, 0)[None], info.dtype)
        (answer,) = self._network.run((self._network.outputs[0].name,), {info.name: seen})
        made = np.ascontiguousarray(np.clip((np.moveaxis(answer[0], 0, 2) + 1) * 127.5, 0, 255), np.float32)
        return FacePatch(face, matrix, crop, made, "box", detail=0.0).paste(frame, face.weight, yuv)
