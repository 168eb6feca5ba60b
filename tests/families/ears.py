"""Networks with the tensors of other people's encoders, whose answers tell what they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from dhcli.networks.network import Device, Network, open_network

Shape = Sequence[int | str]
INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


class Graph:
    """Nodes of a network, one behind the other."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node; returns the name of its output."""
        name = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, kind: type = np.int64) -> str:
        """A constant; returns its name."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def network(self, inputs: Mapping[str, tuple[int, Shape]], outputs: Mapping[str, Shape]) -> Network:
        """The opened network."""
        graph = helper.make_graph(
            self.nodes,
            "ears",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return open_network(model.SerializeToString(), "ears", device=Device("cpu"), threads=1)


def wenet(*, lengths: bool = False) -> Network:
    """(1, n, 80) to (1, (n - 7) // 4 + 1, 256): the mean of the first band in 7 rows, plus `lengths`."""
    graph = Graph()
    band = graph.add("Gather", "speech", graph.constant([0]), axis=2)
    slow = graph.add("AveragePool", graph.add("Transpose", band, perm=[0, 2, 1]), kernel_shape=[7], strides=[4])
    rows = graph.add("Transpose", slow, perm=[0, 2, 1])
    if lengths:
        rows = graph.add("Add", rows, graph.add("Cast", "lengths", to=FLOAT))
    graph.add("Expand", rows, graph.constant([1, 1, 256]), output="out")
    inputs: dict[str, tuple[int, Shape]] = {"speech": (FLOAT, (1, "n", 80))}
    return graph.network(inputs | ({"lengths": (INT64, (1,))} if lengths else {}), {"out": (1, "m", 256)})


def hubert() -> Network:
    """(1, n) to (1, (n - 400) // 320 + 1, 1024): the mean of what each row hears."""
    graph = Graph()
    wave = graph.add("Unsqueeze", "samples", graph.constant([1]))
    mean = graph.add("AveragePool", wave, kernel_shape=[400], strides=[320])
    rows = graph.add("Transpose", mean, perm=[0, 2, 1])
    graph.add("Expand", rows, graph.constant([1, 1, 1024]), output="out")
    return graph.network({"samples": (FLOAT, (1, "n"))}, {"out": (1, "m", 1024)})


def wenet_stream(**shapes: Shape) -> Network:
    """(1, 1, 67, 80) and a memory to (1, 16, 512): in turn the first band of the first, middle and last row,
    `offset`, and what is in the memories.
    """
    graph = Graph()
    memories: dict[str, Shape] = {"att_cache": (3, 8, 16, 128), "cnn_cache": (3, 1, 512, 14)}
    values = [
        graph.add("Reshape", part, graph.constant([1, 1, -1]))
        for part in (
            graph.add("Slice", "chunk", graph.constant([0]), graph.constant([1]), graph.constant([3])),
            graph.add("Cast", "offset", to=FLOAT),
            *(graph.add("ReduceSum", name, keepdims=1) for name in memories),
        )
    ]
    told = graph.add("Gather", values[0], graph.constant([0, 33, 66]), axis=2)
    six = graph.add("Concat", told, *values[1:], axis=2)
    wide = graph.add("Tile", six, graph.constant([1, 16, 86]))
    graph.add("Slice", wide, graph.constant([0]), graph.constant([512]), graph.constant([2]), output="output")
    inputs: dict[str, tuple[int, Shape]] = {
        "chunk": (FLOAT, (1, 1, 67, 80)),
        "offset": (INT64, (1,)),
        **{name: (FLOAT, shape) for name, shape in (memories | shapes).items()},
    }
    return graph.network(inputs, {"output": (1, 16, 512)})
