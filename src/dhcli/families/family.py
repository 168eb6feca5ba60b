"""What the rest of dh asks of a model family: a new family is a class beside this module that has all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol, TypeAlias

from dhcli.families.dh_base.geometry import Geometry
from dhcli.families.dh_base.listen import ConditionTrack, Loudness
from dhcli.families.dh_base.speak import Mouth, Shot
from dhcli.networks.bundle import Bundle
from dhcli.networks.network import Network
from dhcli.stages.align import YuvMatrix
from dhcli.types import F32, Frame, Numbers

BATCH = 4
"""Frames that go through a face network at once on a CPU, where one takes as long in batches of 1 to 16."""

Precision: TypeAlias = Literal["auto"] | Numbers
"""Of the face network. auto: 8 bits on a CPU, where they take two fifths of the time, if the model has them."""


class FaceFinder(Protocol):
    """What finding and following faces needs."""

    @property
    def detect(self) -> Network:
        """Finds faces in a whole picture. Raises DhError model.*, env.device_unavailable."""

    @property
    def landmarks(self) -> Network:
        """Places the points of one face. Raises as `detect` does."""

    @property
    def geometry(self) -> Geometry:
        """What the model knows about faces in general."""


class Family(FaceFinder, Protocol):
    """A model, opened."""

    @property
    def bundle(self) -> Bundle:
        """What it was opened from."""

    @property
    def sample_rate(self) -> int:
        """Hz of the mono waveform that `listen` takes."""

    @property
    def provider(self) -> str:
        """The execution provider that runs the face network."""

    @property
    def device(self) -> str:
        """Where the face network really runs: "cpu", "cuda:0", …"""

    @property
    def precision(self) -> Numbers:
        """Numbers of the face network."""

    @property
    def batch(self) -> int:
        """Frames that go through the face network at once, if there is memory for so many."""

    @property
    def warning(self) -> str | None:
        """Why a network is not on the device asked for; None where all are."""

    @property
    def face_finders(self) -> str:
        """The execution providers of the networks that find faces."""

    def close_finders(self) -> None:
        """Free the memory that `detect` and `landmarks` take, until they are asked for again."""

    def listen(self, open_audio: Callable[[], Iterator[F32]]) -> tuple[ConditionTrack, Loudness]:
        """What the mouth has to do in a whole speech.

        `open_audio` gives its chunks from the start, and may be called more than once.
        """

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> list[Mouth]:
        """The new mouths of up to a batch of frames; good until the next call."""

    def blend(self, shot: Shot, mouth: Mouth, yuv: YuvMatrix) -> Frame:
        """The frame with its new mouth; a copy of it where it is read-only."""
