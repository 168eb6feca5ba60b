"""Networks with the tensors of MuseTalk's four that tell what they were given, and bundles of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
BLOCK = 8
"""px of a picture along one place of its latents."""
EXACT = 3 * BLOCK * BLOCK
"""Numbers that a block of a picture has: an autoencoder with so many loses nothing."""
SCALE = 0.18215
Says = Literal["whole", "masked", "heard"]
Layers = Literal["steps last", "layers last", "apart", "apart and last"]


@dataclass(frozen=True)
class Kind:
    """Sizes and types of the four networks."""

    size: int = 64
    channels: int = EXACT
    layers: int = 5
    width: int = 4
    batch: int | str = "n"
    half: bool = False
    moments: bool = False
    """The encoder gives a second half, the variances."""
    timestep: Literal["none", "int64 1", "float 0"] = "none"
    hears: Layers = "steps last"

    @property
    def places(self) -> int:
        return self.size // BLOCK

    @property
    def settings(self) -> dict[str, Any]:
        """As in a model.yaml."""
        return {
            "size": self.size,
            "latent_channels": self.channels,
            "latent_size": self.places,
            "layers": self.layers,
            "width": self.width,
        }


@dataclass
class _Graph:
    """A network that grows."""

    kind: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def number(self, *values: float) -> str:
        return self._constant(np.array(values, np.float16 if self.kind == TensorProto.FLOAT16 else np.float32))

    def whole(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def part(self, tensor: str, start: int, end: int) -> str:
        """Channels `start` to `end`."""
        return self.add("Slice", tensor, self.whole(start), self.whole(end), self.whole(1))

    def value(self, name: str, *shape: int | str) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, self.kind, shape)

    def content(self, inputs: Sequence[ValueInfoProto], outputs: Mapping[str, ValueInfoProto]) -> bytes:
        """`outputs`: by the tensors that they are."""
        for tensor, output in outputs.items():
            self.nodes.append(helper.make_node("Identity", [tensor], [output.name]))
        graph = helper.make_graph(self.nodes, "probe", inputs, [*outputs.values()], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        written: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
        return written

    def _constant(self, values: np.typing.NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def _graph(kind: Kind) -> _Graph:
    return _Graph(TensorProto.FLOAT16 if kind.half else TensorProto.FLOAT)


def hearing(kind: Kind) -> bytes:
    """The mean of two rows' bands; of layer number k, from 1, that times k."""
    graph = _graph(kind)
    slower = graph.add("AveragePool", "mel", kernel_shape=[2], strides=[2])
    mean = graph.add("ReduceMean", slower, axes=[1], keepdims=0)  # (n, 1500)
    steps = graph.add("Unsqueeze", mean, graph.whole(2))
    wide = [
        graph.add("Mul", graph.add("Expand", steps, graph.whole(1, 1, kind.width)), graph.number(k + 1))
        for k in range(kind.layers)
    ]
    mel = [graph.value("mel", kind.batch if isinstance(kind.batch, int) else 1, 80, 3000)]
    one, many = (1, 1500, kind.width), kind.layers
    if kind.hears.startswith("apart"):
        outputs = {tensor: graph.value(f"hidden_states.{k}", *one) for k, tensor in enumerate(wide)}
        if kind.hears == "apart and last":
            outputs = {graph.add("Identity", wide[-1]): graph.value("last_hidden_state", *one), **outputs}
        return graph.content(mel, outputs)
    axis = 1 if kind.hears == "steps last" else 2
    stacked = graph.add("Concat", *(graph.add("Unsqueeze", layer, graph.whole(axis)) for layer in wide), axis=axis)
    shape = (1, many, *one[1:]) if axis == 1 else (1, 1500, many, kind.width)
    return graph.content(mel, {stacked: graph.value("rows", *shape)})


