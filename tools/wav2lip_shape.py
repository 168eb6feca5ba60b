"""A network of Wav2Lip's shape with random weights, to measure speed where nobody has the real ones.

    python -m tools.wav2lip_shape PATH [--size 96] [--seed 0] [--compare]

Writes ONNX with a free batch: `mel` (n, 1, 80, 16) and `faces` (n, 6, size, size) -> `frames` (n, 3, size, size).
Layers, strides and channels are those of K. R. Prajwal et al., A Lip Sync Expert Is All You Need for Speech to Lip
Generation in the Wild (2020), and of its network: 36 million weights; a larger square has one more stage at both ends
for each doubling. Every layer is a convolution, a batch normalisation and a ReLU; the file has the normalisation within
the convolution, as torch.onnx writes it. `--compare` (needs PyTorch) runs the same weights as a PyTorch module and says
how far both are apart.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

F32 = npt.NDArray[np.float32]
OPSET, IR_VERSION = 17, 9
EPSILON = 1e-5
"""Of the normalisation."""
MEL = (1, 80, 16)
RESIDUAL_GAIN = 0.3
"""Of a layer that is added to what it got; with 1 the numbers would double with each."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution with its normalisation and ReLU."""

    taken: int
    given: int
    kernel: int
    stride: tuple[int, int] = (1, 1)
    pad: int = 0
    residual: bool = False
    """What it got is added before the ReLU."""
    larger: bool = False
    """A transposed convolution."""
    extra: int = 0
    """Of a transposed one: rows and columns added at the far ends."""
    plain: bool = False
    """The last one: no normalisation, a sigmoid in place of the ReLU."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one layer, as a trained one has them."""

    kernel: F32  # (given, taken, k, k), transposed: (taken, given, k, k)
    bias: F32
    gamma: F32
    beta: F32
    mean: F32
    variance: F32


@dataclass(frozen=True, slots=True)
class Shape:
    """All layers: the stages of the face, those of the sound, those that paint, and the last ones."""

    size: int
    face: tuple[tuple[Layer, ...], ...]
    sound: tuple[Layer, ...]
    paint: tuple[tuple[Layer, ...], ...]
    last: tuple[Layer, ...]

    def layers(self) -> Iterator[Layer]:
        """In the order in which they get their weights."""
        for stage in (*self.face, self.sound, *self.paint, self.last):
            yield from stage


def shape_of(size: int) -> Shape:
    """The layers for a square of 96 px, or of 2, 4, … times as many. Raises ValueError for others."""
    doublings = int(math.log2(size / 96)) if size >= 96 else -1
    if doublings < 0 or 96 << doublings != size:
        raise ValueError(f"{size} px: 96, 192 or 384")
    return Shape(size, _face(doublings), _sound(), _paint(doublings), (_same(80, 32), Layer(32, 3, 1, plain=True)))


def _face(doublings: int) -> tuple[tuple[Layer, ...], ...]:
    widths = [16] * doublings + [16, 32, 64, 128, 256, 512]
    residuals = [2] * doublings + [0, 2, 3, 2, 2, 1]
    stages = [(Layer(6, widths[0], 7, pad=3), *_residuals(widths[0], residuals[0]))]
    for before, width, count in zip(widths[:-1], widths[1:], residuals[1:], strict=True):
        stages.append((Layer(before, width, 3, (2, 2), 1), *_residuals(width, count)))
    return (*stages, (Layer(512, 512, 3), Layer(512, 512, 1)))


def _sound() -> tuple[Layer, ...]:
    return (
        _same(1, 32),
        *_residuals(32, 2),
        Layer(32, 64, 3, (3, 1), 1),
        *_residuals(64, 2),
        Layer(64, 128, 3, (3, 3), 1),
        *_residuals(128, 2),
        Layer(128, 256, 3, (3, 2), 1),
        *_residuals(256, 1),
        Layer(256, 512, 3),
        Layer(512, 512, 1),
    )


