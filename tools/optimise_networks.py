"""Let networks open sooner: what ONNX Runtime works out each time, and what holds everywhere, is kept in their files.

    python tools/optimise_networks.py FILE...

Its basic optimisations fold constants and take away nodes that do nothing; its extended ones put several nodes into one
of its own (domain com.microsoft). What comes out runs on every processor. What is left to do at each start is the
layout that fits the processor's registers, which no other may read. Every bit of the answers stays as it was. A FILE is
audio.onnx or face.onnx as training made it, or face_int8.onnx as `tools/narrow_face.py` did; it is replaced.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

MOST_GROWTH = 1.01
"""Of a file. ONNX Runtime takes a misspelt optimiser without a word, and the 16-bit weights of audio.onnx, folded after
all, would be 32 bits wide, 4 MB more."""
FREE_SIZES = {"samples": 16000}
OTHER = 2
"""Sizes of the networks' questions where they are free."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One way of ONNX Runtime through a network."""

    level: onnxruntime.GraphOptimizationLevel
    without: tuple[str, ...] = ()
    """Of its optimisers."""
    domains: frozenset[str] = frozenset({""})
    """Whose operators may come out."""


FOLD = Pass(onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)
# Constants stay: the weights would be 32 bits wide. So do activations behind convolutions: on a GPU there is no
# convolution with a sigmoid, while every other operator that comes out has a kernel there.
FUSE = Pass(
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    ("ConstantFolding", "ConvActivationFusion"),
    frozenset({"", "com.microsoft"}),
)
PASSES = {
    "audio": (FOLD, FUSE),
    "face": (FOLD,),  # `tools/narrow_face.py` reads it, and knows the standard's operators
    "face_int8": (FUSE,),  # for CPUs alone, as its 8-bit convolutions are then
}
"""The others, which find faces, are made of convolutions: all there is to gain is their layout."""


def optimised(network: bytes, passes: Sequence[Pass]) -> bytes:
    """The network after the passes."""
    for one in passes:
        model = _through(network, one)
        used = {node.domain for node in model.graph.node}
        if not used <= one.domains:
            sys.exit(f"There is an operator of {', '.join(sorted(used - one.domains))}.")
        kept = [domain for domain in model.opset_import if domain.domain in used]
        del model.opset_import[:]
        model.opset_import.extend(kept)
        onnx.checker.check_model(model)
        network = model.SerializeToString()
    return network


def _through(network: bytes, one: Pass) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = one.level
        options.optimized_model_filepath = str(out)
        onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(one.without)
        )
        return onnx.load(out)


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
    """Optimise, compare, and only then write."""
    for path in map(Path, sys.argv[1:]):
        before = path.read_bytes()
        after = optimised(before, PASSES[path.stem])
        if not all(np.array_equal(*pair) for pair in zip(answers(before), answers(after), strict=True)):
            sys.exit(f"{path.name} is not written: it would answer differently.")
        if len(after) > len(before) * MOST_GROWTH:
            sys.exit(f"{path.name} is not written: it would grow from {len(before)} to {len(after)} bytes.")
        path.write_bytes(after)
        print(f"{path.name}: {len(before)} -> {len(after)} bytes, {_nodes(before)} -> {_nodes(after)} nodes")


def _nodes(network: bytes) -> int:
    return len(onnx.load_from_string(network).graph.node)


if __name__ == "__main__":
    main()
