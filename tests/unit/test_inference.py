from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from dhcli.errors import DhError
from dhcli.networks import network as inference
from dhcli.networks.network import CPU_PROVIDER, CUDA_PROVIDER, Device, Network, TensorInfo, open_network, parse_device

MakeNetwork = Callable[..., bytes]
CPU = Device("cpu")
X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", 0)),
        ("cuda:3", Device("cuda", 3)),
        ("auto", Device("cuda", 0, required=False)),
    ],
)
def test_device_is_parsed(text: str, device: Device) -> None:
    assert parse_device(text) == device


@pytest.mark.parametrize("text", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "cuda:0\n"])
def test_unknown_device_is_refused(text: str) -> None:
    with pytest.raises(DhError) as caught:
        parse_device(text)
    assert caught.value.code == "env.device_unavailable"
    assert "auto, cpu, cuda" in caught.value.hint


def test_network_tells_what_it_takes_and_gives_and_runs(make_network: MakeNetwork) -> None:
    network = open_network(make_network("Sqrt"), "root", device=CPU)
    assert network.inputs == (TensorInfo("x", ("n", 4), "float32"),)
    assert network.outputs == (TensorInfo("y", ("n", 4), "float32"),)
    assert (network.provider, network.warning) == (CPU_PROVIDER, None)
    (answer,) = network.run(["y"], {"x": X})
    np.testing.assert_allclose(answer, np.sqrt(X))


def test_a_bound_network_answers_into_the_same_memory(make_network: MakeNetwork) -> None:
    network = open_network(make_network("Sqrt"), "root", device=CPU)
    x = X.copy()
    (first,) = network.run_bound(["y"], {"x": x})
    np.testing.assert_allclose(first, np.sqrt(X))
    x += 1
    (second,) = network.run_bound(["y"], {"x": x})
    assert np.shares_memory(second, first)
    np.testing.assert_allclose(second, np.sqrt(X + 1))
    (fewer,) = network.run_bound(["y"], {"x": X[1:]})
    np.testing.assert_allclose(fewer, np.sqrt(X[1:]))
    assert np.shares_memory(fewer, first)
    (more,) = network.run_bound(["y"], {"x": np.concatenate([X, X])})
    np.testing.assert_allclose(more, np.sqrt(np.concatenate([X, X])))
    assert network.runs == 4


def test_a_bound_network_is_watched_as_well(make_network: MakeNetwork) -> None:
    network = open_network(make_network("Sqrt"), "root", device=CPU)
    network.run_bound(["y"], {"x": X})
    with pytest.raises(DhError) as caught:
        network.run_bound(["y"], {"x": -X})
    assert caught.value.code == "model.bad_output"
    with pytest.raises(DhError) as caught:
        network.run_bound(["y"], {"x": X.astype(np.float64)})
    assert caught.value.code == "model.failed"


