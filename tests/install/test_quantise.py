"""`dh models add --int8`: the network in 8 bits beside the one it is made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dhcli.errors import DhError
from dhcli.install.add import Wanted, add_model
from dhcli.install.quantise import MOST_DB, psnr, quantised
from dhcli.networks.bundle import load_bundle
from families.probes import CONTRACTS, probe


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["n", 5])
def test_eight_bits_are_measured_and_written_beside(tmp_path: Path, batch: int | str) -> None:
    path, place = tmp_path / "conv.onnx", tmp_path / "models"
    path.write_bytes(smooth_network(batch))
    wanted = Wanted(str(path), "mine", models_dirs=(place,), narrow=True)
    added = add_model(wanted, lambda *_: None, lambda _: None)
    assert added.int8_db is not None
    assert 38 <= added.int8_db < 80
    bundle = load_bundle("mine", (place,))
    assert set(bundle.files) == {"network", "network_int8"}
    bundle.check_all()


def test_where_nothing_can_be_quantised_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "echo.onnx"
    path.write_bytes(probe(CONTRACTS["wav2lip"], "echo"))
    shapes = {"mel": (1, 1, 80, 16), "faces": (1, 6, 96, 96)}
    asked = [{name: np.full(shape, k / 4, np.float32) for name, shape in shapes.items()} for k in range(4)]
    with pytest.raises(DhError, match="it has no convolutions"):
        quantised(path, tmp_path / "narrow.onnx", asked)
    assert psnr(path, path, asked) == MOST_DB, "a number that JSON has"


def smooth_network(batch: int | str) -> bytes:
    """A Wav2Lip contract whose picture is the whole one under a 3 x 3 mean: something that 8 bits can hold."""
    kernel = np.zeros((3, 6, 3, 3), np.float32)
    for channel in range(3):
        kernel[channel, 3 + channel] = 1 / 9
    tensors = {"mel": (1, 80, 16), "faces": (6, 96, 96), "frames": (3, 96, 96)}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape]) for name, shape in tensors.items()
    }
    nodes = [
        helper.make_node("Conv", ["faces", "kernel"], ["soft"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["mel"], ["level"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["level", "little"], ["change"]),
        helper.make_node("Add", ["soft", "change"], ["frames"]),
    ]
    constants = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array(0.01, np.float32), "little"),
    ]
    graph = helper.make_graph(nodes, "soft", [infos["mel"], infos["faces"]], [infos["frames"]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
