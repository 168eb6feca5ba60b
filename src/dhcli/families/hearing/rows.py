"""Rows of numbers of a whole speech, in a scratch file: memory does not grow with the speech."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from dhcli.disk.scratch import Scratch
from dhcli.types import F32, F64

CONTENT = "what is heard of the speech"
"""Names the data in error messages."""
MOST_DEVIATIONS = 4
"""Of the average over time, beyond which a row counts for nothing."""


class Rows:
    """Rows of one width at one rate; the first one belongs to the begin of the speech."""

    def __init__(self, scratch: Scratch, rate: Fraction, width: int, before: int = 0) -> None:
        """`before`: rows that come ahead of the speech's begin. Raises DhError output.*."""
        self.rate, self.width = rate, width
        self._file, self._before, self._count = scratch.open(CONTENT), before, 0
        self._kernel = np.ones(1)

    def append(self, rows: F32) -> None:  # (n, width)
        """Put rows behind the ones before. Raises DhError output.disk_full, output.not_writable."""
        if rows.shape[1:] != (self.width,):
            raise ValueError(f"rows of shape {rows.shape}, not (n, {self.width})")
        self._file.write(np.ascontiguousarray(rows, np.float32).data.cast("B"), self._count * self._row_bytes)
        self._count += len(rows)

    def __len__(self) -> int:
        """Rows from the speech's begin on."""
        return self._count - self._before

    def averaged(self, over_ms: float) -> None:
        """Let every row be the average of its neighbours, with a bell of this standard deviation."""
        deviation = over_ms / 1000 * float(self.rate)
        radius = int(MOST_DEVIATIONS * deviation + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(deviation, 1e-9)) ** 2)
        self._kernel = kernel / kernel.sum()

    def window(self, first: int, count: int) -> F32:  # -> (count, width)
        """Rows from number `first` on; zeros where there are none. Raises DhError output.not_writable."""
        radius = len(self._kernel) // 2
        rows = self._stored(first - radius, count + 2 * radius)
        return self._average(rows, count) if radius else rows

    def _average(self, rows: F32, count: int) -> F32:
        total: F64 = sum(
            (weight * rows[at : at + count] for at, weight in enumerate(self._kernel)), np.zeros((count, self.width))
        )
        return total.astype(np.float32)

    def _stored(self, first: int, count: int) -> F32:
        rows = np.zeros((count, self.width), np.float32)
        begin, end = max(first + self._before, 0), min(first + self._before + count, self._count)
        if begin < end:
            at = begin - first - self._before
            self._file.read_into(rows[at : at + end - begin].data.cast("B"), begin * self._row_bytes)
        return rows

    @property
    def _row_bytes(self) -> int:
        return 4 * self.width

    def close(self) -> None:
        """Give the scratch file back; it goes with the object, too."""
        self._file.close()
