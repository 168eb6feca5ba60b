"""The weights of a face network out of its face.onnx: a training can begin where a model is, without its checkpoint.

Convolutions keep their names in the file but for the first two, which see px instead of px sorted into channels (see
`face_network.spread`), and for the flows' last one, into which `tools/optimise_networks.py` multiplies its scale.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from dhcli.types import F32

PREFIX = "net."
PICTURE_CHANNELS, MAP_CHANNELS, LARGE_KERNEL = 9, 13, 6
FLOW, FLOW_SCALE = "flow", 4.0


def weights_of(path: Path) -> dict[str, F32]:
    """Weights by their names in the network. Raises ValueError where a convolution is unknown."""
    graph = onnx.load(path).graph
    constants = {one.name: one for one in graph.initializer}
    state: dict[str, F32] = {}
    parts: dict[str, F32] = {}
    for node in (one for one in graph.node if one.op_type == "Conv"):
        weight, *bias = (np.asarray(numpy_helper.to_array(constants[name]), np.float32) for name in node.input[1:])
        name = _name(node, weight)
        if name in ("detail", "maps"):
            parts[name] = weight
            name, weight = "stem2", weight[:, :0]
        scale = FLOW_SCALE if name == FLOW and not node.input[1].startswith(PREFIX) else 1.0
        if bias:
            state[f"{name}.bias"] = bias[0] / scale
        state[f"{name}.weight"] = weight / scale
    try:
        state["stem2.weight"] = np.concatenate([gathered(parts["detail"]), parts["maps"]], 1)
        state["stem1.weight"] = gathered(state["stem1.weight"])
    except KeyError as error:
        raise ValueError(f"{path} is no face network of version 2: {error} is missing") from None
    return state


def _name(node: NodeProto, weight: F32) -> str:
    channels, kernel = weight.shape[1], weight.shape[-1]
    if kernel == LARGE_KERNEL:
        return "stem1" if channels == PICTURE_CHANNELS else "detail"
    if channels == MAP_CHANNELS:
        return "maps"
    _, found, rest = node.input[1].partition(PREFIX)
    if not found:
        raise ValueError(f"a convolution with weights {node.input[1]} is none of the face network's")
    name: str = rest.removesuffix(".weight")
    return name


def gathered(weight: F32) -> F32:
    """(o, i, 6, 6) of stride 2 -> (o, 4 * i, 3, 3) for 2 x 2 px sorted into channels: what `spread` undoes."""
    outputs, inputs, height, width = weight.shape
    split = weight.reshape(outputs, inputs, height // 2, 2, width // 2, 2)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 5, 2, 4).reshape(outputs, 4 * inputs, height // 2, width // 2))
