"""Networks that have the tensors of other people's models and a picture that tells what they were given.

They have no weights worth the name: a few nodes, less than 100 kB, built in milliseconds. `CONTRACTS` has every way in
which such networks name and lay out their tensors; `probe` builds one, `bundle` writes a model folder around it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Says = Literal["echo", "masked", "rows", "channels", "gains", "nan", "constant", "slow"]
"""What the picture of a probe is.

echo: the whole picture; masked: the masked one; rows, channels: three groups of numbers of the sound, each the mean
over its piece, as three grey bands of rows or as the three channels, in a white frame; gains: as rows, the first band
the input `weight`; nan: not a number; constant: grey; slow: the whole picture after `turns` turns of a loop.
"""
Part = Literal["masked", "whole"]
Shape = tuple[int | str, ...]
OPSET, IR_VERSION = 17, 9
GREY = 0.5
APART = 0.02
"""Between the three numbers that an encoder gives for silence."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The tensors of one kind of network."""

    preset: str
    """That `dh models add` has to find."""
    size: int
    """Side of its square, px."""
    pictures: Mapping[str, tuple[Part, ...]]
    """Inputs with pictures, in the network's order, and the parts along their channels."""
    sound: str
    piece: tuple[int, ...]
    """Shape of the sound without the batch."""
    bands: int
    """Axis of the piece, batch included, along which the three groups lie."""
    output: str
    rgb: bool = False
    weight: str | None = None
    encoder: str | None = None
    """Kind of the second network that hears for it."""
    sound_first: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Settings that the bundle states beside its preset."""

    @property
    def masks(self) -> bool:
        """Whether it sees a masked picture."""
        return any("masked" in parts for parts in self.pictures.values())

    @property
    def edge(self) -> int:
        """Width of the white frame around its bands, px: the rest is three equal parts."""
        return next(width for width in range(max(2, self.size // 32), self.size) if (self.size - 2 * width) % 3 == 0)


_MEL = (1, 80, 16)
_BOTH: tuple[Part, ...] = ("masked", "whole")
CONTRACTS: Mapping[str, Contract] = {
    "wav2lip": Contract("wav2lip", 96, {"faces": _BOTH}, "mel", _MEL, 2, "frames", sound_first=True),
    "wav2lip_256": Contract(
        "wav2lip", 256, {"face_sequences": _BOTH}, "audio_sequences", _MEL, 2, "output", sound_first=True
    ),
    "wav2lip_hq": Contract(
        "wav2lip_hq", 96, {"video_frames": _BOTH}, "mel_spectrogram", _MEL, 2, "predicted_frames", sound_first=True
    ),
    "facefusion_wav2lip": Contract(
        "facefusion_wav2lip", 96, {"target": _BOTH}, "source", _MEL, 2, "output", sound_first=True
    ),
    "edtalk": Contract(
        "edtalk",
        256,
        {"target": ("whole",)},
        "source",
        _MEL,
        2,
        "output",
        rgb=True,
        weight="weight",
        sound_first=True,
    ),
    "dinet": Contract(
        "dinet",
        256,
        {"mask_B": ("masked",), "B_img": ("whole",)},
        "lab",
        (256, 20),
        1,
        "output",
        rgb=True,
        encoder="wenet",
    ),
    "dinet_wrapped": Contract(
        "dinet",
        256,
        {"concat_images": _BOTH},
        "audio_feature",
        (256, 20),
        1,
        "generated_image",
        rgb=True,
        encoder="wenet",
        sound_first=True,
    ),
    "ultralight": Contract(
        "ultralight", 160, {"input": ("whole", "masked")}, "audio", (16, 32, 32), 3, "output", encoder="hubert"
    ),
    "ultralight_16": Contract(
        "ultralight_16", 160, {"input": ("whole", "masked")}, "audio", (32, 32, 32), 3, "output", encoder="hubert"
    ),
    "ultralight_wenet": Contract(
        "ultralight_wenet",
        160,
        {"input": ("whole", "masked")},
        "audio",
        (128, 16, 32),
        3,
        "output",
        encoder="wenet_stream",
    ),
    "ultralight_wenet_16": Contract(
        "ultralight_wenet_16",
        160,
        {"input": ("whole", "masked")},
        "audio",
        (256, 16, 32),
        3,
        "output",
        encoder="wenet_stream",
    ),
}


def probe(
    contract: Contract,
    says: Says,
    *,
    batch: int | str = "n",
    half: bool = False,
    names: Mapping[str, str] | None = None,
    span: tuple[float, float] = (-4.0, 4.0),
    turns: int = 2000,
) -> bytes:
    """ONNX bytes of a network with this contract.

    `half`: 16-bit numbers; `names`: other names for its tensors; `span`: values of the sound that become black and
    white.
    """
    graph = _Graph(TensorProto.FLOAT16 if half else TensorProto.FLOAT)
    called = {name: (names or {}).get(name, name) for name in _tensor_names(contract)}
    size, low, high = contract.size, *span
    parts = _parts(graph, contract, called)
    match says:
        case "echo":
            answer = parts["whole"]
        case "masked":
            answer = parts["masked"]
        case "nan":
            nothing = graph.add("Sub", parts["whole"], parts["whole"])
            answer = graph.add("Div", nothing, nothing)
        case "constant":
            answer = graph.add("Add", graph.add("Mul", parts["whole"], graph.number(0)), graph.number(GREY))
        case "slow":
            answer = _turned(graph, parts["whole"], 2 * turns, (batch, 3, size, size))
        case "rows" | "channels" | "gains":
            groups = _groups(graph, contract, called[contract.sound])
            scaled = graph.add("Mul", graph.add("Sub", groups, graph.number(low)), graph.number(1 / (high - low)))
            if says == "gains":
                assert contract.weight is not None
                scaled = _with_weight(graph, scaled, called[contract.weight])
            answer = _bands(graph, scaled, contract, "channels" if says == "channels" else "rows")
    graph.nodes.append(helper.make_node("Identity", [answer], [called[contract.output]]))
    return graph.content(
        [graph.value(called[name], shape) for name, shape in _inputs(contract, batch)],
        [graph.value(called[contract.output], (batch, 3, size, size))],
    )


def _tensor_names(contract: Contract) -> list[str]:
    return [name for name, _ in _inputs(contract, 1)] + [contract.output]


def _inputs(contract: Contract, batch: int | str) -> list[tuple[str, Shape]]:
    size = contract.size
    pictures = [(name, (batch, 3 * len(parts), size, size)) for name, parts in contract.pictures.items()]
    sound = [(contract.sound, (batch, *contract.piece))]
    weight = [(contract.weight, (1,))] if contract.weight else []
    return [*sound, *pictures, *weight] if contract.sound_first else [*pictures, *sound, *weight]


class _Graph:
    """Nodes and constants of a network that grows."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node; gives the name of its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def number(self, value: float) -> str:
        """A constant of the network's own type."""
        return self._constant(np.array(value, self.dtype))

    def whole(self, *values: int) -> str:
        """A constant of whole numbers, as shapes and axes are."""
        return self._constant(np.array(values, np.int64))

    def part(self, tensor: str, start: int, end: int, axis: int) -> str:
        """Rows `start` to `end` of an axis."""
        return self.add("Slice", tensor, self.whole(start), self.whole(end), self.whole(axis))

    def value(self, name: str, shape: Sequence[int | str]) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, self.kind, shape)

    def content(self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> bytes:
        graph: GraphProto = helper.make_graph(self.nodes, "probe", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        written: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
        return written

    def _constant(self, values: np.typing.NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def _parts(graph: _Graph, contract: Contract, called: Mapping[str, str]) -> dict[Part, str]:
    """The masked and the whole picture, each (n, 3, size, size)."""
    found: dict[Part, str] = {}
    for name, parts in contract.pictures.items():
        for place, part in enumerate(parts):
            whole = len(parts) == 1
            found[part] = called[name] if whole else graph.part(called[name], 3 * place, 3 * place + 3, 1)
    return found


def _groups(graph: _Graph, contract: Contract, sound: str) -> str:
    """Means of the three groups of numbers, (n, 3)."""
    count, rank = contract.piece[contract.bands - 1], len(contract.piece) + 1
    means = [
        graph.add("ReduceMean", graph.part(sound, start, end, contract.bands), axes=[*range(1, rank)], keepdims=0)
        for start, end in thirds(count)
    ]
    columns = [graph.add("Unsqueeze", mean, graph.whole(1)) for mean in means]
    return graph.add("Concat", *columns, axis=1)


def thirds(count: int) -> list[tuple[int, int]]:
    """Where the three groups of so many numbers begin and end."""
    ends = [0, count // 3, 2 * count // 3, count]
    return [*itertools.pairwise(ends)]


def _with_weight(graph: _Graph, groups: str, weight: str) -> str:
    """The groups, the first replaced by the input `weight`: "scaled" as it is, 0..1."""
    rest = graph.part(groups, 1, 3, 1)
    first = graph.part(groups, 0, 1, 1)
    nothing = graph.add("Mul", first, graph.number(0))
    return graph.add("Concat", graph.add("Add", nothing, weight), rest, axis=1)


def _bands(graph: _Graph, groups: str, contract: Contract, way: Literal["rows", "channels"]) -> str:
    """(n, 3) as a picture in a white frame."""
    edge = contract.edge
    inner = contract.size - 2 * edge
    if way == "channels":
        lying = graph.add("Reshape", groups, graph.whole(0, 3, 1, 1))
        picture = graph.add("Expand", lying, graph.whole(1, 3, inner, inner))
    else:
        lying = graph.add("Reshape", groups, graph.whole(0, 1, 3, 1, 1))
        thick = graph.add("Expand", lying, graph.whole(1, 3, 3, inner // 3, inner))
        picture = graph.add("Reshape", thick, graph.whole(0, 3, inner, inner))
    around = graph.whole(0, 0, edge, edge, 0, 0, edge, edge)
    return graph.add("Pad", picture, around, graph.number(1))


def _turned(graph: _Graph, picture: str, turns: int, shape: Sequence[int | str]) -> str:
    """The same picture after so many negations, an even number."""
    body = helper.make_graph(
        [
            helper.make_node("Neg", ["before"], ["after"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            graph.value("before", shape),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), graph.value("after", shape)],
    )
    count, always = graph._constant(np.array(turns, np.int64)), graph._constant(np.array(True))
    return graph.add("Loop", count, always, picture, body=body)


def encoder(kind: str) -> bytes:
    """ONNX bytes of a network that hears, of the kind `wenet`, `wenet_stream` or `hubert`.

    Its rows repeat three numbers, in thirds of 256 (`wenet`) or of every 32 numbers: the means of three groups of the
    bands that it hears; of the waveform, one, half and a quarter of the mean loudness. To the second number comes
    `APART`, to the third twice as much: silence is not one number everywhere.
    """
    graph = _Graph(TensorProto.FLOAT)
    inputs: dict[str, Shape] = {}
    outputs: dict[str, Shape] = {}
    match kind:
        case "wenet":  # (1, rows, 80) -> (1, rows // 4, 256)
            slower = graph.add(
                "AveragePool", graph.add("Transpose", "chunk", perm=[0, 2, 1]), kernel_shape=[4], strides=[4]
            )
            groups = _three(graph, graph.add("Transpose", slower, perm=[0, 2, 1]), thirds(80))
            inputs["chunk"], outputs["out"] = (1, "rows", 80), (1, "heard", 256)
            graph.nodes.append(helper.make_node("Identity", [_spread(graph, groups, 256)], ["out"]))
        case "wenet_stream":  # (1, 1, 67, 80) -> (1, 16, 512), and two memories that it passes on
            rows = graph.add("Squeeze", "chunk", graph.whole(1))
            slower = graph.add(
                "AveragePool", graph.add("Transpose", rows, perm=[0, 2, 1]), kernel_shape=[4], strides=[4]
            )
            groups = _three(graph, graph.add("Transpose", slower, perm=[0, 2, 1]), thirds(80))
            wide = graph.add("Tile", _spread(graph, groups, 32), graph.whole(1, 1, 16))
            graph.nodes.append(helper.make_node("Identity", [wide], ["output"]))
            for memory in ("att_cache", "cnn_cache"):
                graph.nodes.append(helper.make_node("Identity", [memory], [f"r_{memory}"]))
            memories: dict[str, Shape] = {"att_cache": (3, 8, 16, 128), "cnn_cache": (3, 1, 512, 14)}
            inputs |= {"chunk": (1, 1, 67, 80), **memories}
            outputs |= {"output": (1, 16, 512), **{f"r_{name}": shape for name, shape in memories.items()}}
        case "hubert":  # (1, samples) -> (1, (samples - 400) // 320 + 1, 1024)
            loud = graph.add("Abs", graph.add("Unsqueeze", "samples", graph.whole(1)))
            mean = graph.add("AveragePool", loud, kernel_shape=[400], strides=[320])
            level = graph.add("Transpose", mean, perm=[0, 2, 1])
            groups = [graph.add("Mul", level, graph.number(share)) for share in (1, 0.5, 0.25)]
            wide = graph.add("Tile", _spread(graph, groups, 32), graph.whole(1, 1, 32))
            graph.nodes.append(helper.make_node("Identity", [wide], ["rows"]))
            inputs["samples"], outputs["rows"] = (1, "samples"), (1, "heard", 1024)
        case _:
            raise ValueError(kind)
    taken = [graph.value(name, shape) for name, shape in inputs.items()]
    if kind == "wenet_stream":
        taken.insert(1, helper.make_tensor_value_info("offset", TensorProto.INT64, [1]))
    return graph.content(taken, [graph.value(name, shape) for name, shape in outputs.items()])


def _three(graph: _Graph, rows: str, groups: Sequence[tuple[int, int]]) -> list[str]:
    """Means of three groups of the last axis of (1, n, width), each (1, n, 1)."""
    return [graph.add("ReduceMean", graph.part(rows, start, end, 2), axes=[2], keepdims=1) for start, end in groups]


def _spread(graph: _Graph, groups: Sequence[str], width: int) -> str:
    """Three (1, n, 1) as the thirds of (1, n, width), `APART` from each other."""
    parts = [
        graph.add("Expand", graph.add("Add", group, graph.number(k * APART)), graph.whole(1, 1, end - start))
        for k, (group, (start, end)) in enumerate(zip(groups, thirds(width), strict=True))
    ]
    return graph.add("Concat", *parts, axis=2)


def bundle(
    models: Path,
    name: str,
    contract: Contract,
    network: bytes,
    *,
    names: Mapping[str, str] | None = None,
    **settings: Any,
) -> Path:
    """A model folder with this network, as `dh models add` makes one; returns the folder.

    `names` as for `probe`; `settings`: more than the preset gives. A network that hears is added where one is needed.
    """
    folder = models / name
    folder.mkdir(parents=True)
    contents = {"network": network} | ({"encoder": encoder(contract.encoder)} if contract.encoder else {})
    for role, content in contents.items():
        (folder / f"{role}.onnx").write_bytes(content)
    entries = {
        role: {"path": f"{role}.onnx", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for role, content in contents.items()
    }
    stated = {"preset": contract.preset, "size": contract.size, **contract.extra}
    if names:
        stated["tensors"] = _stated_tensors(contract, names)
    described = {
        "schema_version": 1,
        "name": name,
        "family": "patch",
        "version": "1",
        "licence": "Apache-2.0",
        "description": "A network of the tests.",
        "files": entries,
        "networks": {},
        "settings": stated | settings,
    }
    (folder / "model.yaml").write_text(json.dumps(described))  # JSON is YAML
    return folder


def _stated_tensors(contract: Contract, names: Mapping[str, str]) -> dict[str, str]:
    called = {name: names.get(name, name) for name in _tensor_names(contract)}
    kinds = {
        ("picture" if len(parts) > 1 or len(contract.pictures) == 1 else parts[0]): called[name]
        for name, parts in contract.pictures.items()
    }
    weight = {"weight": called[contract.weight]} if contract.weight else {}
    return {**kinds, "sound": called[contract.sound], **weight, "output": called[contract.output]}


def resized(contract: Contract, size: int) -> Contract:
    """The same contract with another square."""
    return dataclasses.replace(contract, size=size)
