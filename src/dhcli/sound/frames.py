"""A waveform in overlapping frames, streaming: what all spectra begin with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from dhcli.types import F32, F64

Edge = Literal["reflect", "zeros", "none"]
"""What stands before the first sample and behind the last one: the waveform mirrored, silence, or nothing."""
BLOCK = 512
"""Frames at once: 3 MB of float64 in frames of 800 samples."""


def framed(chunks: Iterable[F32 | F64], size: int, hop: int, edge: Edge) -> Iterator[F64]:  # -> (n, size), n <= BLOCK
    """Frames of `size` samples, one every `hop`.

    With edges the first frame's middle is the first sample, and n samples have 1 + n // hop frames; without them the
    first frame begins there, and only whole frames come. The chunks' lengths change nothing.
    """
    half = 0 if edge == "none" else size // 2
    ahead = np.zeros(0)
    for begun, chunk in enumerate(_with_edges(chunks, half, edge)):
        ahead = chunk if not begun else np.concatenate([ahead, chunk])
        whole = (len(ahead) - size) // hop + 1
        if whole >= BLOCK:
            whole -= whole % BLOCK
            yield from _blocks(ahead, whole, size, hop)
            ahead = ahead[whole * hop :]
    whole = (len(ahead) - size) // hop + 1
    if whole > 0:
        yield from _blocks(ahead, whole, size, hop)


def _blocks(samples: F64, count: int, size: int, hop: int) -> Iterator[F64]:
    view = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop][:count]
    for begin in range(0, count, BLOCK):
        yield view[begin : begin + BLOCK]


def _with_edges(chunks: Iterable[F32 | F64], half: int, edge: Edge) -> Iterator[F64]:
    """The chunks as float64, with `half` samples more on both sides."""
    held, begun = np.zeros(0), half == 0
    for chunk in chunks:
        held = np.concatenate([held, chunk.astype(np.float64)])
        if not begun and len(held) > half:
            held, begun = np.concatenate([_before(held, half, edge), held]), True
        if begun and len(held) > 2 * half + 1:  # as much stays as the end may need for its mirror image
            keep = half + 1 if half else 0
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if not begun:
        if not len(held):
            return
        held = np.concatenate([_before(held, half, edge), held])
        yield np.concatenate([held, _before(held[half:][::-1], half, edge)[::-1]])
        return
    if half:
        held = np.concatenate([held, _before(held[::-1], half, edge)[::-1]])
    yield held


def _before(samples: F64, half: int, edge: Edge) -> F64:
    """`half` samples that stand before these; a waveform shorter than that is mirrored again and again."""
    if edge == "zeros":
        return np.zeros(half)
    if len(samples) == 1:
        return np.repeat(samples, half)
    return np.asarray(np.pad(samples[: half + 1], (half, 0), mode="reflect")[:half], np.float64)


def emphasised(chunks: Iterable[F32 | F64], factor: float = 0.97) -> Iterator[F64]:
    """High frequencies lifted: y[n] = x[n] - factor x[n - 1], x[-1] = 0."""
    last = 0.0
    for chunk in chunks:
        if len(chunk):
            before = np.concatenate([[last], chunk[:-1]])
            last = float(chunk[-1])
            yield chunk - factor * before


def silence_around(chunks: Iterable[F32], before: int, after: int) -> Iterator[F32]:
    """The waveform with so many zero samples before and behind it."""
    if before:
        yield np.zeros(before, np.float32)
    yield from chunks
    if after:
        yield np.zeros(after, np.float32)


def cut(chunks: Iterable[F32], size: int) -> Iterator[F32]:
    """The waveform in pieces of `size` samples, the last one with what is left."""
    held: list[F32] = []
    length = 0
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length >= size:
            whole = np.concatenate(held)
            for at in range(0, length - size + 1, size):
                yield whole[at : at + size]
            held = [whole[length - length % size :]]
            length %= size
    if length:
        yield np.concatenate(held)
