"""Let audio.onnx and face.onnx open sooner: what ONNX Runtime works out first, each time, is worked out once for all.

    python tools/fold_networks.py [FOLDER]

These are its basic optimisations: constants are folded, and nodes that do nothing go. They hold on every processor and
provider, use standard operators alone and leave every bit of the answers as it was. The other levels rewrite a network
for the processor at hand. Once is enough: again, and audio.onnx keeps its 16-bit weights in 32 bits, 4 MB larger.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

MODEL = Path(__file__).parents[1] / "models/dh-base"
ROLES = ("audio", "face")
"""The others have no nodes that go."""
FREE_SIZES = {"samples": 16000}
OTHER = 2
"""Sizes of the networks' questions where they are free."""


def folded(network: bytes) -> bytes:
    """The network after the basic optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(out)
        onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        model = onnx.load(out)
    if any(node.domain for node in model.graph.node):
        sys.exit("There is an operator that is not of the standard.")
    standard = [one for one in model.opset_import if not one.domain]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def answers(network: bytes) -> list[npt.NDArray[Any]]:
    """What the network says to noise."""
    random = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    feeds = {}
    for one in session.get_inputs():
        shape = [size if isinstance(size, int) else FREE_SIZES.get(size, OTHER) for size in one.shape]
        feeds[one.name] = random.random(shape, np.float32)
    return list(session.run(None, feeds))


def main() -> None:
    """Fold, compare, and only then write."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL
    for role in ROLES:
        path = folder / f"{role}.onnx"
        before = path.read_bytes()
        after = folded(before)
        if not all(np.array_equal(*pair) for pair in zip(answers(before), answers(after), strict=True)):
            sys.exit(f"{path.name} is not written: it would answer differently.")
        path.write_bytes(after)
        print(f"{path.name}: {len(before)} -> {len(after)} bytes, {_nodes(before)} -> {_nodes(after)} nodes")


def _nodes(network: bytes) -> int:
    return len(onnx.load_from_string(network).graph.node)


if __name__ == "__main__":
    main()
