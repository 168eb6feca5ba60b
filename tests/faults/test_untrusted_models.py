"""Models of strangers: a bundle is its own files with their hashes, and a network in it can reach nothing else."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import SHAPES, load_geometry
from dhcli.networks.bundle import available_models, load_bundle
from dhcli.networks.network import Device

pytestmark = pytest.mark.slow

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


def no_file(path: Path, kind: str) -> None:
    """Something else under a file's name."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))  # the whole path is too long for one
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to("nowhere")


KINDS = ["pipe", "socket", "device", "folder", "link to nothing"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["net.onnx", "model.yaml"])
def test_what_is_no_file_is_no_model_and_hides_none(
    kind: str, file: str, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found first, it is the error: the sound model of the same name in a later folder is another one."""
    monkeypatch.chdir(tmp_path)
    good = install(b"x")
    sound = good.rename(tmp_path / "sound")
    broken = install(b"x") / "evil" / file
    no_file(broken, kind)
    assert load_bundle("evil", [sound]).read("face") == b"x"
    assert "evil" in available_models([broken.parents[1]])
    with pytest.raises(DhError) as caught:
        load_bundle("evil", [broken.parents[1], sound])
    assert caught.value.code == ("model.missing" if kind == "link to nothing" else "model.corrupt")
    assert str(broken) in caught.value.message


@pytest.mark.parametrize("left", ["nothing", "a file in its place", "a link to nothing", "a half copy"])
def test_a_model_that_was_half_copied_hides_none(left: str, install: Install, tmp_path: Path) -> None:
    sound = install(b"x").rename(tmp_path / "sound")
    place = tmp_path / "half"
    place.mkdir()
    if left == "a file in its place":
        (place / "evil").write_bytes(b"x")
    elif left == "a link to nothing":
        (place / "evil").symlink_to("nowhere")
    else:
        (place / "evil").mkdir()
        if left == "a half copy":
            (place / "evil/net.onnx").write_bytes(b"x")
    with pytest.raises(DhError) as caught:
        load_bundle("evil", [place, sound])
    assert caught.value.code == "model.missing"
    assert str(place / "evil/model.yaml") in caught.value.message


@pytest.mark.parametrize("verb", ["models list", "models verify evil", "models info evil", "doctor"])
def test_no_verb_waits_for_a_pipe(verb: str, install: Install) -> None:
    models = install(b"x")
    no_file(models / "evil/net.onnx", "pipe")
    ended = cli(*verb.split(), "--models-dir", str(models))
    assert ended.returncode == 69, ended.stderr
    assert "net.onnx: not a regular file" in ended.stderr


def cli(*arguments: str, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit_bytes}, {limit_bytes})); "
    program = f"{limit if limit_bytes else ''}from dhcli.cli import main; main()"
    argv = [sys.executable, "-c", program, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.parametrize("size", [300 << 30, 640 << 20], ids=["300 GB", "640 MB"])
def test_a_large_file_needs_no_memory(size: int, install: Install) -> None:
    """Its content is nothing, on the disk as well; 640 MB is a size that a network may have."""
    models = install(b"x")
    os.truncate(models / "evil/net.onnx", size)
    descriptor = models / "evil/model.yaml"
    descriptor.write_text(descriptor.read_text().replace("bytes: 1,", f"bytes: {size},"))
    ended = cli("models", "verify", "evil", "--models-dir", str(models), limit_bytes=600 << 20)
    assert ended.returncode == 69, ended.stderr
    assert "[model.corrupt]" in ended.stderr
    assert ("SHA-256" in ended.stderr) == (size < 2 << 30)


def test_a_file_that_does_not_fit_into_the_memory_is_named(install: Install) -> None:
    models = install(b"x")
    size = 1 << 30
    os.truncate(models / "evil/net.onnx", size)
    descriptor = models / "evil/model.yaml"
    descriptor.write_text(descriptor.read_text().replace("bytes: 1,", f"bytes: {size},"))
    program = (
        "import resource; from dhcli.networks.bundle import load_bundle; from dhcli.errors import DhError\n"
        f"bundle = load_bundle('evil', [__import__('pathlib').Path({str(models)!r})])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (768 << 20,) * 2)\n"
        "try: bundle.read('face')\nexcept DhError as error: print(error.code, error.message)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.startswith("job.out_of_memory")
    assert "net.onnx" in said


def test_a_descriptor_is_read_whole_or_not_at_all(install: Install) -> None:
    """Its first MiB alone would be a sound one."""
    models = install(b"x")
    with (models / "evil/model.yaml").open("ab") as file:
        file.write(b"#" * (1 << 20) + b"\nfamily: another\n")
    assert opened(models).code == "model.corrupt"
    os.truncate(models / "evil/model.yaml", 1 << 30)
    assert "no descriptor is so large" in opened(models).message


def test_a_number_of_many_digits_is_no_version(install: Install) -> None:
    models = install(b"x")
    path = models / "evil/model.yaml"
    path.write_text(path.read_text().replace("schema_version: 1", f"schema_version: {'9' * 5000}"))
    assert opened(models).code == "model.corrupt"


def npz(compression: int = zipfile.ZIP_DEFLATED, **changed: bytes) -> bytes:
    """A geometry, some of whose arrays are these bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for key, shape in SHAPES.items():
            array = io.BytesIO()
            np.save(array, np.zeros(shape, np.int32 if len(shape) == 1 else np.float32))
            archive.writestr(f"{key}.npy", changed.get(key, array.getvalue()))
    return made.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


NUMBERS = "{'descr': '<f8', 'fortran_order': False, 'shape': (12, 106, 3), }"


def large() -> bytes:
    array = io.BytesIO()
    np.save(array, np.zeros((4 << 20, 3)))
    return npz(basis=array.getvalue())


def damaged() -> bytes:
    data = bytearray(npz())
    data[data.find(b"basis.npy") + 60] ^= 255
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        pytest.param(large, r"'basis' is float64 \(4194304, 3\), not numbers", id="a bomb"),
        pytest.param(lambda: npz(basis=header(NUMBERS) + bytes(96 << 20)), "has 100663296 bytes", id="more than said"),
        pytest.param(
            lambda: npz(basis=header(NUMBERS.replace("(12", "(9999999"))), r"\(9999999, 106", id="claims more"
        ),
        pytest.param(lambda: npz(basis=header(NUMBERS)), "'basis' has 0 bytes", id="less than said"),
        pytest.param(lambda: npz(basis=header(NUMBERS.replace("<f8", "|O")) + b"x"), "has objects", id="a pickle"),
        pytest.param(lambda: npz(basis=pickle.dumps([1])), "not an .npz archive", id="a bare pickle"),
        pytest.param(lambda: npz(basis=header("-" * 9000 + "1")), "not an .npz archive", id="a deep header"),
        pytest.param(lambda: npz(zipfile.ZIP_LZMA), "compressed in a way", id="another compression"),
        pytest.param(damaged, "not an .npz archive", id="damaged inside"),
        pytest.param(lambda: npz() + bytes(2 << 20), r"and may have \d+", id="a tail"),
    ],
)
def test_an_archive_of_numbers_is_not_unpacked_before_it_is_known(make: Callable[[], bytes], found: str) -> None:
    data = make()
    tracemalloc.start()
    try:
        with pytest.raises(DhError, match=found) as caught:
            load_geometry(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.code == "model.incompatible"


def test_an_archive_in_either_order_of_numbers_is_read() -> None:
    numbers = np.random.default_rng(0).random((12, 106, 3))
    saved = io.BytesIO()
    np.save(saved, np.asfortranarray(numbers))
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert (load_geometry(npz(compression, basis=saved.getvalue())).basis == numbers).all()
