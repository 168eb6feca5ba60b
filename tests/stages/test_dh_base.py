"""The family as a whole: what it says of the device that its networks run on."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dhcli.families.dh_base.family import DhBase
from dhcli.networks import model as model_module
from dhcli.networks.batch_size import BATCH
from dhcli.networks.model import NO_GPU, Model, Precision
from dhcli.networks.network import CPU_PROVIDER, CUDA_PROVIDER, Device
from dhcli.render.face_finder import FaceFinder

MODELS = Path(__file__).parents[2] / "models"
GEOMETRY = MODELS / "dh-base" / "geometry.npz"


@pytest.mark.parametrize("role", ["audio", "face"])
def test_one_network_that_fell_back_to_the_cpu_is_told(role: str) -> None:
    def open_network(name: str, **_: object) -> SimpleNamespace:
        lost = name == role
        provider = CPU_PROVIDER if lost else CUDA_PROVIDER
        return SimpleNamespace(warning=f"No GPU for {name}" if lost else None, provider=provider)

    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files={})
    model = DhBase(Model(bundle, Device("cuda", required=False), 1)).model
    assert model.warning == f"No GPU for {role}"
    assert model.device == ("cpu" if role == "face" else "cuda:0")


def test_the_device_is_where_the_face_network_runs_also_where_there_is_nothing_to_warn_about() -> None:
    """A machine without an NVIDIA driver takes the CPU for "auto" and says nothing."""
    network = SimpleNamespace(warning=None, provider=CPU_PROVIDER)
    bundle: Any = SimpleNamespace(open_network=lambda *_, **__: network, read=lambda _: GEOMETRY.read_bytes(), files={})
    model = DhBase(Model(bundle, Device("cuda", required=False), 1)).model
    assert (model.warning, model.device) == (None, "cpu")


def test_nothing_to_tell(dh_base: DhBase) -> None:
    assert dh_base.model.warning is None


@pytest.mark.parametrize(
    ("precision", "there", "driver", "role", "said"),
    [
        ("auto", True, False, "face_int8", "int8"),
        ("auto", False, False, "face", "fp32"),
        ("auto", True, True, "face", "fp32"),
        ("fp32", True, False, "face", "fp32"),
        ("int8", True, True, "face_int8", "int8"),
        ("fp16", True, True, "face_fp16", "fp16"),
        ("fp16", True, False, "face_fp16", "fp16"),
    ],
)
def test_eight_bits_on_a_cpu_and_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    there: bool,
    driver: bool,
    role: str,
    said: str,
) -> None:
    opened = []

    def open_network(name: str, **_: object) -> SimpleNamespace:
        opened.append(name)
        return SimpleNamespace(warning=None, provider=CUDA_PROVIDER if driver else CPU_PROVIDER)

    monkeypatch.setattr(model_module, "means_cpu", lambda _: not driver)
    files = {"face": None} | ({"face_int8": None} if there else {})
    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files=files)
    model = DhBase(Model(bundle, Device("cuda", required=False), 1, precision)).model
    assert model.precision == said
    assert opened == ["audio", role], "and no network that only an analysis needs"


class Opened(SimpleNamespace):
    """A network that can be watched."""


def test_a_gpu_that_cannot_be_used_gives_the_cpus_network(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[str, weakref.ref[Opened]] = {}

    def open_network(name: str, *, device: Device, **__: object) -> Opened:
        if name == "face_int8":
            assert opened["face"]() is None, "there is room for one of the two"
        warning = None if device.kind == "cpu" else "No GPU is used: its driver is too old."
        network = Opened(warning=warning, provider=CPU_PROVIDER)
        opened[name] = weakref.ref(network)
        return network

    monkeypatch.setattr(model_module, "means_cpu", lambda device: device.kind == "cpu")
    files = {"face": None, "face_int8": None}
    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files=files)
    model = DhBase(Model(bundle, Device("cuda", required=False), 1)).model
    assert (model.precision, model.device) == ("int8", "cpu")
    assert [name for name, network in opened.items() if network() is not None] == ["audio", "face_int8"]
    assert model.warning == "No GPU is used: its driver is too old."


@pytest.mark.parametrize("driver", [True, False])
def test_eight_bits_run_on_the_cpu_and_say_so_beside_a_gpu(monkeypatch: pytest.MonkeyPatch, driver: bool) -> None:
    asked: dict[str, str] = {}

    def open_network(name: str, *, device: Device, **_: object) -> SimpleNamespace:
        asked[name] = device.kind
        return SimpleNamespace(warning=None, provider=CPU_PROVIDER if device.kind == "cpu" else CUDA_PROVIDER)

    monkeypatch.setattr(model_module, "means_cpu", lambda _: not driver)
    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files={})
    model = DhBase(Model(bundle, Device("cuda", required=False), 1, "int8")).model
    assert asked == {"audio": "cuda", "face_int8": "cpu"}
    assert (model.device, model.warning) == ("cpu", NO_GPU if driver else None)


@pytest.mark.parametrize(("provider", "batch"), [(CPU_PROVIDER, BATCH), (CUDA_PROVIDER, 16)])
def test_frames_at_once_are_measured_on_a_gpu(monkeypatch: pytest.MonkeyPatch, provider: str, batch: int) -> None:
    network = SimpleNamespace(warning=None, provider=provider)
    bundle: Any = SimpleNamespace(open_network=lambda *_, **__: network, read=lambda _: GEOMETRY.read_bytes(), files={})
    monkeypatch.setattr(model_module, "fastest_batch", lambda face: 16 if face is network else 0)
    assert DhBase(Model(bundle, Device("cuda"), 1)).model.batch == batch


class Watched:
    """A network that answers nothing, and can be watched."""

    def __init__(self, warning: str | None = None, provider: str = CPU_PROVIDER) -> None:
        self.warning, self.provider = warning, provider

    def run(self, *_: object) -> tuple[None, None]:
        return None, None


def finder_of(open_network: Callable[..., Watched], device: Device) -> FaceFinder:
    files = {role: SimpleNamespace(path=Path("mesh.npz")) for role in ("detect", "landmarks", "mesh")}
    mesh = MODELS / "face-finder" / "mesh.npz"
    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: mesh.read_bytes(), files=files)
    bundle.require = lambda *roles: [files[role] for role in roles]
    return FaceFinder(bundle, device)


def test_the_networks_that_find_faces_are_closed_and_opened_again() -> None:
    opened: list[str] = []
    networks: list[weakref.ref[Watched]] = []

    def open_network(name: str, **_: object) -> Watched:
        opened.append(name)
        network = Watched()
        networks.append(weakref.ref(network))
        return network

    finder, nothing = finder_of(open_network, Device("cpu")), np.zeros(1, np.float32)
    assert finder.providers == CPU_PROVIDER
    finder.close()
    assert opened == [], "none is opened before it is needed"
    for _ in range(2):
        finder.detect(nothing)
        finder.locate(nothing)
    finder.close()
    assert [network() for network in networks] == [None, None]
    finder.detect(nothing)
    assert opened == ["detect", "landmarks", "detect"]


@pytest.mark.parametrize("role", ["detect", "landmarks"])
def test_a_finder_that_fell_back_to_the_cpu_is_told(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_network(name: str, **_: object) -> Watched:
        return Watched(f"No GPU for {name}") if name == role else Watched(None, CUDA_PROVIDER)

    monkeypatch.setattr(model_module, "means_cpu", lambda _: False)
    finder = finder_of(open_network, Device("cuda", required=False))
    assert finder.warning is None
    assert sorted(finder.providers.split()) == [CPU_PROVIDER, CUDA_PROVIDER]
    assert finder.warning == f"No GPU for {role}"
