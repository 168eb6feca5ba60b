"""The family `dh_base`: speech gives 12 mouth codes, a flow network moves the mouth's own pixels there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from dhcli.bundle import Bundle
from dhcli.inference import Device
from dhcli.stages import align
from dhcli.stages.blend import blend
from dhcli.stages.geometry import Geometry, load_geometry
from dhcli.stages.listen import SAMPLE_RATE, ConditionTrack, Loudness, listen, measure_loudness, rest_in_silence
from dhcli.stages.speak import Mouth, Shot, speak
from dhcli.types import F32, Frame

BATCH = 4
"""Frames that go through the face network at once."""


class DhBase:
    """The four networks of a bundle, opened, and the geometry between them."""

    name = "dh_base"
    sample_rate = SAMPLE_RATE
    """Hz of the mono waveform that `listen` takes."""

    def __init__(self, bundle: Bundle, device: Device, threads: int) -> None:
        """Raises DhError model.* or env.device_unavailable."""
        self.bundle = bundle
        self._device = device
        self.geometry: Geometry = load_geometry(bundle.read("geometry"))
        self.detect, self.landmarks, self._audio, self._face = (
            bundle.open_network(role, device=device, threads=threads)
            for role in ("detect", "landmarks", "audio", "face")
        )

    @property
    def provider(self) -> str:
        """The execution provider that runs the face network."""
        return self._face.provider

    @property
    def device(self) -> str:
        """Where the face network really runs: "cpu", "cuda:0", …"""
        return str(self._device) if self._face.warning is None else "cpu"

    @property
    def warning(self) -> str | None:
        """Why the networks, or one of them, are not on the device asked for; None where all are."""
        networks = (self.detect, self.landmarks, self._audio, self._face)
        return next((network.warning for network in networks if network.warning is not None), None)

    def listen(self, open_audio: Callable[[], Iterator[F32]]) -> tuple[ConditionTrack, Loudness]:
        """Codes for a whole speech. `open_audio` gives its 16 kHz mono chunks from the start, and is called twice."""
        loudness = measure_loudness(open_audio())
        codes, levels = listen(open_audio(), loudness, self._hear)
        return ConditionTrack(rest_in_silence(codes, levels, loudness)), loudness

    def _hear(self, samples: F32) -> F32:
        return cast("F32", self._audio.run(["codes"], {"waveform": samples[None]})[0][0])

    def _speak(self, feeds: dict[str, F32]) -> tuple[F32, F32, F32]:
        flow, colour, opacity = self._face.run(["flow", "rgb", "alpha"], feeds)
        return flow, colour, opacity

    def speak(self, shots: Sequence[Shot], yuv: align.YuvMatrix) -> list[Mouth]:
        """The new mouths of up to a batch of frames."""
        return speak(self._speak, shots, self.geometry.basis, yuv)

    def blend(self, shot: Shot, mouth: Mouth, yuv: align.YuvMatrix) -> Frame:
        """The frame with its new mouth."""
        return blend(shot.frame, mouth, shot.row.weight, yuv)
