"""Make face_int8.onnx and face_fp16.onnx from face.onnx: the same network with narrower numbers.

    python tools/narrow_face.py PACK [FOLDER]

8-bit convolutions take two fifths of the time on a CPU; 16 bits are for GPUs, whose tensor cores take them. PACK holds
clips of aligned 160-px face crops (`<clip>.mp4`) and `points.npz` with `<clip>/points` (n, 106, 2) crop px,
`<clip>/pose` (n, …) and `<clip>/ok` (n,). Triples of most clips give the ranges of the activations; the clips that
the network's training held out tell how far the new networks are from the old one, as PSNR of the composed mouth.
Nothing is written where one is farther off than it was. What a GPU computes in 16 bits a CPU shows with the 16-bit
network's weights and a rounding to 16 bits behind each of its nodes: both sum up in 32. face_int8.onnx goes through
`tools/optimise_networks.py` afterwards.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.compose import add_prefix, merge_models
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from dhcli.types import F32, U8

MODEL = Path(__file__).parents[1] / "models/dh-base"
HELD_OUT = ("vr__1", "vr__5", "vx__vasa-1_7", "ls__demo2", "st__WDA_KatieHill_000", "lp__d9")
CALIBRATION, CHECKED = 296, 120
"""Triples; 40 leave ranges that clip a rare face to 36 dB."""
BATCH = 4
LEAST_DB = {"face_int8.onnx": 45.0, "face_fp16.onnx": 80.0}
"""Of a held-out face, from single precision."""
SIDE = 160
LOWER_LIP, UPPER_LIP = 25, 35
NEAR_POSE = 0.1
FAR_SIGMA, FAR_LEAST = 7.0, 0.15
"""Crop px of the bell around each point, and the weight of no movement."""
FAR_SHIFT, WARPED, FIRST_WEIGHTS = "/g/Reshape_output_0", "/g/GridSample_output_0", "g.stem1.weight"
MAPS, FAR_FLOW, NEAR_FLOW = "/g/Concat_9_output_0", "/g/Resize_output_0", "/g/Mul_2_output_0"
"""Names in face.onnx; the maps show where the points are."""
PICTURES = "pictures"
INPUTS = ("source", "reference", "source_points", "target_points")


@dataclass(frozen=True, slots=True)
class Clip:
    """One person's crops."""

    frames: U8  # (n, 160, 160, 3) RGB
    points: F32  # (n, 106, 2) crop px
    pose: F32  # (n, k)
    usable: np.typing.NDArray[np.bool_]  # (n,)


def load(pack: Path) -> dict[str, Clip]:
    """Every clip of the pack by its name."""
    with np.load(pack / "points.npz", allow_pickle=False) as meta:
        names = sorted({key.rsplit("/", 1)[0] for key in meta.files})
        clips = {}
        for name in names:
            frames = np.stack(list(pictures(pack / f"{name}.mp4")))
            n = len(frames)
            points, pose, usable = (meta[f"{name}/{key}"][:n] for key in ("points", "pose", "ok"))
            clips[name] = Clip(frames, points.astype(np.float32), pose.astype(np.float32), usable.astype(bool))
    return clips


def pictures(path: Path) -> Iterator[U8]:
    """The RGB frames of a video."""
    video = cv2.VideoCapture(str(path))
    while (got := video.read())[0]:
        yield np.asarray(got[1][..., ::-1], np.uint8)


def triples(clips: list[Clip], count: int, seed: int) -> dict[str, F32]:
    """What the network is asked, and `target`, the real picture: two frames with nearly the same pose each."""
    random = np.random.default_rng(seed)
    rows: dict[str, list[F32]] = {key: [] for key in (*INPUTS, "target")}
    for k in range(count):
        clip = clips[k % len(clips)]
        target = int(random.choice(np.flatnonzero(clip.usable)))
        distance = np.where(clip.usable, np.abs(clip.pose - clip.pose[target]).sum(1), np.inf)
        distance[target] = np.inf
        near = np.flatnonzero(distance < NEAR_POSE)
        source = int(random.choice(near if len(near) >= 3 else np.argsort(distance)[:3]))
        wide = int(np.argmax(np.linalg.norm(clip.points[:, LOWER_LIP] - clip.points[:, UPPER_LIP], axis=-1)))
        for key, index in (("source", source), ("reference", wide), ("target", target)):
            rows[key].append(clip.frames[index].transpose(2, 0, 1).astype(np.float32) / 255)
        rows["source_points"].append(clip.points[source])
        rows["target_points"].append(clip.points[target])
    return {key: np.stack(values) for key, values in rows.items()}


