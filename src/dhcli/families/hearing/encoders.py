"""Networks that hear: rows of a recipe in, rows that a picture network understands out.

Each hears a speech in windows of bounded length that overlap, so that memory does not grow and nothing jumps where two
windows meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from dhcli.errors import DhError
from dhcli.networks.network import Network, TensorInfo
from dhcli.types import F32

STREAM_ROWS, STREAM_STEP, STREAM_OFFSET = 67, 5, 100
"""Of Ultralight's ears: rows at once, rows from one window to the next, and the constant that it gives as `offset`."""
SUBSAMPLED_AWAY = 6
"""Rows that two convolutions of 3 with stride 2 need beyond the last step."""
WENET_ROWS, WENET_MARGIN = 875, 25
"""Encoded rows of a window: 35 s, as HeyGem's chunks of 560,000 samples; a second of it is shared."""
HUBERT_EDGE = 40
"""Samples that put the middle of the first of HuBERT's 400-sample windows at its 320-sample step."""

Ask = Callable[[F32], F32]
"""A window of rows (n, width) in, encoded rows (m, width) out."""


class Encoder(Protocol):
    """What encodes the rows of a whole speech."""

    @property
    def rate(self) -> Fraction:
        """Encoded rows a second."""

    @property
    def width(self) -> int:
        """Numbers in an encoded row."""

    def encode(self, blocks: Iterator[F32]) -> Iterator[F32]:
        """All encoded rows, in order. Raises DhError model.*, device.*."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Encodes in windows that share `margin` encoded rows on both sides, which are thrown away."""

    ask: Ask
    rate: Fraction
    width: int
    step: int
    """Rows in for one encoded row."""
    size: int
    """Encoded rows of one window."""
    margin: int

    def encode(self, blocks: Iterator[F32]) -> Iterator[F32]:
        """See `Encoder`."""
        held: F32 | None = None
        begun = False
        for block in blocks:
            held = block if held is None else np.concatenate([held, block])
            while len(held) > self.size * self.step:  # more than a window: so another one follows
                yield from self._window(held[: self.size * self.step], begun=begun, last=False)
                held, begun = held[(self.size - 2 * self.margin) * self.step :], True
        if held is not None and len(held):
            yield from self._window(held, begun=begun, last=True)

    def _window(self, rows: F32, *, begun: bool, last: bool) -> Iterator[F32]:
        """What a window adds. The last rows of the speech that are no whole step count as one."""
        wanted = -(-len(rows) // self.step)
        encoded = self.ask(rows)[:wanted]
        if len(encoded) < wanted:  # networks lose a row or two at the end
            encoded = np.concatenate([encoded, np.repeat(encoded[-1:], wanted - len(encoded), 0)])
        yield encoded[self.margin if begun else 0 : None if last else self.size - self.margin]


def open_encoder(kind: str, network: Network) -> Encoder:
    """An encoder of this kind: wenet, wenet_stream, hubert. Raises DhError model.incompatible where it is none."""
    return ENCODERS[kind](network)


def wenet(network: Network) -> Encoder:
    """HeyGem's ears: 100 rows of 80 a second in, (1, n, 80) and maybe their number; 25 rows of 256 a second out."""
    rows = _input(network, (1, None, 80))
    lengths = next((info for info in network.inputs if info.dtype in {"int32", "int64"}), None)
    output = _output(network, (1, None, 256))

    def ask(window: F32) -> F32:
        # One frame more at the end: the subsampling of two convolutions without padding loses some.
        padded = np.concatenate([window, np.repeat(window[-1:], SUBSAMPLED_AWAY, 0)])
        feeds = {rows.name: padded[None].astype(rows.dtype)}
        if lengths is not None:
            feeds[lengths.name] = np.full(len(lengths.shape), len(padded), lengths.dtype)
        return np.asarray(network.run((output.name,), feeds, seldom=True)[0][0], np.float32)

    return Windows(ask, Fraction(25), 256, step=4, size=WENET_ROWS, margin=WENET_MARGIN)


def hubert(network: Network) -> Encoder:
    """HuBERT: samples of mean 0 and variance 1, (1, n), in; (1, m, 1024), 50 a second, out, in pairs of one row."""
    samples = _input(network, (1, None))
    output = _output(network, (1, None, None))
    if not isinstance(width := output.shape[2], int):
        raise _unlike(network, "output (1, n, 1024)")

    def ask(window: F32) -> F32:
        level = window[:, 0].astype(np.float64)
        level = (level - level.mean()) / np.sqrt(level.var() + 1e-7)
        padded = np.pad(level, (HUBERT_EDGE, HUBERT_EDGE))
        answer = np.asarray(
            network.run((output.name,), {samples.name: padded[None].astype(samples.dtype)}, seldom=True)[0]
        )
        pairs = len(answer[0]) // 2
        return answer[0, : 2 * pairs].reshape(pairs, 2 * width).astype(np.float32)

    return Windows(ask, Fraction(25), 2 * width, step=640, size=500, margin=25)


@dataclass(frozen=True, slots=True)
class WenetStream:
    """Ultralight's ears: 67 rows of 80 at once, 5 further each time. Their memory of earlier rows stays empty."""

    network: Network
    chunk: TensorInfo
    rate: Fraction = Fraction(20)
    width: int = 16 * 512

    def encode(self, blocks: Iterator[F32]) -> Iterator[F32]:
        """See `Encoder`. Beyond the speech its first and last rows repeat."""
        empty = {
            info.name: np.full(_ones(info), STREAM_OFFSET if info.dtype == "int64" else 0, info.dtype)
            for info in self.network.inputs
            if info is not self.chunk
        }
        output = self.network.outputs[0].name
        for window in _sliding(blocks, STREAM_ROWS, STREAM_STEP):
            rows = window.reshape(_ones(self.chunk)).astype(self.chunk.dtype)
            (heard,) = self.network.run((output,), {self.chunk.name: rows, **empty}, seldom=True)
            if heard.size != self.width:
                raise _unlike(self.network, f"an output of 16 x 512 numbers, not {heard.shape}")
            yield np.asarray(heard, np.float32).reshape(1, self.width)


def wenet_stream(network: Network) -> Encoder:
    """Ultralight's ears. Raises DhError model.incompatible."""
    return WenetStream(network, _input(network, (1, None, STREAM_ROWS, 80), (1, STREAM_ROWS, 80)))


def _ones(info: TensorInfo) -> list[int]:
    """The tensor's shape with 1 for what is free."""
    return [size if isinstance(size, int) else 1 for size in info.shape]


def _sliding(blocks: Iterator[F32], size: int, step: int) -> Iterator[F32]:
    """Windows of `size` rows around every `step`-th one; the first and last rows repeat beyond the ends."""
    held: F32 | None = None
    for block in blocks:
        if held is None:
            held = np.concatenate([np.repeat(block[:1], size // 2, 0), block])
        else:
            held = np.concatenate([held, block])
        while len(held) >= size:
            yield held[:size]
            held = held[step:]
    if held is None:
        return
    held = np.concatenate([held, np.repeat(held[-1:], size - size // 2 - 1, 0)])
    while len(held) >= size:
        yield held[:size]
        held = held[step:]


ENCODERS: Mapping[str, Callable[[Network], Encoder]] = {"wenet": wenet, "wenet_stream": wenet_stream, "hubert": hubert}


def _input(network: Network, *shapes: tuple[int | None, ...]) -> TensorInfo:
    """The first input of floating numbers with one of these shapes; None stands for any size."""
    return _tensor(network, "input", network.inputs, shapes)


def _output(network: Network, *shapes: tuple[int | None, ...]) -> TensorInfo:
    return _tensor(network, "output", network.outputs, shapes)


def _tensor(
    network: Network, kind: str, infos: tuple[TensorInfo, ...], shapes: tuple[tuple[int | None, ...], ...]
) -> TensorInfo:
    for info in infos:
        if info.dtype.startswith("float") and any(_agree(info.shape, shape) for shape in shapes):
            return info
    sizes = " or ".join(f"({', '.join('n' if size is None else str(size) for size in shape)})" for shape in shapes)
    raise _unlike(network, f"{kind} {sizes}")


def _agree(found: tuple[int | str, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(
        want is None or isinstance(have, str) or want == have for want, have in zip(wanted, found, strict=True)
    )


def _unlike(network: Network, wanted: str) -> DhError:
    found = "; ".join(map(str, (*network.inputs, *network.outputs)))
    return DhError(
        "model.incompatible",
        f"The network '{network.name}' cannot hear for this model: expected {wanted}; it has {found}.",
        hint="Give the encoder that docs/models.md names for this family.",
    )
