"""Which frames of a finished video are looked at: as many as a share of the render's time allows, where lips move.

What is asked is known for every frame, so that a few frames tell range, correlation and lag. Where frames have to be
decoded for that, they lie in stretches that begin with key frames, since a decoder can begin nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dhcli.picture.follow import spread
from dhcli.types import F64

SHARE = 0.012
"""Of the render's processor time. Looking fills one core and rendering two, so that a user waits 3 % longer at most."""
START_NS, RENDERED_NS, RENDERED_PIXEL_NS, RENDERED_BYTE_NS = 0.4e9, 13e6, 25.0, 400.0
"""Processor time of a render that finds its analysis in the cache, on a processor with VNNI: for the job, for each
frame, for each of its pixels, each byte of the output. Others take longer, and their share is smaller."""
SPAN_NS, DECODED_PIXEL_NS, DECODED_BYTE_NS, LOOK_NS = 40e6, 2.2, 130.0, 6e6
"""Of looking: starting a decoder, decoding a pixel and a byte, finding the landmarks in a frame."""
LEAST_LOOKS, MOST_LOOKS, MOST_SPANS = 12, 240, 12
"""Fewer frames tell nothing, so that a clip of some seconds takes more than its share. More do not make the figures of
an hour any surer."""
LEAST_S = 0.8
"""Least length of what is decoded of a video, as far as it shows the face: some syllables."""
GOLDEN = 0.6180339887
"""Its multiples, without their whole parts, lie evenly between 0 and 1."""
MOVING = 0.25
"""Part of the largest movement of all stretches; one with less is a pause."""
SPAN_S = 2.0
"""Least length of a stretch, where there are several: some words."""


@dataclass(frozen=True, slots=True)
class Span:
    """Frames that one decoder gives."""

    first: int
    """A key frame."""
    count: int
    """Frames that are decoded."""
    looked: tuple[int, ...]
    """Those that are looked at, ascending."""


def choose_frames(asked: F64, pixels: int) -> tuple[int, ...]:
    """The frames to look at where decoding costs nothing, ascending.

    `asked` has the opening asked for in each frame, NaN where it shows no face; `pixels` are those of a frame.
    """
    return _spread_out(asked, 0, len(asked), int(_budget_ns(len(asked), pixels, 0) / LOOK_NS))


def choose_spans(asked: F64, keys: Sequence[int], pixels: int, frame_bytes: float, fps: float) -> tuple[Span, ...]:
    """The frames to look at where they have to be decoded. `keys` are the key frames, ascending, from 0.

    `frame_bytes` are those of a coded frame, on average.
    """
    frames, decoded_ns = len(asked), DECODED_PIXEL_NS * pixels + DECODED_BYTE_NS * frame_bytes
    budget = _budget_ns(frames, pixels, frame_bytes)
    length, least = math.ceil(SPAN_S * fps), math.ceil(LEAST_S * fps)
    least_ns = SPAN_NS + length * decoded_ns + LEAST_LOOKS * LOOK_NS
    stretches = [(first, end) for first, end in zip(keys, [*keys[1:], frames], strict=True) if end > first]
    if len(stretches) == 1 or SPAN_NS + frames * decoded_ns <= budget / 2:
        return (_span(asked, (0, frames), least, budget - SPAN_NS, decoded_ns, MOST_LOOKS),)
    movement = {one: _movement(asked[one[0] : min(one[1], one[0] + length)]) for one in stretches}
    moving = [one for one in stretches if movement[one] >= MOVING * max(movement.values())]
    best = sorted(moving, key=lambda one: -movement[one])
    chosen = sorted(best[: max(1, min(MOST_SPANS, int(budget / least_ns)))])
    each, most = budget / len(chosen) - SPAN_NS, MOST_LOOKS // len(chosen)
    return tuple(_span(asked, one, least, each, decoded_ns, most) for one in chosen)


def _budget_ns(frames: int, pixels: int, frame_bytes: float) -> float:
    frame_ns = RENDERED_NS + RENDERED_PIXEL_NS * pixels + RENDERED_BYTE_NS * frame_bytes
    return SHARE * (START_NS + frames * frame_ns)


def _span(asked: F64, stretch: tuple[int, int], least: int, budget: float, decoded_ns: float, most: int) -> Span:
    """The frames from a key frame on that the budget allows, half of it for decoding.

    But as many as have half of the movement, and `least` with a face.
    """
    first, end = stretch
    count = max(1, min(end - first, int(budget / 2 / decoded_ns)))
    enough = _movement(asked[first:end]) / 2
    while count < end - first and (
        np.count_nonzero(np.isfinite(asked[first : first + count])) < least
        or _movement(asked[first : first + count]) < enough
    ):
        count = min(end - first, count + max(1, least // 4))
    looked = _spread_out(asked, first, first + count, min(most, int((budget - count * decoded_ns) / LOOK_NS)))
    return Span(first, looked[-1] - first + 1 if looked else 0, looked)


def _spread_out(asked: F64, first: int, end: int, wanted: int) -> tuple[int, ...]:
    """So many of the frames with a face, evenly spaced in what is asked, and scattered in time.

    So their range is that of all frames, and few of them tell a lag.
    """
    faces = first + np.flatnonzero(np.isfinite(asked[first:end]))
    looks = min(len(faces), MOST_LOOKS, max(LEAST_LOOKS, wanted))
    by_opening = faces[np.argsort(asked[faces], kind="stable")]
    alike = np.array_split(by_opening, looks) if looks else []
    return tuple(sorted(int(np.sort(part)[int(len(part) * (i * GOLDEN % 1))]) for i, part in enumerate(alike)))


def _movement(asked: F64) -> float:
    return spread(asked) or 0.0
