"""Networks that hear: rows of a recipe in, rows that a picture network understands out.

Each hears a speech in windows of bounded length, so that memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np

from dhcli.families.hearing.tensors import Shape, give, ones, take, unlike
from dhcli.families.hearing.windows import RowsOf, Windows, sliding
from dhcli.networks.network import Network, Tensor, TensorInfo
from dhcli.types import F32

SUBSAMPLED_AWAY = 6
"""Rows that two convolutions of 3 with stride 2 need beyond the first of their last step."""
WENET_ROWS, WENET_MARGIN = 875, 25
"""Encoded rows of a window: 35 s, as HeyGem's chunks of 560,000 samples. Its chunks share nothing, and lose a row each;
these share 2 s."""

STREAM_ROWS, STREAM_STEP, STREAM_OFFSET = 67, 5, 100
"""Of Ultralight's `wenet_infer.py`: rows at once, rows from one window to the next, and what it gives as `offset`."""
STREAM_BEFORE_S, STREAM_AFTER_S = 0.32, 0.4
"""Silence around the speech. That program has 0.35 s behind it, and zeros where the last window lacks a row or two."""
STREAM_MEMORIES: tuple[Shape, ...] = ((3, 8, 16, 128), (3, 1, 512, 14))

HUBERT_STEP, HUBERT_FIELD = 320, 400
"""Samples of one encoded row, and those that it hears."""
HUBERT_ROWS, HUBERT_MARGIN = 500, 25
"""Pairs of encoded rows in a window: 20 s."""
LEAST_VARIANCE = 1e-7
"""Added to the waveform's, as the feature extractor of transformers does."""


class Encoder(Protocol):
    """What encodes the rows of a whole speech."""

    @property
    def recipe(self) -> str | None:
        """Id of the recipe whose rows it hears; None: any."""

    @property
    def before_s(self) -> float:
        """Silence that it needs before a speech: the first encoded row then belongs to the speech's begin."""

    @property
    def after_s(self) -> float:
        """Silence that it needs behind a speech."""

    @property
    def rate(self) -> Fraction:
        """Encoded rows a second."""

    @property
    def width(self) -> int:
        """Numbers in an encoded row."""

    def encode(self, rows: RowsOf) -> Iterator[F32]:
        """All encoded rows, in order. Raises DhError model.*, device.*, and what `rows` raises."""


def open_encoder(kind: str, network: Network) -> Encoder:
    """An encoder of one of `ENCODERS`. Raises DhError model.incompatible where the network is none of this kind."""
    return ENCODERS[kind](network)


def wenet(network: Network) -> Encoder:
    """HeyGem's ears: 100 rows of 80 a second in, (1, n, 80) and maybe their number; 25 rows of 256 a second out."""
    (chunk,), lengths = take(network, [(1, None, 80)], lengths=1)
    if isinstance(chunk.shape[1], int):
        raise unlike(network, "input", (1, None, 80))
    output = give(network, (1, None, 256))[0]

    def ask(window: F32) -> F32:
        padded = np.concatenate([window, np.repeat(window[-1:], SUBSAMPLED_AWAY, 0)])
        feeds = {chunk.name: padded[None].astype(chunk.dtype)}
        feeds |= {info.name: np.full(ones(info), len(padded), info.dtype) for info in lengths}
        return _first(network, output, feeds)

    return Windows(ask, Fraction(25), 256, 4, WENET_ROWS, WENET_MARGIN, "wenet_logmel")


def hubert(network: Network) -> Encoder:
    """HuBERT: samples of mean 0 and variance 1, (1, n), in; (1, m, 1024), 50 a second, out, in pairs of one row."""
    (samples,), _ = take(network, [(1, None)])
    if isinstance(samples.shape[1], int):
        raise unlike(network, "input", (1, None))
    output = give(network, (1, None, 1024))[0]

    def ask(window: F32) -> F32:
        whole = np.pad(window[:, 0], (0, -len(window) % (2 * HUBERT_STEP) + HUBERT_FIELD - HUBERT_STEP))
        heard = _first(network, output, {samples.name: whole[None].astype(samples.dtype)})
        return heard[: len(heard) // 2 * 2].reshape(-1, 2 * heard.shape[1])

    return Windows(
        ask, Fraction(25), 2048, 2 * HUBERT_STEP, HUBERT_ROWS, HUBERT_MARGIN, "samples", prepared=_standardised
    )


def _standardised(rows: RowsOf) -> Iterator[F32]:
    """The whole waveform brought to mean 0 and variance 1, in a second pass."""
    count, total, squares = 0, 0.0, 0.0
    for block in rows():
        count += block.size
        total += float(block.sum(dtype=np.float64))
        squares += float(np.square(block, dtype=np.float64).sum())
    mean = total / max(1, count)
    deviation = np.sqrt(max(0.0, squares / max(1, count) - mean**2) + LEAST_VARIANCE)
    for block in rows():
        yield ((block - mean) / deviation).astype(np.float32)


@dataclass(frozen=True, slots=True)
class WenetStream:
    """Ultralight's ears: 67 rows of 80 at once, 5 further each time. Their memory of earlier rows stays empty, as its
    own program keeps it.
    """

    network: Network
    chunk: TensorInfo
    output: TensorInfo
    constant: Mapping[str, Tensor]
    """What is the same each time."""
    rate: ClassVar[Fraction] = Fraction(20)
    width: ClassVar[int] = 16 * 512
    recipe: ClassVar[str] = "kaldi_fbank"
    before_s: ClassVar[float] = STREAM_BEFORE_S
    after_s: ClassVar[float] = STREAM_AFTER_S

    def encode(self, rows: RowsOf) -> Iterator[F32]:
        """See `Encoder`."""
        for window in sliding(rows(), STREAM_ROWS, STREAM_STEP):
            feeds = {self.chunk.name: window[None, None].astype(self.chunk.dtype), **self.constant}
            heard = np.asarray(self.network.run((self.output.name,), feeds, even=True)[0], np.float32)
            if heard.size != self.width:
                raise unlike(self.network, "output", (1, 16, 512))
            yield heard.reshape(1, self.width)


def wenet_stream(network: Network) -> Encoder:
    """Ultralight's ears: `chunk`, `offset`, `att_cache` and `cnn_cache`, whatever their names. See `WenetStream`."""
    (chunk, *memories), offsets = take(network, [(1, 1, STREAM_ROWS, 80), *STREAM_MEMORIES], lengths=1)
    constant: dict[str, Tensor] = {
        info.name: np.zeros([size or 1 for size in shape], info.dtype)
        for info, shape in zip(memories, STREAM_MEMORIES, strict=True)
    }
    constant |= {info.name: np.full(ones(info), STREAM_OFFSET, info.dtype) for info in offsets}
    return WenetStream(network, chunk, give(network, (1, 16, 512))[0], constant)


ENCODERS: Mapping[str, Callable[[Network], Encoder]] = {
    "wenet": wenet,
    "wenet_stream": wenet_stream,
    "hubert": hubert,
}


def _first(network: Network, output: TensorInfo, feeds: Mapping[str, Tensor]) -> F32:
    """The only thing of the batch."""
    # Even: what a silent window makes of a network may well be one value everywhere.
    return np.asarray(network.run((output.name,), feeds, seldom=True, even=True)[0][0], np.float32)
