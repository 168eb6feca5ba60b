"""A checkpoint of the face network -> face.onnx.

    python -m training.export CHECKPOINT face.onnx

Takes the smoothed weights (`ema`). Nothing is written where ONNX Runtime and PyTorch differ by more than 1e-4: px in
the flows, shares of 1 in the rest. `tools/optimise_networks.py` and `tools/narrow_face.py` make of it what ships.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn
from training.face_network import POINTS, SIDE, FaceNetwork

from dhcli.families.dh_base.question import INPUTS
from dhcli.families.dh_base.speak import OUTPUTS

MOST_APART = 1e-4
OPSET = 17
BATCHES = (1, 3)
"""Compared; traced with another one, so that a size which is not free shows."""
TRACED = 2

F32 = npt.NDArray[np.float32]


class Outputs(nn.Module):
    """The network without what only the training needs."""

    def __init__(self, network: FaceNetwork) -> None:
        super().__init__()
        self.net = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.net.answer(*inputs)[: len(OUTPUTS)])


def example(n: int) -> dict[str, F32]:
    """Noise, and points where a mouth is: far away from it the coarse flow is nothing but 0."""
    random = np.random.default_rng(n)
    pictures = {
        name: random.random((n, channels, SIDE, SIDE)) for name, channels in (("pictures", 9), ("reference", 3))
    }
    points = {name: random.normal(SIDE / 2, 15, (n, POINTS, 2)) for name in INPUTS if "points" in name}
    return {name: values.astype(np.float32) for name, values in (pictures | points).items()}


def restored(checkpoint: Path) -> Outputs:
    """The network with a checkpoint's smoothed weights."""
    network = FaceNetwork().eval()
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"])
    return Outputs(network)


def write(network: Outputs, out: Path) -> None:
    """The network as ONNX, any number of faces at once."""
    inputs = tuple(torch.from_numpy(one) for one in example(TRACED).values())
    free = {name: {0: "n"} for name in (*INPUTS, *OUTPUTS)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch would rather have the exporter that this one is quicker than
        torch.onnx.export(
            network,
            inputs,
            str(out),
            input_names=[*INPUTS],
            output_names=[*OUTPUTS],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )


def apart(network: Outputs, exported: Path) -> dict[str, float]:
    """The largest difference of each output between PyTorch and ONNX Runtime."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for n in BATCHES:
        asked = example(n)
        got = session.run([*OUTPUTS], asked)
        with torch.no_grad():
            wanted = network(*(torch.from_numpy(one) for one in asked.values()))
        for name, one, other in zip(OUTPUTS, got, wanted, strict=True):
            if one.shape != tuple(other.shape):
                sys.exit(f"{name} is {one.shape} in ONNX and {tuple(other.shape)} in PyTorch.")
            worst[name] = max(worst[name], float(np.abs(one - other.numpy()).max()))
    return worst


def main() -> None:
    """Export, compare, and only then write."""
    checkpoint, out = map(Path, sys.argv[1:3])
    network = restored(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "face.onnx"
        write(network, made)
        worst = apart(network, made)
        for name, value in worst.items():
            print(f"{name}: {value:.1e} from PyTorch")
        far = [name for name, value in worst.items() if not value <= MOST_APART]
        if far:
            sys.exit(f"{out} is not written: more than {MOST_APART:g} from PyTorch in {', '.join(far)}.")
        out.write_bytes(made.read_bytes())


if __name__ == "__main__":
    main()
