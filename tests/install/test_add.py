"""`dh models add`: from a file to a model that has rendered a second, or to nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.install.add import Wanted, add_model
from dhcli.install.recognise import UnknownNetworkError
from dhcli.install.remove import remove_model
from dhcli.networks.bundle import load_bundle
from dhcli.networks.descriptor import DESCRIPTOR
from families.probes import CONTRACTS, probe

Dh = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where models go."""
    return tmp_path / "models"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "mine.onnx"
    path.write_bytes(probe(CONTRACTS["wav2lip"], "echo"))
    return path


@pytest.fixture
def dh(tmp_path: Path, place: Path) -> Dh:
    """The program; its models and its cache are the test's."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DH_MODELS_DIR": str(place), "DH_CACHE_DIR": str(tmp_path / "cache")}
        argv = [sys.executable, "-m", "dhcli", *map(str, arguments)]
        return subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def add(place: Path, source: Path, **how: object) -> None:
    wanted = {"source": str(source), "name": "mine", "models_dirs": (place,), **how}
    add_model(Wanted(**wanted), lambda *_: None, lambda _: None)  # type: ignore[arg-type]


def refused(place: Path, source: Path, **how: object) -> DhError:
    """The error of a model that is not added; and nothing is there afterwards."""
    before = sorted(place.rglob("*")) if place.exists() else []
    with pytest.raises(DhError) as caught:
        add(place, source, **how)
    assert (sorted(place.rglob("*")) if place.exists() else []) == before, "nothing is left behind"
    return caught.value


@pytest.mark.slow
def test_one_command_from_the_file_to_the_first_frame(
    dh: Dh, network: Path, place: Path, speech: Path, avatar: Path
) -> None:
    added = dh("models", "add", network, "--name", "mine", "--licence", "CC0-1.0")
    assert added.returncode == 0, added.stderr
    for found in (str(place / "mine"), "preset wav2lip", "frames a second", "CC0-1.0", "model: mine"):
        assert found in added.stdout
    listed = json.loads(dh("models", "list", "--json").stdout)
    assert "mine" in {one["name"] for one in listed}
    files = ["--audio", speech, "--video", avatar, "--save-path", place / "out.mp4", "--limit-frames", "5"]
    rendered = dh("render", *files, "--set", "model=mine")
    assert rendered.returncode == 0, rendered.stderr
    assert json.loads((place / "out.mp4.json").read_text())["environment"]["model"]["name"] == "mine"
    again = dh("models", "add", network, "--name", "mine")
    assert again.returncode
    assert "There is a model 'mine' already" in again.stderr
    removed = dh("models", "remove", "mine", "--json")
    assert json.loads(removed.stdout)["removed"] == ["network.onnx", DESCRIPTOR]
    assert not (place / "mine").exists()


@pytest.mark.slow
@pytest.mark.parametrize("contract", ["wav2lip_hq", "facefusion_wav2lip", "edtalk"])
def test_what_is_recognised_is_written_down(place: Path, tmp_path: Path, contract: str) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(probe(CONTRACTS[contract], "echo"))
    add(place, path)
    bundle = load_bundle("mine", (place,))
    assert bundle.settings["preset"] == contract
    assert (bundle.licence, bundle.family) == ("unknown", "patch")
    bundle.check_all()


@pytest.mark.slow
def test_settings_and_a_second_file(place: Path, tmp_path: Path) -> None:
    from families.probes import encoder

    main, ears = tmp_path / "dinet.onnx", tmp_path / "wenet.onnx"
    main.write_bytes(probe(CONTRACTS["dinet"], "echo"))
    ears.write_bytes(encoder("wenet"))
    error = refused(place, main)
    assert "needs more files: encoder" in error.message
    assert "--file encoder=PATH" in (error.hint or "")
    add(place, main, files={"encoder": str(ears)}, settings={"padding": ["0", "5", "0", "0"]})
    bundle = load_bundle("mine", (place,))
    assert set(bundle.files) == {"network", "encoder"}
    assert bundle.settings["padding"] == ["0", "5", "0", "0"]


def test_a_network_of_other_tensors_is_shown_beside_what_was_expected(place: Path, repository: Path) -> None:
    error = refused(place, repository / "models/dh-base/face.onnx")
    assert isinstance(error, UnknownNetworkError)
    table = "\n".join(error.table)
    for found in ("expected by dinet", "found", "source_points (n, 106, 2)", "<- differs"):
        assert found in table


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PK\x03\x04 not a whole archive", "a zip archive"),
        (b"\x80\x02}q\x00.", "a pickle, as PyTorch writes"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "a safetensors file"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"", "it is empty"),
        (b"RIFF....WAVE", "network"),
    ],
)
def test_other_files_are_refused_by_their_content(place: Path, tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    error = refused(place, path)
    assert found in error.message
    assert error.code in {"model.incompatible", "model.corrupt"}


def test_a_pytorch_archive_is_told_how_to_export(place: Path, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "wav2lip.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wav2lip/data.pkl", b"")
    error = refused(place, path)
    assert "a PyTorch file" in error.message
    assert "torch.onnx.export" in (error.hint or "")


@pytest.mark.slow
def test_what_gives_no_numbers_is_not_installed(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.onnx"
    path.write_bytes(probe(CONTRACTS["wav2lip"], "nan"))
    error = refused(place, path)
    assert error.message.startswith("The self-test failed, and nothing is installed")
    assert "NaN" in error.message


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"name": "../mine"}, "--name ../mine"),
        ({"name": "dh-base"}, "There is a model 'dh-base' already"),
        ({"settings": {"preset": "wav2lop"}}, "there is no such preset"),
        ({"settings": {"colour": "red"}}, "no setting of the family 'patch'"),
        ({"settings": {"preset": "edtalk"}}, "none that dh knows"),
        ({"sha256": {"": "0" * 64}}, "its SHA-256 is"),
        ({"narrow": True, "family": "enhancer"}, ""),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_installed(
    place: Path, network: Path, how: dict[str, object], found: str
) -> None:
    assert found in refused(place, network, **how).message


def test_a_killed_add_leaves_nothing_that_is_listed(place: Path, network: Path) -> None:
    left = place / ".dh-adding-1234"
    (left / "mine").mkdir(parents=True)
    (left / "lock").write_bytes(b"")
    refused_name = pytest.raises(DhError)
    with refused_name:
        load_bundle("mine", (place,))
    with pytest.raises(DhError):  # the next one sweeps, whatever becomes of it
        add(place, network, settings={"crop": "nowhere"})
    assert not left.exists()


def test_models_that_come_with_dh_stay(place: Path) -> None:
    with pytest.raises(DhError, match="comes with dh and stays"):
        remove_model("dh-base", (place,))
    with pytest.raises(DhError, match="There is no model 'nobody'"):
        remove_model("nobody", (place,))


def test_what_lies_beside_a_model_stays(place: Path) -> None:
    folder = place / "mine"
    folder.mkdir(parents=True)
    (folder / DESCRIPTOR).write_text("broken")
    (folder / "network.onnx").write_bytes(b"x")
    (folder / "notes.txt").write_text("mine")
    gone = remove_model("mine", (place,))
    assert (gone.files, gone.left) == (("network.onnx", DESCRIPTOR), ("notes.txt",))
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_eight_bits_are_measured_and_written_beside(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "conv.onnx"
    path.write_bytes(smooth_network())
    wanted = Wanted(str(path), "mine", models_dirs=(place,), narrow=True)
    added = add_model(wanted, lambda *_: None, lambda _: None)
    assert added.int8_db is not None
    assert 38 <= added.int8_db < 80
    bundle = load_bundle("mine", (place,))
    assert set(bundle.files) == {"network", "network_int8"}
    bundle.check_all()


def smooth_network() -> bytes:
    """A Wav2Lip contract whose picture is the whole one under a 3 x 3 mean: something that 8 bits can hold."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.zeros((3, 6, 3, 3), np.float32)
    for channel in range(3):
        kernel[channel, 3 + channel] = 1 / 9
    tensors = {"mel": (1, 80, 16), "faces": (6, 96, 96), "frames": (3, 96, 96)}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name, shape in tensors.items()
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
