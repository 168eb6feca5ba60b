"""Make face_int8.onnx and face_fp16.onnx from face.onnx: the same network with narrower numbers.

    python -m tools.narrow_face PACK [FOLDER]

8-bit convolutions take half of the time on a CPU; 16 bits are for GPUs, whose tensor cores take them. FOLDER has
face.onnx and gets the others; it is models/dh-base where none is named. PACK is a face pack (`training/pack.py`):
triples of most clips give the ranges of the activations; those that the network's training held out tell how far the
new networks are from the old one, as PSNR of the composed mouth. Nothing is written where one is farther off than it
was. What a GPU computes in 16 bits a CPU shows with the 16-bit network's weights and a rounding to 16 bits behind each
of its nodes: both sum up in 32. face_int8.onnx goes through `tools/optimise_networks.py` afterwards.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, TensorProto, helper, numpy_helper
from onnx.compose import add_prefix
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from training.pack import Clip, held_out, load_faces

from dhcli.families.dh_base.geometry import INNER, LOWER_LIP, UPPER_LIP
from dhcli.families.dh_base.question import INPUTS, Question
from dhcli.families.dh_base.speak import OUTPUTS
from dhcli.types import F32

MODEL = Path(__file__).parents[1] / "models/dh-base"
CALIBRATION, CHECKED = 296, 120
"""Triples; 40 leave ranges that clip a rare face to 36 dB."""
BATCH = 4
LEAST_DB = {"face_int8.onnx": 45.0, "face_fp16.onnx": 80.0}
"""Of a held-out face, from single precision."""
SIDE = 160
NEAR_POSE = 0.1
APART = 12
"""Frames between a target and its reference."""
PICTURE_CHANNELS, MAP_CHANNELS = 9, 13
"""Of the two inputs of the layers; no other convolution has as many."""


def triples(clips: list[Clip], count: int, seed: int) -> dict[str, F32]:
    """What the network is asked, and `target`, the real picture.

    Source and target have nearly the same pose. Of two triples one has the reference that shows the target's lips best,
    as most frames of a render have, and one the widest mouth.
    """
    random = np.random.default_rng(seed)
    question, targets = Question(count), []
    for k in range(count):
        clip = clips[k % len(clips)]
        target = int(random.choice(np.flatnonzero(clip.usable)))
        distance = np.where(clip.usable, np.abs(clip.pose - clip.pose[target]).sum(1), np.inf)
        distance[target] = np.inf
        near = np.flatnonzero(distance < NEAR_POSE)
        source = int(random.choice(near if len(near) >= 3 else np.argsort(distance)[:3]))
        reference = (like if (k // len(clips)) % 2 else widest)(clip, target)
        own, lent = ((clip.frames[i], clip.points[i].astype(np.float64)) for i in (source, reference))
        question.put(k, own, lent, clip.points[target].astype(np.float64))
        targets.append(clip.frames[target].transpose(2, 0, 1).astype(np.float32) / 255)
    return {**question.of(count), "target": np.stack(targets)}


def widest(clip: Clip, _target: int) -> int:
    """The frame with the widest mouth."""
    gap = np.linalg.norm(clip.points[:, LOWER_LIP] - clip.points[:, UPPER_LIP], axis=-1)
    return int(np.argmax(np.where(clip.usable, gap, -1)))


def like(clip: Clip, target: int) -> int:
    """The frame whose inner lips are nearest to the target's, out of those that are no neighbours of it."""
    lips = clip.points[:, INNER]
    distance = np.linalg.norm(lips - lips[target], axis=-1).mean(-1)
    far = np.abs(np.arange(len(lips)) - target) > min(APART, len(lips) // 4)
    return int(np.argmin(np.where(clip.usable & far, distance, np.inf)))


class Ranges(CalibrationDataReader):  # type: ignore[misc]
    """Batches of triples for the calibration."""

    def __init__(self, data: dict[str, F32]) -> None:
        self._batches = iter(list(batches(data)))

    def get_next(self) -> dict[str, F32] | None:
        return next(self._batches, None)


def batches(data: dict[str, F32]) -> Iterator[dict[str, F32]]:
    """The network's inputs, a few triples at once."""
    for first in range(0, len(data["target"]), BATCH):
        yield {key: data[key][first : first + BATCH] for key in INPUTS}


def composed(network: Path, data: dict[str, F32]) -> F32:
    """The new faces, (n, 160, 160, 3) RGB 0..1: source and reference under their flows, and the colour."""
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    faces = []
    for batch in batches(data):
        answers: list[F32] = session.run([*OUTPUTS], batch)
        for k, (flow, reference_flow, rgb, weights, light) in enumerate(zip(*answers, strict=True)):
            fitted = moved(batch["reference"][k], reference_flow) + enlarged(light)
            colour, shared = weights[:, :, :, None]
            source = moved(batch["pictures"][k, :3], flow)
            faces.append((1 - colour - shared) * source + colour * rgb.transpose(1, 2, 0) + shared * fitted)
    return np.stack(faces).astype(np.float32)


def moved(picture: F32, flow: F32) -> F32:
    """A picture (3, 160, 160) under a flow (2, 160, 160), as (160, 160, 3)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    whole = np.ascontiguousarray(picture.transpose(1, 2, 0))
    under = cv2.remap(whole, x + flow[0], y + flow[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(under, np.float32)


def enlarged(light: F32) -> F32:
    """(3, 40, 40) -> (160, 160, 3), bilinear."""
    return np.asarray(cv2.resize(light.transpose(1, 2, 0), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)


def mouth_psnr(one: F32, other: F32) -> F32:
    """The PSNR of each face in dB, the mouth alone."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    mouth = np.clip(1.25 - np.hypot((x - 80) / 45, (y - 95) / 40), 0, 0.25)[..., None] / 0.25
    error = ((one - other) ** 2 * mouth).sum((1, 2, 3)) / (mouth.sum() * 3)
    return np.asarray(-10 * np.log10(error), np.float32)


@dataclass(frozen=True, slots=True)
class Places:
    """Names in face.onnx: what goes into its convolutions, and what comes out of them."""

    pictures: str  # (n, 9, 160, 160)
    maps: str  # (n, 13, 40, 40), where the points are
    far_flow: str  # (n, 4, 160, 160), of the points alone
    near_flow: str  # (n, 4, 40, 40), what the layers add to it
    painted: str  # (n, 5, 160, 160) 0..1: colour and weights


def places(graph: GraphProto) -> Places:
    """Found by what the network is, since the names are the exporter's."""
    sizes = {one.name: one.dims for one in graph.initializer}
    users = {name: node for node in graph.node for name in node.input}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    (first,) = (node for node in convolutions if sizes[node.input[1]][1] == PICTURE_CHANNELS)
    (other,) = (node for node in convolutions if sizes[node.input[1]][1] == MAP_CHANNELS)
    (flow,) = (node for node in convolutions if node.input[1].endswith("net.flow.weight"))
    (painted,) = (node.output[0] for node in graph.node if node.op_type == "Sigmoid")
    (large,) = users[flow.output[0]].output
    (far_flow,) = (name for name in users[large].input if name != large)
    return Places(first.input[0], other.input[0], far_flow, flow.output[0], painted)


def simplified(network: Path) -> onnx.ModelProto:
    """The network as the quantiser wants it: all shapes known, nodes named."""
    with tempfile.TemporaryDirectory() as folder:
        simpler = Path(folder) / "simpler.onnx"
        quant_pre_process(str(network), str(simpler), skip_symbolic_shape=True)
        model = onnx.load(simpler)
    for k, one in enumerate(model.graph.node):
        one.name = f"{one.op_type}_{k}"  # the quantiser finds nodes by name
    return model


def quantise(network: Path, out: Path, data: dict[str, F32]) -> None:
    """8 bits for the convolutions alone: with the rest as well it is no faster.

    Weights of 7 bits, since 8 overflow on processors without VNNI: so every processor computes the same. The flows'
    last one stays: that halves the error of the teeth's place, 0.017 to 0.009 px rms, for a fiftieth of the time.
    """
    model = simplified(network)
    flow = places(model.graph).near_flow
    quantize_static(
        model,
        str(out),
        Ranges(data),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[node.name for node in model.graph.node if flow in node.output],
    )


def halve(network: Path, out: Path) -> None:
    """16 bits for the convolutions; the flows count px of the whole picture and stay, as what depends on them."""
    model = simplified(network)
    at = places(model.graph)
    whole = onnx.shape_inference.infer_shapes(model)
    middle = onnx.utils.Extractor(whole).extract_model([at.pictures, at.maps], [at.near_flow, at.painted])
    replaced = {name for node in middle.graph.node for name in node.output}
    narrow = convert_float_to_float16(middle, keep_io_types=True)
    del narrow.graph.value_info[:]  # what stands there is renamed, even inputs
    narrow = add_prefix(narrow, "half_", rename_inputs=False, rename_outputs=False)
    rest = [node for node in model.graph.node if replaced.isdisjoint(node.output)]
    needed = {name for node in rest for name in node.input}
    constants = [one for one in model.graph.initializer if one.name in needed]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend([*rest, *narrow.graph.node])
    model.graph.initializer.extend([*constants, *narrow.graph.initializer])
    OnnxModel.graph_topological_sort(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, out)


def round_off(narrow: Path, out: Path) -> None:
    """The 16-bit network in 32 bits, with a rounding to 16 behind each of its nodes: a CPU would leave that out."""
    model = onnx.load(narrow)
    graph, nodes, half = model.graph, [], set()
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            half.add(weight.name)
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), weight.name))
    for one in graph.node:
        nodes.append(one)
        widens = one.op_type == "Cast" and one.attribute[0].i == TensorProto.FLOAT
        narrows = one.op_type == "Cast" and one.attribute[0].i == TensorProto.FLOAT16
        if narrows or (half.intersection(one.input) and not widens and one.op_type != "Shape"):
            name = one.output[0]
            half.add(name)
            one.output[0] = f"{name}_exact"
            nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_half"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, out)


