"""The family as a whole: what it says of the device that its networks run on."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dhcli.families.dh_base import family as dh_base_module
from dhcli.families.dh_base.family import NO_GPU, DhBase
from dhcli.families.family import BATCH, Precision
from dhcli.networks.network import CPU_PROVIDER, CUDA_PROVIDER, Device

GEOMETRY = Path(__file__).parents[2] / "models" / "dh-base" / "geometry.npz"


@pytest.mark.parametrize("role", ["detect", "landmarks", "audio", "face"])
def test_one_network_that_fell_back_to_the_cpu_is_told(role: str) -> None:
    def open_network(name: str, **_: object) -> SimpleNamespace:
        lost = name == role
        provider = CPU_PROVIDER if lost else CUDA_PROVIDER
        return SimpleNamespace(warning=f"No GPU for {name}" if lost else None, provider=provider)

    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files={})
    family = DhBase(bundle, Device("cuda", required=False), 1)
    assert family.detect
    assert family.landmarks
    assert family.warning == f"No GPU for {role}"
    assert family.device == ("cpu" if role == "face" else "cuda:0")


def test_the_device_is_where_the_face_network_runs_also_where_there_is_nothing_to_warn_about() -> None:
    """A machine without an NVIDIA driver takes the CPU for "auto" and says nothing."""
    network = SimpleNamespace(warning=None, provider=CPU_PROVIDER)
    bundle: Any = SimpleNamespace(open_network=lambda *_, **__: network, read=lambda _: GEOMETRY.read_bytes(), files={})
    family = DhBase(bundle, Device("cuda", required=False), 1)
    assert (family.warning, family.device) == (None, "cpu")


def test_nothing_to_tell(dh_base: DhBase) -> None:
    assert dh_base.warning is None


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

    monkeypatch.setattr(dh_base_module, "means_cpu", lambda _: not driver)
    files = {"face": None} | ({"face_int8": None} if there else {})
    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files=files)
    family = DhBase(bundle, Device("cuda", required=False), 1, precision)
    assert family.precision == said
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

    monkeypatch.setattr(dh_base_module, "means_cpu", lambda device: device.kind == "cpu")
    files = {"face": None, "face_int8": None}
    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files=files)
    family = DhBase(bundle, Device("cuda", required=False), 1)
    assert (family.precision, family.device) == ("int8", "cpu")
    assert [name for name, network in opened.items() if network() is not None] == ["audio", "face_int8"]
    assert family.warning == "No GPU is used: its driver is too old."


@pytest.mark.parametrize("driver", [True, False])
def test_eight_bits_run_on_the_cpu_and_say_so_beside_a_gpu(monkeypatch: pytest.MonkeyPatch, driver: bool) -> None:
    asked: dict[str, str] = {}

    def open_network(name: str, *, device: Device, **_: object) -> SimpleNamespace:
        asked[name] = device.kind
        return SimpleNamespace(warning=None, provider=CPU_PROVIDER if device.kind == "cpu" else CUDA_PROVIDER)

    monkeypatch.setattr(dh_base_module, "means_cpu", lambda _: not driver)
    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files={})
    family = DhBase(bundle, Device("cuda", required=False), 1, "int8")
    assert asked == {"audio": "cuda", "face_int8": "cpu"}
    assert (family.device, family.warning) == ("cpu", NO_GPU if driver else None)


@pytest.mark.parametrize(("provider", "batch"), [(CPU_PROVIDER, BATCH), (CUDA_PROVIDER, 16)])
def test_frames_at_once_are_measured_on_a_gpu(monkeypatch: pytest.MonkeyPatch, provider: str, batch: int) -> None:
    network = SimpleNamespace(warning=None, provider=provider)
    bundle: Any = SimpleNamespace(open_network=lambda *_, **__: network, read=lambda _: GEOMETRY.read_bytes(), files={})
    monkeypatch.setattr(dh_base_module, "fastest_batch", lambda face: 16 if face is network else 0)
    assert DhBase(bundle, Device("cuda"), 1).batch == batch


def test_the_networks_that_find_faces_are_closed_and_opened_again() -> None:
    class Opened:
        warning, provider = None, CPU_PROVIDER

    opened = []

    def open_network(name: str, **_: object) -> Opened:
        opened.append(name)
        return Opened()

    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes(), files={})
    family = DhBase(bundle, Device("cpu"), 1)
    family.close_finders()
    first = weakref.ref(family.detect)
    assert family.landmarks is family.landmarks
    family.close_finders()
    assert first() is None
    assert family.detect
    assert opened == ["audio", "face", "detect", "landmarks", "detect"]
