"""What ONNX Runtime made of a network is kept, and never the reason that one is opened differently."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from dhcli import graphs, inference
from dhcli.bundle import load_bundle
from dhcli.disk.store import Share, Store
from dhcli.errors import DhError
from dhcli.graphs import KIND, Graphs, processor
from dhcli.inference import Device, open_network

MakeNetwork = Callable[..., bytes]
CPU = Device("cpu")
BUILD = f"{onnxruntime.__version__} {onnxruntime.get_build_info()}"
X = np.array([[1, 4, 9, 16]], np.float32)
INTEL = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\ncpu MHz\t\t: {}\nflags\t\t: fpu {}\n\nprocessor\t: 1\n"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def answer(network: bytes, store: Store) -> list[float]:
    (values,) = open_network(network, "tiny", device=CPU, graphs=Graphs(store)).run(["y"], {"x": X})
    return [float(value) for value in values[0]]


def only_entry(tmp_path: Path) -> Path:
    (entry,) = (tmp_path / "cache/store" / KIND).iterdir()
    return entry


def put(store: Store, network: bytes, kept: bytes) -> None:
    """Keep something as what was made of a network."""
    with tempfile.TemporaryFile() as file:
        file.write(kept)
        file.flush()
        Graphs(store).put(Graphs(store).key(network, BUILD), file.fileno())


def test_what_was_made_of_a_network_is_what_the_next_one_opens(make_network: MakeNetwork, store: Store) -> None:
    root, negative = make_network("Sqrt"), make_network("Neg")
    assert answer(root, store) == [1, 2, 3, 4]
    assert store.shares()[KIND].entries == 1
    put(store, root, negative)  # what nobody would do, and shows which of the two is opened
    assert answer(root, store) == [-1, -4, -9, -16]
    assert answer(negative, store) == [-1, -4, -9, -16]
    assert store.shares()[KIND].entries == 2


@pytest.mark.parametrize("role", ["detect", "landmarks", "audio", "face", "face_int8", "face_fp16"])
def test_the_kept_network_answers_the_same_bits(role: str, store: Store) -> None:
    bundle = load_bundle("dh-base")
    plain = bundle.open_network(role, device=CPU, threads=2)
    made = bundle.open_network(role, device=CPU, threads=2, graphs=Graphs(store))
    assert store.shares()[KIND].entries == 1
    kept = bundle.open_network(role, device=CPU, threads=2, graphs=Graphs(store))
    feeds = plain.noise(16000 if role == "audio" else 2)
    if role == "audio":
        feeds = {name: values[:1] for name, values in feeds.items()}
    names = [info.name for info in plain.outputs]
    for one, other, third in zip(*(net.run(names, feeds) for net in (plain, made, kept)), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)


def test_a_damaged_graph_is_made_anew(make_network: MakeNetwork, store: Store, tmp_path: Path) -> None:
    network = make_network("Sqrt")
    answer(network, store)
    entry = only_entry(tmp_path)
    sound = entry.read_bytes()
    entry.write_bytes(sound[:-1])
    assert answer(network, store) == [1, 2, 3, 4]
    assert entry.read_bytes() == sound


def test_what_is_no_graph_is_passed_over(make_network: MakeNetwork, store: Store) -> None:
    network = make_network("Sqrt")
    put(store, network, b"sound, and no network")
    assert answer(network, store) == [1, 2, 3, 4]


def test_a_broken_network_is_told_of_as_ever(make_network: MakeNetwork, store: Store) -> None:
    with pytest.raises(DhError) as caught:
        answer(make_network("Sqrt")[:-20], store)
    assert caught.value.code == "model.corrupt"
    assert store.shares() == {}


@pytest.mark.parametrize("times", [0, 15])
def test_nothing_is_kept_that_would_push_out_much(make_network: MakeNetwork, tmp_path: Path, times: int) -> None:
    network = make_network("Sqrt")
    store = Store(tmp_path / "cache", times * len(network))
    assert answer(network, store) == [1, 2, 3, 4]
    assert store.shares() == {}
    assert store.take_trouble() is None


def test_with_a_limit_of_nothing_what_is_there_is_used(make_network: MakeNetwork, store: Store) -> None:
    network = make_network("Sqrt")
    put(store, network, make_network("Neg"))
    assert answer(network, store.reader()) == [-1, -4, -9, -16]


def test_a_large_network_is_not_kept(make_network: MakeNetwork, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network("Sqrt")
    monkeypatch.setattr(graphs, "MOST_BYTES", len(network) - 1)
    assert answer(network, store) == [1, 2, 3, 4]
    assert store.shares() == {}


def test_a_folder_that_takes_nothing_is_no_trouble(make_network: MakeNetwork, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    store = Store(tmp_path / "cache")
    network = make_network("Sqrt")
    assert answer(network, store) == [1, 2, 3, 4]
    assert store.get(KIND, Graphs(store).key(network, BUILD)) is None, "it is in memory"
    assert "cache" in (store.take_trouble() or "")


def test_where_no_graph_can_be_written_the_network_is_opened(
    make_network: MakeNetwork, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inference, "memory_file", full)
    assert answer(make_network("Sqrt"), store) == [1, 2, 3, 4]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], str | None]:
    """What `processor` says on a machine with this /proc/cpuinfo."""

    def ask(text: str | None) -> str | None:
        path = tmp_path / "cpuinfo"
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(graphs, "CPUINFO", path)
        return processor.__wrapped__()

    return ask


def test_another_processor_has_other_graphs(told: Callable[[str | None], str | None]) -> None:
    assert told(INTEL.format("2100.0", "avx2")) == "flags: fpu avx2; model: 85; vendor_id: GenuineIntel"
    assert told(INTEL.format("2700.1", "avx2")) == told(INTEL.format("2100.0", "avx2"))
    assert told(INTEL.format("2100.0", "avx2 avx512f")) != told(INTEL.format("2100.0", "avx2"))


def test_a_processor_that_nobody_tells_of_has_no_graphs(
    told: Callable[[str | None], str | None], make_network: MakeNetwork, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(None) is None
    assert told("no names here\n") is None
    monkeypatch.setattr(graphs, "processor", lambda: None)
    assert answer(make_network("Sqrt"), store) == [1, 2, 3, 4]
    assert store.shares() == {}


def test_a_kept_graph_says_how_large_it_is(make_network: MakeNetwork, store: Store) -> None:
    answer(make_network("Sqrt"), store)
    assert store.shares() == {KIND: Share(1, 4096)}
