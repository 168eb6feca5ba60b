"""How many faces a second a GPU draws, by how many it is given at once, and in how much of its memory.

    python benchmarks/gpu.py [--device cuda] [--batches 1 2 4 8 16 32]

Networks alone, timed as the search for the fastest batch does it: the face network of dh-base in 32 and in 16
bits, and one of the shape of Wav2Lip at 256 px with random weights, four times as much work for a face. Prints the
table for `gpu.md`; with `--device cpu` it says what the CPU does. Whole renders are `dh bench --device cuda`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from dhcli.bundle import load_bundle
from dhcli.errors import DhError
from dhcli.families.batch_size import call_s
from dhcli.inference import CPU_PROVIDER, Device, Network, open_network, parse_device
from dhcli.runtime.vram import nvml_library

SIDE = 256
CHANNELS = (16, 32, 64, 128, 256, 512, 512)
"""Of the picture at 256, 128, … 4 px."""
SOUND = ((32, (1, 1)), (64, (3, 1)), (128, (3, 3)), (256, (3, 2)), (512, (1, 1)))
"""Channels and steps of the encoder of 80 mel bands x 16."""


class Shape:
    """A network that grows by one convolution after the other, with random weights."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._random = np.random.default_rng(0)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One more node; the name of its answer."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, taken: int, given: int, *, kernel: int = 3, steps: tuple[int, int] = (1, 1)) -> str:
        """A convolution and its rectifier; sizes are divided by `steps`."""
        name = self._weight((given, taken, kernel, kernel))
        pads = [kernel // 2] * 4 if kernel % 2 else [0] * 4
        return self.add("Relu", self.add("Conv", x, name, strides=list(steps), pads=pads))

    def up(self, x: str, taken: int, given: int, *, kernel: int = 3) -> str:
        """A transposed convolution to twice the size, or from one pixel to `kernel`."""
        how = {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]} if kernel == 3 else {}
        return self.add("Relu", self.add("ConvTranspose", x, self._weight((taken, given, kernel, kernel)), **how))

    def residual(self, x: str, channels: int) -> str:
        """A convolution whose answer is added to what it was asked."""
        return self.add("Add", x, self.conv(x, channels, channels))

    def _weight(self, shape: tuple[int, ...]) -> str:
        name = f"w{len(self.weights)}"
        values = self._random.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[1:], dtype=np.float32))
        self.weights.append(numpy_helper.from_array(values, name))
        return name


def wav2lip_256() -> bytes:
    """ONNX bytes: `mel` (n, 1, 80, 16) and `face` (n, 6, 256, 256) to `mouth` (n, 3, 256, 256)."""
    net, skips = Shape(), []
    x, before = "face", 6
    for level, channels in enumerate(CHANNELS):
        x = net.conv(x, before, channels, kernel=3 if level else 7, steps=(2, 2) if level else (1, 1))
        x = net.residual(net.residual(x, channels), channels) if level else x
        skips.append(x)
        before = channels
    x = net.conv(x, before, 512, kernel=SIDE >> len(CHANNELS) - 1)
    sound, heard = "mel", 1
    for channels, steps in SOUND:
        sound = net.residual(net.conv(sound, heard, channels, steps=steps), channels)
        heard = channels
    x, before = net.add("Concat", net.add("GlobalAveragePool", sound), x, axis=1), heard + 512
    for level in reversed(range(len(CHANNELS))):
        first = level == len(CHANNELS) - 1
        x = net.up(x, before, CHANNELS[level], kernel=SIDE >> level if first else 3)
        x = net.add("Concat", net.residual(x, CHANNELS[level]), skips[level], axis=1)
        before = 2 * CHANNELS[level]
    net.nodes.append(helper.make_node("Sigmoid", [net.conv(x, before, 3)], ["mouth"]))
    shapes = {"mel": [1, 80, 16], "face": [6, SIDE, SIDE], "mouth": [3, SIDE, SIDE]}
    tensors = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *size]) for name, size in shapes.items()
    }
    graph = helper.make_graph(net.nodes, "shape", [tensors["mel"], tensors["face"]], [tensors["mouth"]], net.weights)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def networks(device: Device) -> Iterator[tuple[str, Network]]:
    """The networks by their names in the table, one at a time: each leaves before the next one comes."""
    bundle = load_bundle("dh-base")
    yield "dh-base, fp32", bundle.open_network("face", device=device)
    yield "dh-base, fp16", bundle.open_network("face_fp16", device=device)
    yield "Wav2Lip-256, fp32", open_network(wav2lip_256(), "wav2lip_256", device=device)


def faces_a_second(network: Network, batch: int) -> float | None:
    """None where the device has no memory for so many at once."""
    try:
        return batch / call_s(network, batch)
    except DhError as error:
        if error.code != "device.out_of_memory":
            raise
        return None


def used_bytes(device: Device) -> int:
    """Memory of the GPU that is taken, by whomever: in a container nobody tells by whom."""
    if device.kind == "cpu":
        return 0
    nvml = nvml_library()
    if nvml is None:
        sys.exit(f"The device {device} cannot be asked for its memory: there is no NVIDIA driver.")
    return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(device.index)).used)


def row(cells: Iterable[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", type=parse_device)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    asked = parser.parse_args()
    idle = used_bytes(asked.device)
    print(row(["faces a second", *asked.batches, "GPU memory at most"]))
    print(row(["---", *["---:" for _ in asked.batches], "---:"]))
    for name, network in networks(asked.device):
        cells, peak = [], 0
        for batch in asked.batches:
            speed = faces_a_second(network, batch)
            cells.append("no memory" if speed is None else f"{speed:.0f}")
            peak = max(peak, used_bytes(asked.device) - idle)
        on_cpu = network.provider == CPU_PROVIDER
        print(row([name, *cells, "" if on_cpu else f"{peak >> 20} MiB"]), flush=True)
        del network


if __name__ == "__main__":
    main()
