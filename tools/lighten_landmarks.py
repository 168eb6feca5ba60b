"""Rewrite landmarks.onnx: the same function of the same input, for which ONNX Runtime takes 0.7 of the time on a CPU.

    python tools/lighten_landmarks.py IN [OUT]

IN is the network as NOTICE says that it was converted. It is a chain of residual blocks with a PReLU after every sum,
written as `c * Relu(x) + a * x`, c = 1 - a. What takes its time on a CPU is less the convolutions than the passes over
the pictures between them. Three are saved:

- Channels may be kept scaled, `old = factor * new`: the factors go into the next convolution's weights. With c as the
  factor, `Relu(x) + b * x` is left of a PReLU.
- Eight channels take as much time as 16, which is one block of ONNX Runtime's layout. Where a PReLU has eight, the
  convolution before it gives x and -x, rectified within it; `PReLU(x) = Relu(x) - a * Relu(-x)` is linear in them and
  goes into the weights of the convolutions that follow.
- Channels of zeros are added by a convolution: ONNX Runtime leaves its layout at a Pad and stays outside for the rest
  of the stage.

Nothing is written where the new network's points are further than 0.001 px of its picture from the old one's. What is
written needs its new size and hash in model.yaml.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper

F64 = npt.NDArray[np.float64]

MODEL = Path(__file__).parents[1] / "models/face-finder"
MOST_PX = 0.001
PICTURES = 16
SMALL = 8
"""Channels of which ONNX Runtime computes 16."""


class Rewriter:
    """Walks a graph in order; for each old tensor it knows the new one and `decode` with old = decode @ new."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._old = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self._decode: dict[str, F64] = {}
        """By old name; identity where nothing is said."""
        self._inside: set[str] = set()
        """Outputs of nodes that are parts of a PReLU."""

    def rewrite(self, nodes: list[NodeProto]) -> None:
        for node in nodes:
            if node.output[0] in self._inside:
                continue
            if node.op_type == "Relu":
                self._prelu(node)
            elif node.op_type == "Conv":
                self._conv(node)
            elif node.op_type == "Add" and not self._is_prelu(node):
                self._sum(node)
            elif node.op_type == "MaxPool":
                self.nodes.append(node)
                self._decode[node.output[0]] = self._decode[node.input[0]]
            elif node.op_type == "Pad":
                self._pad(node)
            elif node.op_type in {"Transpose", "Sigmoid", "Reshape"}:
                self.nodes.append(node)
                self.constants.update({name: self._old[name] for name in node.input if name in self._old})
            else:
                sys.exit(f"Nothing is known about {node.op_type}.")

    def _constant(self, name: str, value: F64) -> str:
        self.constants[name] = value.astype(np.float32)
        return name

    def _is_prelu(self, node: NodeProto) -> bool:
        return all(name in self._makers and self._makers[name].op_type == "Mul" for name in node.input)

    def _prelu(self, relu: NodeProto) -> None:
        """The four nodes from `relu` on."""
        source = relu.input[0]
        (rectified,) = self._users[relu.output[0]]
        (linear,) = (node for node in self._users[source] if node.op_type == "Mul")
        (total,) = self._users[rectified.output[0]]
        self._inside.update([rectified.output[0], linear.output[0], total.output[0]])
        out = total.output[0]
        c, a = (self._old[node.input[1]].reshape(-1).astype(float) for node in (rectified, linear))
        users = [node.op_type for node in self._users[out]]
        if len(a) == SMALL and users == ["Conv"]:
            self._halves(source, out, a)
            return
        # old = factor * new, so far. Of a negative factor it is Relu(old) = |factor| * (Relu(new) - new).
        factor = np.diag(self._decode.get(source, np.eye(len(a))))
        keep = "MaxPool" in users  # the largest of scaled channels is the largest one's only with a positive factor
        last = np.abs(factor) if keep else c * np.abs(factor)
        share = c if keep else np.ones_like(c)
        slope = (a * factor - c * np.abs(factor) * (factor < 0)) / last
        weights = {"share": share, "slope": slope}
        names = {key: self._constant(f"{out}/{key}", value.reshape(1, -1, 1, 1)) for key, value in weights.items()}
        self.nodes.append(helper.make_node("Relu", [source], [f"{out}/relu"]))
        positive = f"{out}/relu"
        if keep:
            positive = f"{out}/positive"
            self.nodes.append(helper.make_node("Mul", [f"{out}/relu", names["share"]], [positive]))
        self.nodes.append(helper.make_node("Mul", [source, names["slope"]], [f"{out}/linear"]))
        self.nodes.append(helper.make_node("Add", [f"{out}/linear", positive], [out]))
        self._decode[out] = np.diag(last)

    def _halves(self, source: str, out: str, a: F64) -> None:
        """The convolution that made `source` gives both halves of the PReLU instead."""
        (conv,) = (node for node in self.nodes if source in node.output)
        weights, bias = (self.constants[name] for name in conv.input[1:])
        self.constants[conv.input[1]] = np.concatenate([weights, -weights])
        self.constants[conv.input[2]] = np.concatenate([bias, -bias])
        self.nodes.append(helper.make_node("Relu", [source], [out]))
        self._decode[out] = np.hstack([np.eye(len(a)), np.diag(-a)])

    def _conv(self, node: NodeProto) -> None:
        weights, bias = (self._old[name].astype(float) for name in node.input[1:])
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        decode = self._decode.get(node.input[0], np.eye(weights.shape[1] * attributes["group"]))
        if attributes["group"] == 1:
            weights = np.einsum("oiyx,in->onyx", weights, decode)
        else:  # channel by channel: what holds of the input holds of the output
            parent = np.abs(decode).argmax(0)
            first = np.arange(decode.shape[1]) < len(bias)
            weights = weights[parent]
            bias = np.where(first, bias[parent] / decode[parent, np.arange(len(parent))], 0)
            attributes["group"] = len(parent)
            self._decode[node.output[0]] = decode
        names = [self._constant(f"{node.output[0]}/{key}", v) for key, v in (("weights", weights), ("bias", bias))]
        self.nodes.append(helper.make_node("Conv", [node.input[0], *names], list(node.output), **attributes))

    def _sum(self, node: NodeProto) -> None:
        """Residual: the convolution takes over the scale of what it is added to."""
        (new,) = (name for name in node.input if self._makers[name].op_type == "Conv" and name not in self._decode)
        (kept,) = (name for name in node.input if name != new)
        factor = np.diag(self._decode[kept])
        (conv,) = (one for one in self.nodes if new in one.output)
        for name in conv.input[1:]:
            value = self.constants[name].astype(float)
            self._constant(name, value / factor.reshape(-1, *[1] * (value.ndim - 1)))
        self.nodes.append(node)
        self._decode[node.output[0]] = self._decode[kept]

    def _pad(self, node: NodeProto) -> None:
        """More channels behind the others."""
        more = int(self._old[node.input[1]][5])  # before, then after, for each of four axes
        decode = self._decode[node.input[0]]
        weights = np.eye(len(decode) + more, len(decode))[..., None, None]
        names = [
            self._constant(f"{node.output[0]}/{key}", value)
            for key, value in (("weights", weights), ("bias", np.zeros(len(weights))))
        ]
        self.nodes.append(helper.make_node("Conv", [node.input[0], *names], list(node.output), kernel_shape=[1, 1]))
        self._decode[node.output[0]] = np.diag([*np.diag(decode), *np.ones(more)])


def lightened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function, with other nodes."""
    new = Rewriter(model)
    new.rewrite(list(model.graph.node))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(new.nodes)
    used = {name for node in new.nodes for name in node.input}
    result.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in new.constants.items() if k in used)
    onnx.checker.check_model(result)
    return result


def answers(model: bytes, pictures: npt.NDArray[np.float32]) -> list[Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: pictures}))


def main() -> None:
    """Rewrite, compare, and only then write."""
    source = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else MODEL / "landmarks.onnx"
    old = onnx.load(source)
    new = lightened(old)
    coarse = np.random.default_rng(0).random((PICTURES, 8, 8, 3), np.float32)
    pictures = np.ascontiguousarray(coarse.repeat(32, 1).repeat(32, 2))
    one, other = (answers(model.SerializeToString(), pictures) for model in (old, new))
    apart = [float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True)]
    print(f"{len(old.graph.node)} nodes before, {len(new.graph.node)} now; outputs apart at most {apart}")
    if max(apart) > MOST_PX:
        sys.exit("Nothing is written: the two networks are not the same function.")
    onnx.save(new, out)


if __name__ == "__main__":
    main()