def _paint(doublings: int) -> tuple[tuple[Layer, ...], ...]:
    first = (Layer(512, 512, 1),)
    second = (Layer(1024, 512, 3, larger=True), *_residuals(512, 1))
    # What a stage takes is what the one before gave, and the face's stage of the same size.
    widths = [(1024, 512), (768, 384), (512, 256), (320, 128), (160, 64)] + [(80, 64)] * doublings
    stages = [
        (Layer(taken, given, 3, (2, 2), 1, larger=True, extra=1), *_residuals(given, 2)) for taken, given in widths
    ]
    return (first, second, *stages)


def _same(taken: int, given: int) -> Layer:
    return Layer(taken, given, 3, pad=1)


def _residuals(width: int, count: int) -> tuple[Layer, ...]:
    return (Layer(width, width, 3, pad=1, residual=True),) * count


def weights_of(shape: Shape, seed: int = 0) -> list[Weights]:
    """Random weights, the same for the same seed, under which no number grows or fades from layer to layer."""
    random = np.random.default_rng(seed)
    found = []
    for layer in shape.layers():
        reach = layer.kernel**2 / (layer.stride[0] * layer.stride[1] if layer.larger else 1)
        gain = math.sqrt((1 if layer.plain else 2) / (layer.taken * reach)) * (RESIDUAL_GAIN if layer.residual else 1)
        sides = (layer.taken, layer.given) if layer.larger else (layer.given, layer.taken)
        kernel = random.standard_normal((*sides, layer.kernel, layer.kernel), np.float32) * np.float32(gain)
        n = layer.given
        found.append(
            Weights(
                kernel,
                random.standard_normal(n, np.float32) * np.float32(0.02),
                1 + random.standard_normal(n, np.float32) * np.float32(0.05),
                random.standard_normal(n, np.float32) * np.float32(0.02),
                random.standard_normal(n, np.float32) * np.float32(0.02),
                1 + random.random(n, np.float32) * np.float32(0.1),
            )
        )
    return found


def folded(layer: Layer, weights: Weights) -> tuple[F32, F32]:
    """Kernel and bias with the normalisation in them."""
    if layer.plain:
        return weights.kernel, weights.bias
    scale = weights.gamma / np.sqrt(weights.variance + np.float32(EPSILON))
    across = scale[None, :, None, None] if layer.larger else scale[:, None, None, None]
    return weights.kernel * across, (weights.bias - weights.mean) * scale + weights.beta


class _Graph:
    """The ONNX nodes, in order; each layer takes the next weights."""

    def __init__(self, weights: Sequence[Weights]) -> None:
        self.weights = iter(weights)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def layers(self, taken: str, layers: Sequence[Layer]) -> str:
        for layer in layers:
            taken = self.layer(taken, layer)
        return taken

    def layer(self, taken: str, layer: Layer) -> str:
        from onnx import numpy_helper

        names = []
        for values in folded(layer, next(self.weights)):
            names.append(f"w{len(self.constants)}")
            self.constants.append(numpy_helper.from_array(values, names[-1]))
        how: dict[str, Any] = {"strides": layer.stride, "pads": [layer.pad] * 4, "kernel_shape": [layer.kernel] * 2}
        if layer.larger:
            given = self.add("ConvTranspose", taken, *names, **how, output_padding=[layer.extra] * 2)
        else:
            given = self.add("Conv", taken, *names, **how)
        if layer.residual:
            given = self.add("Add", given, taken)
        return self.add("Sigmoid" if layer.plain else "Relu", given)


def write_onnx(path: Path, shape: Shape, weights: Sequence[Weights]) -> None:
    """Write the network; about 145 MB."""
    import onnx
    from onnx import helper

    graph = _Graph(weights)
    kept, picture = [], "faces"
    for stage in shape.face:
        picture = graph.layers(picture, stage)
        kept.append(picture)
    answer = graph.layers("mel", shape.sound)
    for stage in shape.paint:
        answer = graph.add("Concat", graph.layers(answer, stage), kept.pop(), axis=1)
    graph.layers(answer, shape.last)
    graph.nodes[-1].output[0] = "frames"
    values = {"mel": MEL, "faces": (6, shape.size, shape.size), "frames": (3, shape.size, shape.size)}
    infos = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("n", *sides))
        for name, sides in values.items()
    }
    network = helper.make_graph(
        graph.nodes, "wav2lip_shape", [infos["mel"], infos["faces"]], [infos["frames"]], graph.constants
    )
    onnx.save(helper.make_model(network, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION), path)


