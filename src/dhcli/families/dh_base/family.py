"""The family `dh_base`: speech gives 12 mouth codes, a flow network moves the mouth's own pixels there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import cv2

from dhcli.families.dh_base.blend import Blender
from dhcli.families.dh_base.geometry import Geometry, load_geometry
from dhcli.families.dh_base.listen import (
    SAMPLE_RATE,
    ConditionTrack,
    Loudness,
    listen,
    measure_loudness,
    rest_in_silence,
)
from dhcli.families.dh_base.speak import Mouth, Shot, Speaker
from dhcli.families.family import BATCH, Precision
from dhcli.networks.batch_size import fastest_batch
from dhcli.networks.bundle import Bundle
from dhcli.networks.network import CPU_PROVIDER, MOST_THREADS, Device, Network, means_cpu
from dhcli.runtime.threads import cores
from dhcli.stages import align
from dhcli.types import F32, Frame, Numbers

FACES: Mapping[Numbers, str] = {"fp32": "face", "fp16": "face_fp16", "int8": "face_int8"}
"""The face network's roles in a bundle; a bundle need not have more than the first one."""
AUDIO_THREADS = 1
"""Threads of the audio network. With more, how its sums are split, and so how they are rounded, depends on their number
and on which of them has a core first; the face network in 8 bits makes 8 levels of a pixel of that. It takes 6 ms for a
second of sound, 4 with two.
"""
NO_GPU = "No GPU is used for the face network: numbers of 8 bits are for CPUs."
FINDER_THREADS = 1
"""Threads of each network that finds faces. The landmark network's convolutions take 10 to 80 µs each: two threads are
no faster (3.9 ms), need 5.9 ms of CPU time for 3.9, and the decoder has a use for the second core."""


class DhBase:
    """The networks of a bundle and the geometry between them.

    Those that find faces are opened at their first use: a video that was analysed before needs none of them.
    """

    name = "dh_base"
    sample_rate = SAMPLE_RATE
    """Hz of the mono waveform that `listen` takes."""

    def __init__(self, bundle: Bundle, device: Device, threads: int, precision: Precision = "auto") -> None:
        """`threads` 0: one a core for the face network; for pictures, beside which ffmpeg works, one for two cores.

        Raises DhError model.* or env.device_unavailable.
        """
        self.bundle = bundle
        self._device, self._threads = device, threads
        cv2.setNumThreads(threads or max(1, min(MOST_THREADS, cores() // 2)))
        self._warnings: dict[str, None] = {}
        """Of all networks, also of those that were given up for another one."""
        self._blender = Blender()
        self.geometry: Geometry = load_geometry(bundle.read("geometry"))
        self._audio = self._open("audio", threads=AUDIO_THREADS)
        self._face, self.precision = self._open_face(precision)
        self._speaker = Speaker(self._speak, self.geometry.basis)

    def _open(self, role: str, device: Device | None = None, threads: int | None = None) -> Network:
        threads = self._threads if threads is None else threads
        network = self.bundle.open_network(role, device=device or self._device, threads=threads)
        if network.warning is not None:
            self._warnings[network.warning] = None
        return network

    def _open_face(self, precision: Precision) -> tuple[Network, Numbers]:
        # A GPU has no convolutions in 8 bits: they would run on the CPU, and the provider in use would be CUDA.
        if precision == "int8":
            if not means_cpu(self._device):
                self._warnings[NO_GPU] = None
            return self._open(FACES["int8"], Device("cpu")), "int8"
        if precision != "auto":
            return self._open(FACES[precision]), precision
        if FACES["int8"] not in self.bundle.files:
            return self._open(FACES["fp32"]), "fp32"
        if not means_cpu(self._device):
            network = self._open(FACES["fp32"])
            if network.provider != CPU_PROVIDER:
                return network, "fp32"
            del network  # its weights leave before the other one's come
        return self._open(FACES["int8"], Device("cpu")), "int8"

    @functools.cached_property
    def batch(self) -> int:
        """Frames that go through the face network at once; measured on a GPU. Raises what the network raises."""
        return BATCH if self.provider == CPU_PROVIDER else fastest_batch(self._face)

    @functools.cached_property
    def detect(self) -> Network:
        """Finds faces in a whole picture. Raises as the constructor does."""
        return self._open("detect", threads=FINDER_THREADS)

    @functools.cached_property
    def landmarks(self) -> Network:
        """Places the points of one face. Raises as the constructor does."""
        return self._open("landmarks", threads=FINDER_THREADS)

    def close_finders(self) -> None:
        """Free the memory of the networks that find faces; they open again, in 40 ms, where needed."""
        for name in ("detect", "landmarks"):
            self.__dict__.pop(name, None)

    @functools.cached_property
    def face_finders(self) -> str:
        """The execution providers of the networks that find faces; none is opened where that is certain."""
        return CPU_PROVIDER if means_cpu(self._device) else f"{self.detect.provider} {self.landmarks.provider}"

    @property
    def provider(self) -> str:
        """The execution provider that runs the face network."""
        return self._face.provider

    @property
    def device(self) -> str:
        """Where the face network really runs: "cpu", "cuda:0", …"""
        return "cpu" if self._face.provider == CPU_PROVIDER else str(self._device)

    @property
    def warning(self) -> str | None:
        """Why the networks, or one of them, are not on the device asked for; None where all are."""
        return next(iter(self._warnings), None)

    def listen(self, open_audio: Callable[[], Iterator[F32]]) -> tuple[ConditionTrack, Loudness]:
        """Codes for a whole speech. `open_audio` gives its 16 kHz mono chunks from the start, and is called twice."""
        loudness = measure_loudness(open_audio())
        codes, levels = listen(open_audio(), loudness, self._hear)
        return ConditionTrack(rest_in_silence(codes, levels, loudness)), loudness

    def _hear(self, samples: F32) -> F32:
        return cast("F32", self._audio.run(["codes"], {"waveform": samples[None]}, seldom=True)[0][0])

    def _speak(self, feeds: dict[str, F32]) -> tuple[F32, F32, F32]:
        flow, colour, opacity = self._face.run_bound(["flow", "rgb", "alpha"], feeds)
        return flow, colour, opacity

    def speak(self, shots: Sequence[Shot], yuv: align.YuvMatrix) -> list[Mouth]:
        """The new mouths of up to a batch of frames; good until the next call."""
        return self._speaker.speak(shots, yuv)

    def blend(self, shot: Shot, mouth: Mouth, yuv: align.YuvMatrix) -> Frame:
        """The frame with its new mouth; a copy of it where it is read-only."""
        return self._blender.blend(shot.frame, mouth, shot.row.weight, yuv)
