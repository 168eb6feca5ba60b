"""A whole speech through a network in windows of bounded length, which overlap and fade into each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from dhcli.errors import DhError
from dhcli.types import F32

RowsOf: TypeAlias = Callable[[], Iterator[F32]]
"""Gives all rows of a speech in blocks (n, width), from the start; may be called more than once."""
Ask: TypeAlias = Callable[[F32], F32]
"""A window of rows (n, width) in, encoded rows (m, width) out."""
MOST_LACKING = 3
"""Encoded rows that a network may lose, or give too many, at the end of a window."""


def as_they_are(rows: RowsOf) -> Iterator[F32]:
    """The rows themselves."""
    return rows()


@dataclass(frozen=True, slots=True)
class Windows:
    """An encoder that hears windows; see `hearing.encoders.Encoder`.

    Two neighbours share 2 * `margin` encoded rows. In the middle half of these one fades into the other, so that
    nothing jumps; what is nearer to the end of a window counts for nothing.
    """

    ask: Ask
    rate: Fraction
    """Encoded rows a second."""
    width: int
    """Numbers in an encoded row."""
    step: int
    """Rows in for one encoded row."""
    size: int
    """Encoded rows of one window."""
    margin: int
    recipe: str | None = None
    """Id of the recipe whose rows it hears; None: any."""
    before_s: float = 0
    after_s: float = 0
    prepared: Callable[[RowsOf], Iterator[F32]] = as_they_are
    """What happens to the rows of the whole speech first."""

    def encode(self, rows: RowsOf) -> Iterator[F32]:
        """All encoded rows, one for each `step` rows that begin. Raises DhError model.*, device.*."""
        held, fading = np.zeros((0, 0), np.float32), np.zeros((0, self.width), np.float32)
        shared = 2 * self.margin
        for block in self.prepared(rows):
            held = np.concatenate([held, block]) if len(held) else block
            while len(held) > self.size * self.step:  # more than a window: so another one follows
                encoded = _faded(fading, self._window(held[: self.size * self.step]))
                yield encoded[: self.size - shared]
                fading = encoded[self.size - shared :]
                held = held[(self.size - shared) * self.step :]
        if len(held):
            yield _faded(fading, self._window(held))

    def _window(self, rows: F32) -> F32:
        wanted = -(-len(rows) // self.step)
        encoded = self.ask(rows)
        if abs(len(encoded) - wanted) > MOST_LACKING or encoded.shape[1:] != (self.width,):
            raise DhError(
                "model.incompatible",
                f"The encoder gives {' x '.join(map(str, encoded.shape))} numbers for {len(rows)} rows of sound: "
                f"expected {wanted} x {self.width}.",
                hint="Give the encoder that docs/models.md names for this family.",
            )
        lacking = max(0, wanted - len(encoded))
        return np.concatenate([encoded[:wanted], np.repeat(encoded[-1:], lacking, 0)])


def _faded(before: F32, after: F32) -> F32:
    """`after`, whose first rows are those of `before` and become its own in the middle half of these."""
    if not len(before):
        return after
    share = np.clip(2 * (np.arange(len(before)) + 0.5) / len(before) - 0.5, 0, 1)[:, None]
    shared = (1 - share) * before + share * after[: len(before)]
    return np.concatenate([shared.astype(np.float32), after[len(before) :]])


def sliding(blocks: Iterator[F32], size: int, step: int) -> Iterator[F32]:
    """All whole windows of `size` rows, one every `step` rows."""
    held: F32 | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block])
        at = 0
        while len(held) - at >= size:
            yield held[at : at + size]
            at += step
        held = held[at:]
