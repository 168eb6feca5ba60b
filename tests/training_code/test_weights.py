"""Weights out of face.onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from training.weights import gathered, weights_of

from dhcli.types import F32


def spread(weight: F32) -> F32:
    """Weights for 2 x 2 px sorted into channels, as weights for the px."""
    outputs, sorted_channels = weight.shape[:2]
    split = weight.reshape(outputs, sorted_channels // 4, 2, 2, 3, 3)
    larger = np.zeros((outputs, sorted_channels // 4, 6, 6), np.float32)
    for row in range(2):
        for column in range(2):
            larger[:, :, row::2, column::2] = split[:, :, row, column]
    return larger


def saved(path: Path, weights: dict[str, F32]) -> Path:
    """A graph with one convolution for each, and its bias of ones."""
    nodes, constants = [], []
    for name, weight in weights.items():
        bias = np.ones(len(weight), np.float32)
        constants += [numpy_helper.from_array(weight, name), numpy_helper.from_array(bias, f"{name}_bias")]
        nodes.append(helper.make_node("Conv", ["x", name, f"{name}_bias"], [f"{name}_out"]))
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph(nodes, "convolutions", [shape], [], constants)), path)
    return path


def test_weights_come_back_as_the_network_has_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def noise(*shape: int) -> F32:
        return random.normal(size=shape).astype(np.float32)

    first, second, plain, flow = noise(24, 36, 3, 3), noise(64, 109, 3, 3), noise(64, 64, 3, 3), noise(4, 64, 3, 3)
    file = saved(
        tmp_path / "face.onnx",
        {
            "onnx::Conv_1": spread(first),
            "onnx::Conv_2": spread(second[:, :96]),
            "onnx::Conv_3": second[:, 96:].copy(),
            "net.e0.c1.weight": plain,
            "ConvMulFusion_W_net.flow.weight": flow * 4,
        },
    )
    state = weights_of(file)
    wanted = {"stem1": first, "stem2": second, "e0.c1": plain, "flow": flow}
    for name, weight in wanted.items():
        assert np.abs(state[f"{name}.weight"] - weight).max() < 1e-6
    assert state["flow.bias"].tolist() == [0.25] * 4
    assert state["e0.c1.bias"].tolist() == [1.0] * 64


def test_gathering_undoes_spreading() -> None:
    weight = np.arange(2 * 8 * 9, dtype=np.float32).reshape(2, 8, 3, 3)
    assert np.array_equal(gathered(spread(weight)), weight)


def test_another_network_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "face.onnx", {"other.weight": np.zeros((4, 4, 3, 3), np.float32)})
    with pytest.raises(ValueError, match=r"weights other\.weight are none|is none of"):
        weights_of(file)