def vae_encoder(kind: Kind) -> bytes:
    """All numbers of each block, if there is a channel for each; else the block's mean colour and zeros."""
    graph = _graph(kind)
    if kind.channels == EXACT:
        latents = graph.add("SpaceToDepth", "picture", blocksize=BLOCK)
    else:
        mean = graph.add("AveragePool", "picture", kernel_shape=[BLOCK, BLOCK], strides=[BLOCK, BLOCK])
        rest = graph.add("Tile", graph.part(mean, 0, 1), graph.whole(1, kind.channels - 3, 1, 1))
        latents = graph.add("Concat", mean, graph.add("Mul", rest, graph.number(0)), axis=1)
    channels = kind.channels
    if kind.moments:
        latents, channels = graph.add("Concat", latents, graph.add("Neg", latents), axis=1), 2 * channels
    picture = graph.value("picture", kind.batch, 3, kind.size, kind.size)
    return graph.content([picture], {latents: graph.value("latents", kind.batch, channels, kind.places, kind.places)})


def vae_decoder(kind: Kind) -> bytes:
    """The way back."""
    graph = _graph(kind)
    if kind.channels == EXACT:
        picture = graph.add("DepthToSpace", "latents", blocksize=BLOCK, mode="DCR")
    else:
        scales = graph._constant(np.array([1, 1, BLOCK, BLOCK], np.float32))
        colours = graph.part("latents", 0, 3)
        picture = graph.add("Resize", colours, "", scales, mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric")  # fmt: skip
    latents = graph.value("latents", kind.batch, kind.channels, kind.places, kind.places)
    return graph.content([latents], {picture: graph.value("picture", kind.batch, 3, kind.size, kind.size)})


def unet(kind: Kind, says: Says, window: int = 10) -> bytes:
    """One of the two latents it is given, plus the time step; or in white places the mean of the rows it hears."""
    graph = _graph(kind)
    places, channels = kind.places, kind.channels
    if says == "heard":
        mean = graph.add("ReduceMean", "encoder_hidden_states", axes=[1, 2], keepdims=1)  # (n, 1, 1)
        lying = graph.add("Mul", graph.add("Unsqueeze", mean, graph.whole(3)), graph.number(SCALE))
        inner = graph.add("Expand", lying, graph.whole(1, channels, places - 2, places - 2))
        new = graph.add("Pad", inner, graph.whole(0, 0, 1, 1, 0, 0, 1, 1), graph.number(SCALE))
    else:
        first = channels if says == "whole" else 0
        new = graph.part("sample", first, first + channels)
    inputs = [
        graph.value("sample", kind.batch, 2 * channels, places, places),
        graph.value("encoder_hidden_states", kind.batch, window * kind.layers, kind.width),
    ]
    if kind.timestep != "none":
        whole = kind.timestep == "int64 1"
        step = helper.make_tensor_value_info(
            "timestep", TensorProto.INT64 if whole else graph.kind, [1] if whole else []
        )
        inputs.insert(1, step)
        new = graph.add("Add", new, graph.add("Cast", "timestep", to=graph.kind))
    return graph.content(inputs, {new: graph.value("new", kind.batch, channels, places, places)})


def networks(kind: Kind, says: Says) -> dict[str, bytes]:
    """All four, by their roles."""
    return {
        "hearing": hearing(kind),
        "vae_encoder": vae_encoder(kind),
        "unet": unet(kind, says),
        "vae_decoder": vae_decoder(kind),
    }


def bundle(models: Path, name: str, contents: Mapping[str, bytes], **settings: Any) -> Path:
    """A model folder with these networks; gives the folder."""
    folder = models / name
    folder.mkdir(parents=True)
    files = {}
    for role, content in contents.items():
        (folder / f"{role}.onnx").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        files[role] = {"path": f"{role}.onnx", "bytes": len(content), "sha256": digest}
    described = {
        "schema_version": 1,
        "name": name,
        "family": "latent",
        "version": "1",
        "licence": "Apache-2.0",
        "description": "Networks of the tests.",
        "files": files,
        "networks": {},
        "settings": settings,
    }
    (folder / "model.yaml").write_text(json.dumps(described))  # JSON is YAML
    return folder