def test_network_is_read_from_a_file(make_network: MakeNetwork, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(make_network())
    assert open_network(path, "tiny", device=CPU).name == "tiny"
    with pytest.raises(DhError, match=r"gone\.onnx: No such file") as caught:
        open_network(tmp_path / "gone.onnx", "tiny", device=CPU)
    assert caught.value.code == "model.missing"


@pytest.mark.parametrize("data", [b"", b"<html>no such file</html>", bytes(range(256)) * 8])
def test_garbage_is_corrupt(data: bytes) -> None:
    with pytest.raises(DhError, match="'tiny'") as caught:
        open_network(data, "tiny", device=CPU)
    assert caught.value.code == "model.corrupt"
    assert "[ONNXRuntimeError]" not in caught.value.message


def test_truncated_network_is_corrupt(make_network: MakeNetwork) -> None:
    with pytest.raises(DhError) as caught:
        open_network(make_network()[:-20], "tiny", device=CPU)
    assert caught.value.code == "model.corrupt"


@pytest.mark.parametrize(("operator", "opset"), [("Identity", 99), ("NoSuchOperator", 17)])
def test_network_that_this_runtime_cannot_run_is_incompatible(
    make_network: MakeNetwork, operator: str, opset: int
) -> None:
    with pytest.raises(DhError, match=onnxruntime.__version__) as caught:
        open_network(make_network(operator, opset=opset), "tiny", device=CPU)
    assert caught.value.code == "model.incompatible"


def test_weights_in_other_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(np.ones(4, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="w.bin")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", tensors[:1], tensors[1:], [weights])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    with pytest.raises(DhError, match="weights in other files") as caught:
        open_network(data, "tiny", device=CPU)
    assert caught.value.code == "model.corrupt"


@pytest.mark.parametrize(
    ("outputs", "feeds"),
    [
        (["z"], {"x": X}),
        (["y"], {"z": X}),
        (["y"], {"x": X.astype(np.float64)}),
        (["y"], {"x": X[:, :3]}),
    ],
    ids=["unknown output", "unknown input", "wrong type", "wrong shape"],
)
def test_what_the_runtime_refuses_is_a_failed_network(
    make_network: MakeNetwork, outputs: list[str], feeds: dict[str, Any]
) -> None:
    network = open_network(make_network(), "tiny", device=CPU)
    with pytest.raises(DhError, match=r"'tiny' failed: \w") as caught:
        network.run(outputs, feeds)
    assert caught.value.code == "model.failed"
    assert "[ONNXRuntimeError]" not in caught.value.message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_answers_that_are_no_numbers_are_refused(make_network: MakeNetwork, bad: float) -> None:
    network = open_network(make_network(), "tiny", device=CPU)
    x = X.copy()
    x[1, 2] = bad
    with pytest.raises(DhError, match="1 values of 8 in its output 'y'") as caught:
        network.run(["y"], {"x": x})
    assert caught.value.code == "model.bad_output"


def test_a_large_constant_answer_is_refused_and_a_small_one_is_not(make_network: MakeNetwork) -> None:
    network = open_network(make_network(), "tiny", device=CPU)
    network.run(["y"], {"x": np.zeros((1, 4), np.float32)})
    with pytest.raises(DhError, match="one and the same value") as caught:
        network.run(["y"], {"x": np.zeros((4, 4), np.float32)})
    assert caught.value.code == "model.bad_output"


class _Session:
    """Stands for ONNX Runtime's session where a fault cannot be had on every machine."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_providers(self) -> list[str]:
        return [CUDA_PROVIDER, CPU_PROVIDER]

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_inputs

    def run(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("Failed to allocate memory for requested buffer of size 104857600"), "device.out_of_memory"),
        (RuntimeError("BFCArena::AllocateRawInternal Available memory of 1 is smaller"), "device.out_of_memory"),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), "device.out_of_memory"),
        (MemoryError(), "device.out_of_memory"),
        (RuntimeError("CUDA failure 700: an illegal memory access was encountered"), "device.lost"),
        (RuntimeError("CUDNN failure 4000: CUDNN_STATUS_INTERNAL_ERROR"), "device.lost"),
        (RuntimeError(), "model.failed"),
    ],
)
def test_faults_of_the_device_have_their_own_codes(error: Exception, code: str) -> None:
    with pytest.raises(DhError, match="'face'") as caught:
        Network(_Session(error), "face", None).run(["y"], {})
    assert caught.value.code == code
    assert caught.value.__cause__ is error


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the CUDA provider fall away without a word, as it does on a machine without its libraries."""
    real = onnxruntime.InferenceSession

    def open_on_cpu(data: bytes, options: Any, *, providers: list[Any]) -> Any:
        print("Failed to load libcublas.so")  # noqa: T201 - preload_dlls prints, too
        return real(data, options, providers=[CPU_PROVIDER] if providers else [])

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_cpu)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(inference, "_has_driver", lambda: True)


@pytest.fixture
def without_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(inference, "DRIVER", "libno-such-driver.so.1")
    inference._has_driver.cache_clear()
    yield
    inference._has_driver.cache_clear()


@pytest.mark.usefixtures("without_cuda")
def test_cuda_that_is_not_there_is_an_error_where_it_was_asked_for(
    make_network: MakeNetwork, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DhError, match="cuda:1 cannot be used: Failed to load libcublas") as caught:
        open_network(make_network(), "tiny", device=Device("cuda", 1))
    assert caught.value.code == "env.device_unavailable"
    assert "--device cpu" in caught.value.hint
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("without_cuda")
def test_auto_takes_the_cpu_instead_and_says_so(make_network: MakeNetwork) -> None:
    network = open_network(make_network(), "tiny", device=parse_device("auto"))
    assert network.provider == CPU_PROVIDER
    assert network.warning is not None
    assert "cuda:0 cannot be used" in network.warning


@pytest.mark.usefixtures("without_driver")
def test_machine_without_a_driver_is_a_cpu_machine(make_network: MakeNetwork) -> None:
    network = open_network(make_network(), "tiny", device=parse_device("auto"))
    assert (network.provider, network.warning) == (CPU_PROVIDER, None)
    with pytest.raises(DhError, match="no NVIDIA driver") as caught:
        open_network(make_network(), "tiny", device=Device("cuda"))
    assert caught.value.code == "env.device_unavailable"


@pytest.mark.slow
def test_the_runtime_keeps_no_identity_and_tells_nobody(tmp_path: Path) -> None:
    """ONNX Runtime with its telemetry on leaves a device id and a database of events to send in the home folder."""
    code = "from dhcli.render.models import Models; from dhcli.networks.network import Device\n"
    code += "Models((), Device('cpu')).family('dh-base')\n"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.rglob("*")) == []
