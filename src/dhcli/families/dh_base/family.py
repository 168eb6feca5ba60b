"""The family `dh_base`: speech gives 12 mouth codes, a flow network moves the mouth's own pixels there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from dhcli.families.dh_base.blend import Blender, FlowPatch
from dhcli.families.dh_base.conditions import MouthAsked, MouthCodes, conditions_of
from dhcli.families.dh_base.geometry import Geometry, load_geometry
from dhcli.families.dh_base.listen import CODE_RATE, SAMPLE_RATE, SMOOTHING, listen, measure_loudness
from dhcli.families.dh_base.profile import Person, PersonProfiler, persons_of
from dhcli.families.dh_base.speak import OUTPUTS, Speaker
from dhcli.families.family import Manner, Shot, Speech
from dhcli.networks.bundle import Bundle
from dhcli.networks.model import Model
from dhcli.stages.align import YuvMatrix, yuv_matrix
from dhcli.types import F32, FrameFormat, Numbers

FACES: Mapping[Numbers, str] = {"fp32": "face", "fp16": "face_fp16", "int8": "face_int8"}
"""The face network's roles in a bundle; a bundle need not have more than the first one."""
AUDIO_THREADS = 1
"""Threads of the audio network. With more, how its sums are split, and so how they are rounded, depends on their number
and on which of them has a core first; the face network in 8 bits makes 8 levels of a pixel of that. It takes 6 ms for a
second of sound, 4 with two.
"""


class DhBase:
    """The networks of a bundle and the geometry between them."""

    name: ClassVar[str] = "dh_base"
    version: ClassVar[int] = 3
    roles: ClassVar[tuple[str, ...]] = ("audio", FACES["fp32"], "geometry")
    sample_rate: ClassVar[int] = SAMPLE_RATE

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        """See `Family`; its files say all that there is to say."""

    def __init__(self, model: Model) -> None:
        """Raises DhError model.* or env.device_unavailable."""
        self.model = model
        self.geometry: Geometry = load_geometry(model.bundle.read("geometry"))
        self._audio = model.open("audio", threads=AUDIO_THREADS)
        self._face = model.open_main(FACES)
        self._speaker = Speaker(self._move, self.geometry)
        self._blender = Blender()

    def listen(self, speech: Speech, manner: Manner) -> MouthCodes:
        """Codes for a whole speech of 16 kHz, which is read twice."""
        loudness = measure_loudness(speech())
        smoothing = SMOOTHING if manner.smoothing_ms is None else manner.smoothing_ms * CODE_RATE / 1000
        heard = listen(speech(), loudness, self._hear, smoothing)
        return conditions_of(heard, loudness, self.geometry, manner)

    def asked(self, condition: MouthAsked) -> float:
        """The opening beyond rest, in widths of a mouth, which are about a canonical unit."""
        return float(self.geometry.gap_of_code @ condition.code_for(math.nan, self.geometry))

    def profiler(self, fmt: FrameFormat) -> PersonProfiler:
        """Of each person the mouth at rest, and frames that show what is inside it."""
        return PersonProfiler(self.geometry, yuv_matrix(fmt.colour, fmt.height))

    def profile(self, kept: bytes, persons: int) -> tuple[Person, ...]:
        """The persons by their numbers."""
        return persons_of(kept, persons)

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> list[FlowPatch]:
        """The new mouths of up to a batch of frames; good until the next call."""
        return [FlowPatch(spoken, self._blender) for spoken in self._speaker.speak(shots, yuv)]

    def _hear(self, samples: F32) -> tuple[F32, F32 | None]:
        told = ["codes"] + [output.name for output in self._audio.outputs if output.name == "phones"]
        codes, *phones = self._audio.run(told, {"waveform": samples[None]}, seldom=True)
        return codes[0], phones[0][0] if phones else None

    def _move(self, feeds: dict[str, F32]) -> Sequence[F32]:
        return cast("Sequence[F32]", self._face.run_bound(OUTPUTS, feeds))
