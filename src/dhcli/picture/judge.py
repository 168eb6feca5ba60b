"""What figures mean: from which value on a picture deserves a warning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dhcli.errors import WarningCode

ASKED = 0.08
"""Range of the opening asked for, in widths of the mouth, from which on somebody speaks: talkers have 0.3, a quarter of
that is a mumble."""
STILL_SHARE = 0.25
"""Less than this part of it shown is a mouth that does not speak: renders have 0.7 to 1.1, the landmarks of a frozen
picture 0.02 to 0.1."""
SMALL_PX = 64.0
"""Width of a face, cheek to cheek, below which the mouth has some 20 px, and the lips' whole movement 6: less than the
face network sees, and few viewers see it."""
SOFT_SHARE = 0.25
"""Sharpness inside the mouth, in parts of the source's, below which teeth run into one another. The same teeth, moved
and coded once more, keep 0.4 and more."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The figures that are judged; None: unknown, and no reason to warn."""

    asked: float | None
    shown: float | None
    face_px: float | None
    sharpness: float | None
    source_sharpness: float | None


def verdicts(figures: Judged) -> Iterator[tuple[WarningCode, str]]:
    """Warnings about a picture, with their numbers."""
    asked, shown, inside, source = figures.asked, figures.shown, figures.sharpness, figures.source_sharpness
    if asked is not None and shown is not None and asked >= ASKED and shown < STILL_SHARE * asked:
        yield (
            "mouth.still",
            f"The mouth hardly moves: asked to open by {asked:.2f} of its width, it opens by {shown:.2f}.",
        )
    if figures.face_px is not None and figures.face_px < SMALL_PX:
        yield "face.small", f"The face is {figures.face_px:.0f} px wide; below {SMALL_PX:.0f} hardly anybody sees lips."
    if inside is not None and source and inside < SOFT_SHARE * source:
        yield (
            "picture.soft",
            f"The inside of the mouth has {inside / source:.2f} of the source's sharpness (limit {SOFT_SHARE:g}).",
        )
