"""A family without networks: an ellipse in the colour of the bundle, as high as the speech is loud."""

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import cv2
import numpy as np

from dhcli.families.family import Family, Manner, Shot, Speech
from dhcli.networks.bundle import Bundle
from dhcli.networks.model import Model
from dhcli.stages.align import YuvMatrix, crop_matrix
from dhcli.stages.paste import ColourPatch
from dhcli.types import FrameFormat

SIDE, PX_PER_UNIT = 96, 30.0
MOUTH = np.array([0.0, 1.72, 0.0])  # canonical units


class Levels:
    noise_db: float | None = None

    def __init__(self, speech: Speech, gain: float) -> None:
        self.gain = gain
        samples = np.concatenate([np.zeros(1, np.float32), *speech()])
        self.levels = [float(np.abs(part).max()) for part in np.array_split(samples, len(samples) // 320 + 1)]
        self.silent = max(self.levels) < 0.001

    def at(self, time_s: Fraction) -> float:
        return self.gain * self.levels[min(int(time_s * 25), len(self.levels) - 1)]


class ToyFamily:
    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1
    roles: ClassVar[tuple[str, ...]] = ("colour",)
    sample_rate: ClassVar[int] = 8000

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        pass

    def __init__(self, model: Model) -> None:
        self.model = model
        self.picture = np.full((SIDE, SIDE, 3), np.array(model.bundle.read("colour").split(), np.float32))

    def listen(self, speech: Speech, manner: Manner) -> Levels:
        return Levels(speech, 1.0 if manner.gain is None else manner.gain)

    def asked(self, condition: float) -> float:
        return condition

    def profiler(self, _: FrameFormat) -> None:
        return None

    def profile(self, _: bytes, __: int) -> None:
        return None

    def speak(self, shots: Sequence[Shot], _: YuvMatrix) -> list[ColourPatch]:
        return [self.ellipse(shot) for shot in shots]

    def ellipse(self, shot: Shot) -> ColourPatch:
        axes = (24, 8 + round(20 * min(1.0, shot.condition)))
        mask = cv2.ellipse(np.zeros((SIDE, SIDE), np.float32), (SIDE // 2, SIDE // 2), axes, 0, 0, 360, 1.0, -1)
        soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), 2), np.float32)
        return ColourPatch(crop_matrix(shot.face.pose, MOUTH, PX_PER_UNIT, SIDE), self.picture, soft)


FAMILY: type[Family] = ToyFamily  # mypy sees here that it has all members