def torch_module(shape: Shape, weights: Sequence[Weights]) -> Any:
    """The same network for PyTorch, in evaluation mode: `module(mel, faces)`; its normalisations are layers."""
    import torch
    from torch import nn

    left = iter(weights)

    class Block(nn.Module):
        def __init__(self, layer: Layer) -> None:
            super().__init__()
            own = next(left)
            self.residual, self.plain = layer.residual, layer.plain
            how: dict[str, Any] = {"kernel_size": layer.kernel, "stride": layer.stride, "padding": layer.pad}
            if layer.larger:
                self.convolution: Any = nn.ConvTranspose2d(layer.taken, layer.given, **how, output_padding=layer.extra)
            else:
                self.convolution = nn.Conv2d(layer.taken, layer.given, **how)
            self.convolution.weight.data = torch.from_numpy(own.kernel)
            self.convolution.bias.data = torch.from_numpy(own.bias)
            self.norm = nn.Identity() if layer.plain else nn.BatchNorm2d(layer.given, eps=EPSILON)
            if not layer.plain:
                self.norm.weight.data, self.norm.bias.data = torch.from_numpy(own.gamma), torch.from_numpy(own.beta)
                self.norm.running_mean = torch.from_numpy(own.mean)
                self.norm.running_var = torch.from_numpy(own.variance)

        def forward(self, taken: Any) -> Any:
            given = self.norm(self.convolution(taken))
            if self.residual:
                given = given + taken
            return torch.sigmoid(given) if self.plain else torch.relu(given)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.face = nn.ModuleList(nn.Sequential(*map(Block, stage)) for stage in shape.face)
            self.sound = nn.Sequential(*map(Block, shape.sound))
            self.paint = nn.ModuleList(nn.Sequential(*map(Block, stage)) for stage in shape.paint)
            self.last = nn.Sequential(*map(Block, shape.last))

        def forward(self, mel: Any, faces: Any) -> Any:
            answer, kept = self.sound(mel), []
            for stage in self.face:
                faces = stage(faces)
                kept.append(faces)
            for stage in self.paint:
                answer = torch.cat([stage(answer), kept.pop()], dim=1)
            return self.last(answer)

    return Network().eval()


def difference(path: Path, shape: Shape, weights: Sequence[Weights], rows: int = 2) -> float:
    """The largest difference of a number of the picture, 0..1, between the file and the PyTorch module."""
    import onnxruntime
    import torch

    random = np.random.default_rng(1)
    mel = random.uniform(-4, 4, (rows, *MEL)).astype(np.float32)
    faces = random.random((rows, 6, shape.size, shape.size), np.float32)
    with torch.no_grad():
        there = torch_module(shape, weights)(torch.from_numpy(mel), torch.from_numpy(faces)).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    here = session.run(None, {"mel": mel, "faces": faces})[0]
    print(f"the picture: mean {here.mean():.3f}, standard deviation {here.std():.3f}")
    return float(np.abs(here - there).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", action="store_true")
    wanted = parser.parse_args()
    shape = shape_of(wanted.size)
    weights = weights_of(shape, wanted.seed)
    write_onnx(wanted.path, shape, weights)
    count = sum(one.kernel.size + one.bias.size for one in weights)
    print(f"{wanted.path}: {count / 1e6:.1f} million weights, {wanted.path.stat().st_size / 1e6:.0f} MB")
    if wanted.compare:
        print(f"from PyTorch: at most {difference(wanted.path, shape, weights):.1e}")


if __name__ == "__main__":
    main()