def main() -> None:
    """Make both, compare, and only then write."""
    pack = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else MODEL
    face = out / "face.onnx"
    clips, back = load_faces(pack), held_out(pack)
    seen = triples([clip for name, clip in clips.items() if name not in back], CALIBRATION, 0)
    unseen = triples([clips[name] for name in sorted(back)], CHECKED, 1)
    exact, truth = composed(face, unseen), unseen["target"].transpose(0, 2, 3, 1)
    print(f"fp32 against the real pictures: {mouth_psnr(exact, truth).mean():.2f} dB")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        quantise(face, made / "face_int8.onnx", seen)
        halve(face, made / "face_fp16.onnx")
        round_off(made / "face_fp16.onnx", made / "rounded.onnx")
        for name, shown in (("face_int8.onnx", "face_int8.onnx"), ("face_fp16.onnx", "rounded.onnx")):
            coarse = composed(made / shown, unseen)
            apart = mouth_psnr(coarse, exact)
            print(f"{name} against fp32: {apart.mean():.1f} dB, at least {apart.min():.1f}; ", end="")
            print(f"against the real pictures: {mouth_psnr(coarse, truth).mean():.2f} dB")
            if apart.min() < LEAST_DB[name]:
                sys.exit(f"Nothing is written: a held-out face is below {LEAST_DB[name]:g} dB.")
        for name in LEAST_DB:
            (out / name).write_bytes((made / name).read_bytes())


if __name__ == "__main__":
    main()
