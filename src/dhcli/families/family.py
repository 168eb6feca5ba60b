"""What the rest of dh asks of a model family. A new family is one class that has all of it.

speech, manner ─ listen ─▶ conditions ─ at(time) ─┐
video ─ found faces ─ profiler ─▶ profile ─────────┼─▶ Shot ─ speak ─▶ patch ─ paste ─▶ frame
└ frame, face
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from dhcli.disk.scratch import Scratch
from dhcli.networks.bundle import Bundle
from dhcli.networks.model import Model
from dhcli.stages.align import Area, YuvMatrix
from dhcli.stages.cutout import Cutout
from dhcli.types import F32, FaceRow, Frame, FrameFormat

Speech: TypeAlias = Callable[[], Iterator[F32]]
"""Gives the mono waveform, full scale = 1, in chunks from the start; may be called more than once."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a job wants its model to be used."""

    fps: Fraction
    """Of the output."""
    scratch: Scratch
    """Where what is kept of a long speech may lie."""
    gain: float | None = None
    """Scales the movement: 1 is the speech's own, None the one that suits the person in the video."""
    silence: Literal["rest", "follow"] = "rest"
    """What the mouth does where nobody speaks: rest, or what the model makes of the sound there."""
    smoothing_ms: float | None = None
    """Over how long the movement is averaged, standard deviation; None: the model's own."""
    detail: float = 1.0
    """0..1: how much of the frame's own fine detail stays where the new mouth only moves it."""
    faithful: bool = False
    """Paste what the model's own program would paste, without the help of dh."""


class Conditions(Protocol):
    """What a whole speech asks of a mouth."""

    @property
    def silent(self) -> bool:
        """Nobody speaks in it."""

    @property
    def noise_db(self) -> float | None:
        """How loud its pauses are, dB relative to the speech; 0 where no speech is heard, None where there are none or
        the family does not measure.
        """

    def at(self, time_s: Fraction) -> Any:
        """What it asks at a time from 0 on: the `condition` of a shot."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame whose mouth is to move."""

    frame: Frame
    face: FaceRow
    condition: Any
    """What the family's `Conditions` gave for the frame's time."""
    profile: Any
    """What the family's `profile` made of this video; None where it keeps nothing."""


class Patch(Protocol):
    """The new mouth of one shot; good until the family is asked for the next ones."""

    @property
    def opening(self) -> float | None:
        """Gap between the inner lips that the mouth is to have, in widths of the mouth; None: not known."""

    @property
    def reference(self) -> int | None:
        """Number of the picture that its teeth come from, among the person's; None: from none."""

    def paste(self, frame: Frame, weight: float, yuv: YuvMatrix) -> Frame:
        """The frame with the new mouth, or a copy where it is read-only. `weight` 0..1: how much of it to show."""


class Profiler(Protocol):
    """Sees the analysed frames of a video once, in order, and makes of them what its family keeps of each person."""

    def area(self, face: FaceRow) -> Area:
        """The part of the frame, px, that `see` needs.

        Asked before the face's landmarks are smoothed, when it has no person and weight yet; a margin of some px makes
        sure that the part has all that `see` reads.
        """

    def see(self, face: FaceRow, picture: Cutout) -> None:
        """Look at a frame that shows the face. Not called where the landmark network was not asked (`looked`)."""

    def finish(self, faces: Callable[[], Iterable[FaceRow]]) -> bytes:
        """What is kept. Each call of `faces` gives all faces of the video in order, seen or not."""


class Family(Protocol):
    """A model, opened. Constructed with its `Model`; raises DhError model.*, env.device_unavailable."""

    name: ClassVar[str]
    """As in `family:` of a model.yaml."""
    version: ClassVar[int]
    """Counted up when the same model gives other pixels or keeps other things of a person."""
    roles: ClassVar[tuple[str, ...]]
    """The files that a bundle of the family must have."""
    sample_rate: ClassVar[int]
    """Hz of the waveform that `listen` takes."""

    @classmethod
    def check(cls, bundle: Bundle) -> None:
        """Raise DhError model.incompatible where the bundle cannot be one of the family's. Opens no network."""

    def __init__(self, model: Model) -> None:
        """Open what each render needs."""

    @property
    def model(self) -> Model:
        """What it was opened with."""

    def listen(self, speech: Speech, manner: Manner) -> Conditions:
        """What the mouth has to do in a whole speech.

        Raises DhError model.*, and what `speech` raises; model.incompatible where the family cannot do what `manner`
        asks.
        """

    def asked(self, condition: Any) -> float | None:
        """The opening beyond rest that a condition asks of a usual mouth, in widths of it; None: it tells of none."""

    def profiler(self, fmt: FrameFormat) -> Profiler | None:
        """For a video of this format; None where the family keeps nothing of a person."""

    def profile(self, kept: bytes, persons: int) -> Any:
        """The profile in what a profiler kept of a video with so many persons.

        Raises ValueError where it cannot be one: then it is made anew.
        """

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> Sequence[Patch]:
        """The new mouths of up to a batch of frames. Raises DhError model.*, device.*."""
