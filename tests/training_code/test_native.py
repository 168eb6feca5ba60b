"""The picture at native resolution, made of what a network answers that says the same to everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from training.native import View, compare, opened, render

from dhcli.types import F64

SIDE = 240


@pytest.fixture
def lips() -> F64:
    """Rings of points: outer lips, inner lips, the rest."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    rest = np.tile(ring, (4, 1))[:66] * 50
    return np.concatenate([ring * [24, 14], ring * [16, 9], rest]) + 80.0


def view(seed: int, lips: F64) -> View:
    noise = np.random.default_rng(seed).integers(40, 200, (SIDE, SIDE, 3))
    return View(noise.astype(np.uint8), lips)


def network(path: Path, *, colour: float, reference: float, light: float, flow_px: float) -> str:
    """Answers constants: these weights, grey 0.5, this light, and `flow_px` along x onto the reference."""
    shapes = {"flow": (2, 160), "reference_flow": (2, 160), "rgb": (3, 160), "weights": (2, 160), "light": (3, 40)}
    values = {
        "flow": [0, 0],
        "reference_flow": [flow_px, 0],
        "rgb": [0.5] * 3,
        "weights": [colour, reference],
        "light": [light] * 3,
    }
    nodes, constants, outputs = [], [], []
    for name, (channels, side) in shapes.items():
        each = np.array(values[name], np.float32).reshape(1, channels, 1, 1)
        constants.append(
            numpy_helper.from_array(np.broadcast_to(each, (1, channels, side, side)).copy(), f"{name}_value")
        )
        nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, side, side]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, 160, 160])
        for name, channels in (("pictures", 9), ("reference", 3))
    ]
    inputs += [
        helper.make_tensor_value_info(f"{name}_points", TensorProto.FLOAT, ["n", 106, 2])
        for name in ("source", "reference", "target")
    ]
    graph = helper.make_graph(nodes, "constant", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def test_without_weights_the_source_stays(tmp_path: Path, lips: F64) -> None:
    says = network(tmp_path / "x.onnx", colour=0, reference=0, light=0.3, flow_px=5)
    source = view(0, lips)
    made = render(opened(says), source, view(1, lips), lips)
    assert np.abs(made - source.picture).max() < 1e-3


def test_the_reference_comes_at_its_own_resolution_moved_and_lit(tmp_path: Path, lips: F64) -> None:
    """8 crop px are 12 px here, and 0.1 of light is 25.5."""
    says = network(tmp_path / "x.onnx", colour=0, reference=1, light=0.1, flow_px=8)
    reference = view(1, lips)
    made = render(opened(says), view(0, lips), reference, lips)
    assert np.abs(made[:, :-12] - 25.5 - reference.picture[:, 12:]).max() < 1e-2


def test_colour_and_reference_share(tmp_path: Path, lips: F64) -> None:
    says = network(tmp_path / "x.onnx", colour=0.25, reference=0.5, light=0, flow_px=0)
    source, reference = view(0, lips), view(1, lips)
    made = render(opened(says), source, reference, lips)
    wanted = 0.25 * source.picture.astype(float) + 0.25 * 127.5 + 0.5 * reference.picture
    assert np.abs(made - wanted).max() < 1e-2


def test_figures_tell_a_soft_mouth_from_a_sharp_one(lips: F64) -> None:
    real = view(0, lips).picture
    soft = real.astype(np.float32)
    soft[1:-1, 1:-1] = sum(soft[1 + y : SIDE - 1 + y, 1 + x : SIDE - 1 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
    same, softer = compare(real.astype(np.float32), real, lips), compare(soft, real, lips)
    assert same.sharpness == pytest.approx(1)
    assert same.mouth_ssim == pytest.approx(1)
    assert softer.sharpness < 0.2
    assert softer.inside_db < 30 < same.inside_db


def test_a_closed_mouth_has_no_inside(lips: F64) -> None:
    closed = lips.copy()
    closed[20:40, 1] = 80
    real = view(0, lips).picture
    assert np.isnan(compare(real.astype(np.float32), real, closed).sharpness)
