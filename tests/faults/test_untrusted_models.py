"""Models of strangers: a bundle is its own files with their hashes, and a network in it can reach nothing else."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from dhcli.bundle import load_bundle
from dhcli.errors import DhError
from dhcli.inference import Device

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """A bundle `evil` whose one network is these bytes, under their right hash: its author writes both."""

    def make(data: bytes, file: str = "net.onnx", sha256: str = "") -> Path:
        folder = tmp_path / "models" / "evil"
        folder.mkdir(parents=True, exist_ok=True)
        if "/" not in file:
            (folder / file).write_bytes(data)
        digest = sha256 or hashlib.sha256(data).hexdigest()
        (folder / "model.yaml").write_text(
            "schema_version: 1\nname: evil\nfamily: dh_base\nversion: '1'\nlicence: none\ndescription: x\n"
            f"files: {{face: {{path: '{file}', bytes: {len(data)}, sha256: {digest}}}}}\n"
            "networks: {}\n"
        )
        return folder.parent

    return make


def opened(models: Path) -> DhError:
    with pytest.raises(DhError) as caught:
        load_bundle("evil", [models]).open_network("face", device=Device("cpu"), threads=1)
    return caught.value


def network(weights: TensorProto) -> bytes:
    """y = x + weights."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def elsewhere(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("way", ["beside it", "above it", "absolute", "by a link", "/proc/self/environ", "model.yaml"])
def test_weights_in_another_file_are_not_read(way: str, install: Install, tmp_path: Path) -> None:
    canary = tmp_path / "canary.bin"
    canary.write_bytes(np.full(4, 7, "<f4").tobytes())
    location = {
        "beside it": "canary.bin",
        "above it": "../../canary.bin",
        "absolute": str(canary),
        "by a link": "link.bin",
    }.get(way, way)
    models = install(network(elsewhere(location)))
    os.link(canary, models / "evil/canary.bin")
    (models / "evil/link.bin").symlink_to(canary)
    error = opened(models)
    assert error.code == "model.corrupt"
    assert "other files" in error.message
    assert error.hint


def test_weights_that_claim_more_than_there_is(install: Install) -> None:
    before = psutil.Process().memory_info().rss
    huge = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20], raw_data=b"\0" * 16)
    error = opened(install(network(huge)))
    assert error.code in {"model.corrupt", "model.incompatible"}
    assert psutil.Process().memory_info().rss - before < 256 << 20


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_loaded(install: Install, tmp_path: Path) -> None:
    error = opened(install(pickle.dumps(Bomb(tmp_path / "owned"))))
    assert error.code == "model.corrupt"
    assert not (tmp_path / "owned").exists()


def test_an_operator_from_a_library_of_the_authors_is_not_found(install: Install) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Run", ["x"], ["y"], domain="evil.lib")], "g", [x], [y])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("evil.lib", 1)]
    made = helper.make_model(graph, opset_imports=domains, ir_version=8)
    assert opened(install(made.SerializeToString())).code == "model.incompatible"


def test_a_network_whose_hash_is_not_the_one_is_not_opened(install: Install) -> None:
    good = network(onnx.numpy_helper.from_array(np.ones(4, np.float32), "w"))
    assert load_bundle("evil", [install(good)]).open_network("face", device=Device("cpu"), threads=1)
    error = opened(install(good, sha256="0" * 64))
    assert error.code == "model.corrupt"
    assert "SHA-256" in error.message


@pytest.mark.parametrize("file", ["../canary.bin", "/etc/passwd", "a/../../canary.bin", ".hidden", "net.onnx\\n"])
def test_a_bundles_file_is_a_name_in_its_folder(file: str, install: Install, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/canary.bin").write_bytes(b"x")
    error = opened(install(b"x", file))
    assert error.code == "model.corrupt"
    assert "path" in error.message