class Ranges(CalibrationDataReader):  # type: ignore[misc]
    """Batches of triples for the calibration."""

    def __init__(self, data: dict[str, F32]) -> None:
        self._batches = iter(list(batches(data)))

    def get_next(self) -> dict[str, F32] | None:
        return next(self._batches, None)


def batches(data: dict[str, F32]) -> Iterator[dict[str, F32]]:
    """The network's inputs, a few triples at once."""
    for first in range(0, len(data["source"]), BATCH):
        yield {key: data[key][first : first + BATCH] for key in INPUTS}


def composed(network: Path, data: dict[str, F32]) -> F32:
    """The new faces, (n, 160, 160, 3) RGB 0..1: the source under the flow, and the colour over it."""
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    answers: list[Any] = [session.run(["flow", "rgb", "alpha"], batch) for batch in batches(data)]
    flow, rgb, alpha = (np.concatenate(part) for part in zip(*answers, strict=True))
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    faces = []
    for k, source in enumerate(data["source"]):
        picture = np.ascontiguousarray(source.transpose(1, 2, 0))
        moved = cv2.remap(picture, x + flow[k, 0], y + flow[k, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        opacity = alpha[k, 0][..., None]
        faces.append(opacity * rgb[k].transpose(1, 2, 0) + (1 - opacity) * moved)
    return np.stack(faces).astype(np.float32)


def mouth_psnr(one: F32, other: F32) -> F32:
    """The PSNR of each face in dB, the mouth alone."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    mouth = np.clip(1.25 - np.hypot((x - 80) / 45, (y - 95) / 40), 0, 0.25)[..., None] / 0.25
    error = ((one - other) ** 2 * mouth).sum((1, 2, 3)) / (mouth.sum() * 3)
    return np.asarray(-10 * np.log10(error), np.float32)


def far_shift() -> tuple[list[NodeProto], dict[str, Any]]:
    """The points' shifts spread over the 20 x 20 grid, as the network does it, by rows and columns.

    A Gaussian of the distance is the product of one of x and one of y: three products of 20 x 106 matrices stand for
    400 x 106 distances, squares and exponentials. Gives the nodes and their constants.
    """
    node = helper.make_node
    line = ((np.arange(20) + 0.5) * SIDE / 20).astype(np.float32).reshape(1, 1, 20)
    constants = {
        "far_line": line,
        "far_scale": np.float32(-1 / (2 * FAR_SIGMA**2)),
        "far_least": np.float32(FAR_LEAST),
        "far_axis": np.array([1], np.int64),
    }
    nodes = [
        node("Split", ["target_points"], ["far_x", "far_y"], axis=2),
        node("Sub", ["source_points", "target_points"], ["far_move"]),
        node("Split", ["far_move"], ["far_move_x", "far_move_y"], axis=2),
    ]
    for axis in "xy":
        nodes += [
            node("Sub", ["far_line", f"far_{axis}"], [f"far_distance_{axis}"]),
            node("Mul", [f"far_distance_{axis}"] * 2, [f"far_square_{axis}"]),
            node("Mul", [f"far_square_{axis}", "far_scale"], [f"far_power_{axis}"]),
            node("Exp", [f"far_power_{axis}"], [f"far_bell_{axis}"]),
        ]
    nodes += [
        node("Transpose", ["far_bell_y"], ["far_rows"], perm=[0, 2, 1]),
        node("MatMul", ["far_rows", "far_bell_x"], ["far_sum"]),
        node("Add", ["far_sum", "far_least"], ["far_weight"]),
    ]
    for axis in "xy":
        nodes += [
            node("Mul", ["far_bell_x", f"far_move_{axis}"], [f"far_pull_{axis}"]),
            node("MatMul", ["far_rows", f"far_pull_{axis}"], [f"far_total_{axis}"]),
            node("Div", [f"far_total_{axis}", "far_weight"], [f"far_mean_{axis}"]),
            node("Unsqueeze", [f"far_mean_{axis}", "far_axis"], [f"far_plane_{axis}"]),
        ]
    return [*nodes, node("Concat", ["far_plane_x", "far_plane_y"], [FAR_SHIFT], axis=1)], constants


def first_convolution(nodes: list[NodeProto], weights: F32) -> tuple[list[NodeProto], F32]:
    """The first convolution on the pictures as they are, and its weights.

    The network sorts each 2 x 2 px of three pictures into channels (36 of them) before a 3 x 3 convolution, which is a
    6 x 6 convolution of their 9 channels that moves by 2.
    """
    (old,) = (one for one in nodes if one.op_type == "Conv" and FIRST_WEIGHTS in one.input)
    out, shuffled, *_ = weights.shape
    split = weights.reshape(out, shuffled // 4, 2, 2, 3, 3)
    larger = np.zeros((out, shuffled // 4, 6, 6), np.float32)
    for row in range(2):
        for column in range(2):
            larger[:, :, row::2, column::2] = split[:, :, row, column]
    at = nodes.index(old)
    together = helper.make_node("Concat", ["source", WARPED, "reference"], [PICTURES], axis=1)
    inputs = [PICTURES, "first_weights", old.input[2]]
    new = helper.make_node("Conv", inputs, list(old.output), strides=[2, 2], pads=[2] * 4, kernel_shape=[6, 6])
    return [*nodes[:at], together, new, *nodes[at + 1 :]], larger


def rearranged(network: Path) -> onnx.ModelProto:
    """The same function of the same inputs, in a sixth less time after quantisation."""
    with tempfile.TemporaryDirectory() as folder:
        simpler = Path(folder) / "simpler.onnx"
        quant_pre_process(str(network), str(simpler), skip_symbolic_shape=True)
        model = onnx.load(simpler)
    graph = model.graph
    weights = {one.name: one for one in graph.initializer}
    nodes, larger = first_convolution(list(graph.node), numpy_helper.to_array(weights[FIRST_WEIGHTS]))
    spread, constants = far_shift()
    nodes = [*spread, *(one for one in nodes if FAR_SHIFT not in one.output)]
    for name, value in {**constants, "first_weights": larger}.items():
        weights[name] = numpy_helper.from_array(value, name)
    needed, kept = {one.name for one in graph.output}, []
    for one in reversed(nodes):
        if needed.intersection(one.output):
            kept.append(one)
            needed.update(one.input)
    for k, one in enumerate(reversed(kept)):
        one.name = f"{one.op_type}_{k}"  # the quantiser finds nodes by name
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights[name] for name in weights if name in needed)
    onnx.checker.check_model(model)
    return model


def quantise(network: Path, out: Path, data: dict[str, F32]) -> None:
    """8 bits for the convolutions alone: with the rest as well it is no faster.

    Weights of 7 bits, since 8 overflow on processors without VNNI: so every processor computes the same.
    """
    quantize_static(
        rearranged(network),
        str(out),
        Ranges(data),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def halve(network: Path, out: Path) -> None:
    """16 bits for all that comes behind the pictures, but for the flow: it counts px of the whole picture."""
    whole = onnx.shape_inference.infer_shapes(rearranged(network))
    part = onnx.utils.Extractor(whole).extract_model
    before = part([*INPUTS], [PICTURES, MAPS, FAR_FLOW])
    middle = convert_float_to_float16(part([PICTURES, MAPS], [NEAR_FLOW, "rgb", "alpha"]), keep_io_types=True)
    OnnxModel.graph_topological_sort(middle.graph)  # its casts stand at the end
    after = part([NEAR_FLOW, FAR_FLOW], ["flow"])
    narrow = joined(joined(before, middle, (PICTURES, MAPS), "middle_"), after, (NEAR_FLOW, FAR_FLOW), "after_")
    del narrow.graph.output[:], narrow.opset_import[:]  # joining has left them in disorder
    narrow.graph.output.extend(whole.graph.output)
    narrow.opset_import.extend(one for one in whole.opset_import if one.domain == "")
    onnx.checker.check_model(narrow)
    onnx.save(narrow, out)


def joined(one: onnx.ModelProto, other: onnx.ModelProto, by: tuple[str, ...], prefix: str) -> onnx.ModelProto:
    """Two parts of a network as one; what is inside the second, like constants that both have, gets a prefix."""
    for model in (one, other):
        del model.graph.value_info[:]  # they stand in the way of joining, and ONNX Runtime finds them by itself
    renamed = add_prefix(other, prefix, rename_inputs=False, rename_outputs=False)
    return merge_models(one, renamed, [(name, name) for name in by])


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
    clips = load(pack)
    seen = triples([clip for name, clip in clips.items() if name not in HELD_OUT], CALIBRATION, 0)
    unseen = triples([clips[name] for name in HELD_OUT], CHECKED, 1)
    exact, truth = composed(MODEL / "face.onnx", unseen), unseen["target"].transpose(0, 2, 3, 1)
    print(f"fp32 against the real pictures: {mouth_psnr(exact, truth).mean():.2f} dB")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        quantise(MODEL / "face.onnx", made / "face_int8.onnx", seen)
        halve(MODEL / "face.onnx", made / "face_fp16.onnx")
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
