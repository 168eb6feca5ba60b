"""Rows of numbers of a whole speech, in a scratch file: memory does not grow with the speech."""

from __future__ import annotations

import weakref
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from dhcli.disk.scratch import Scratch
from dhcli.types import F32

Flags = npt.NDArray[np.bool_]

CONTENT = "what is heard of the speech"
"""Names the data in error messages."""
MOST_DEVIATIONS = 4
"""Of the average over time, beyond which a row counts for nothing."""


class Rows:
    """Rows of one width at one rate; the first one belongs to the begin of the speech."""

    def __init__(self, scratch: Scratch, rate: Fraction, width: int, before: int = 0, beyond: float = 0) -> None:
        """`before`: rows that come ahead of the speech's begin; `beyond`: what is heard where there are no rows.

        Raises DhError output.*.
        """
        self.rate, self.width = rate, width
        self._file, self._before, self._count, self._beyond = scratch.open(CONTENT), before, 0, beyond
        self._kernel = np.ones(1)
        self._closing = weakref.finalize(self, self._file.close)

    def append(self, rows: F32) -> None:  # (n, width)
        """Put rows behind the ones before. Raises DhError output.disk_full, output.not_writable."""
        if rows.shape[1:] != (self.width,):
            raise ValueError(f"rows of shape {rows.shape}, not (n, {self.width})")
        if not len(rows):
            return
        self._file.write(np.ascontiguousarray(rows, np.float32).data.cast("B"), self._count * self._row_bytes)
        self._count += len(rows)

    def cut(self, count: int) -> None:
        """Forget the rows from number `count` on."""
        self._count = min(self._count, self._before + count)

    def __len__(self) -> int:
        """Rows from the speech's begin on."""
        return max(0, self._count - self._before)

    def averaged(self, over_ms: float) -> None:
        """Let every row be the average of its neighbours, with a bell of this standard deviation."""
        deviation = over_ms / 1000 * float(self.rate)
        radius = int(MOST_DEVIATIONS * deviation + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(deviation, 1e-9)) ** 2)
        self._kernel = kernel / kernel.sum()

    def window(self, first: int, count: int) -> F32:  # -> (count, width)
        """Rows from number `first` on; those beyond the ends count for no average. Raises DhError output.*."""
        radius = len(self._kernel) // 2
        rows, real = self._stored(first - radius, count + 2 * radius)
        return self._averaged(rows, real, count) if radius else rows

    def _averaged(self, rows: F32, real: Flags, count: int) -> F32:
        total, weights = np.zeros((count, self.width)), np.zeros((count, 1))
        for at, weight in enumerate(self._kernel):
            share = weight * real[at : at + count, None]
            total += share * rows[at : at + count]
            weights += share
        radius = len(self._kernel) // 2
        here = real[radius : radius + count, None]
        return np.where(here, total / np.where(here, weights, 1), self._beyond).astype(np.float32)

    def _stored(self, first: int, count: int) -> tuple[F32, Flags]:
        """The rows (count, width), and which of them there are (count,)."""
        rows, real = np.full((count, self.width), self._beyond, np.float32), np.zeros(count, bool)
        begin, end = max(first + self._before, 0), min(first + self._before + count, self._count)
        if begin < end:
            part = slice(begin - first - self._before, end - first - self._before)
            self._file.read_into(rows[part].data.cast("B"), begin * self._row_bytes)
            real[part] = True
        return rows, real

    @property
    def _row_bytes(self) -> int:
        return 4 * self.width

    def close(self) -> None:
        """Give the scratch file back; it goes with the object, too."""
        self._closing()
