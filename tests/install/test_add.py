"""`dh models add`: from a file to a model that has rendered a second, or to nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dhcli.errors import DhError
from dhcli.install.add import Wanted, add_model
from dhcli.install.recognise import UnknownNetworkError
from dhcli.networks.bundle import load_bundle
from dhcli.networks.descriptor import DESCRIPTOR
from families import latent_probes
from families.probes import CONTRACTS, probe

MUSETALK = latent_probes.Kind(size=256, channels=4, width=384)
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
def test_json_is_on_stdout_whatever_becomes_of_it(dh: Dh, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"RIFF....WAVE")
    for command in (("add", "bad.onnx", "--name", "mine"), ("remove", "mine")):
        ended = dh("models", *command, "--json")
        assert ended.returncode == 69
        told = json.loads(ended.stdout)
        assert told["name"] == "mine"
        assert told["error"]["code"] == ("model.corrupt" if command[0] == "add" else "model.missing")
        assert told["error"]["message"] in ended.stderr


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
def test_any_of_musetalks_four_files_can_come_first(place: Path, tmp_path: Path) -> None:
    paths = {}
    for role, content in latent_probes.networks(MUSETALK, "whole").items():
        paths[role] = tmp_path / f"{role}.onnx"
        paths[role].write_bytes(content)
    others = {role: str(path) for role, path in paths.items() if role != "vae_decoder"}
    error = refused(place, paths["hearing"], files={"unet": str(paths["unet"])})
    assert "needs more files: vae_encoder, vae_decoder; it has hearing, unet" in error.message
    swapped = others | {"hearing": str(paths["vae_encoder"]), "vae_encoder": str(paths["hearing"])}
    error = refused(place, paths["vae_decoder"], files=swapped)
    assert f"{paths['hearing']}: the network 'vae_encoder' does not fit" in error.message
    add(place, paths["vae_decoder"], files=others)
    bundle = load_bundle("mine", (place,))
    assert (bundle.family, set(bundle.files)) == ("latent", set(paths))
    assert "MuseTalk" in bundle.description


@pytest.mark.slow
def test_an_enhancer_is_tried_over_the_mouths_of_dh_base(
    dh: Dh, place: Path, tmp_path: Path, speech: Path, avatar: Path
) -> None:
    path = tmp_path / "gfpgan.onnx"
    path.write_bytes(sharpener())
    added = dh("models", "add", path, "--name", "sharp")
    assert added.returncode == 0, added.stderr
    assert "enhancer: sharp" in added.stdout
    files = ["--audio", speech, "--video", avatar, "--save-path", place / "out.mp4", "--limit-frames", "2"]
    assert dh("render", *files, "--set", "enhancer=sharp").returncode == 0
    assert json.loads((place / "out.mp4.json").read_text())["environment"]["enhancer"]["name"] == "sharp"


@pytest.mark.slow
def test_names_of_any_letters_are_written_down(place: Path, tmp_path: Path) -> None:
    names = {"mel": 'mel "\\\U0001f600\x85', "faces": "лица", "frames": "out:\n#1"}
    path = tmp_path / "strange.onnx"
    path.write_bytes(probe(CONTRACTS["wav2lip"], "echo", names=names))
    add(place, path, licence="Лицензия 1")
    bundle = load_bundle("mine", (place,))
    assert bundle.licence == "Лицензия 1"
    network = bundle.networks["network"]
    assert {info.name for info in (*network.inputs, *network.outputs)} == set(names.values())


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
    assert "dh models verify" not in (error.hint or ""), "it is not installed"


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"name": "../mine"}, "--name ../mine"),
        ({"name": "dh-base"}, "There is a model 'dh-base' already"),
        ({"settings": {"preset": "wav2lop"}}, "there is no such preset"),
        ({"settings": {"colour": "red"}}, "no setting of the family 'patch'"),
        ({"settings": {"preset": "edtalk"}}, "none that dh knows"),
        ({"sha256": {"": "0" * 64}}, "its SHA-256 is"),
        ({"narrow": True, "family": "enhancer"}, "networks of the family 'enhancer' are not quantised"),
        ({"files": {"../../evil": "mine.onnx"}}, "--file ../../evil=…: a role has letters"),
        ({"files": {"network": "other.onnx"}}, "its role is 'network', and --file network=… gives that to another"),
        ({"files": {"encodr": "mine.onnx"}}, "--file encodr=…: a model of the family 'patch'"),
        ({"files": {"network_fp16": "other.onnx"}}, "expected is the file 'network' in other numbers"),
        ({"settings": {"crop": "nowhere"}}, "--set: crop: Input should be 'face_box'"),
        ({"settings": {"size": "big"}}, "--set: size: "),
        ({"family": "latent", "settings": {"layers": "0"}}, "--set: layers: "),
        ({"licence": "\udcff"}, "--licence '\\udcff': expected one line of text"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_installed(
    place: Path, network: Path, how: dict[str, object], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(network.parent)
    other = network.with_name("other.onnx")
    other.write_bytes(probe(CONTRACTS["wav2lip_256"], "echo"))
    assert found in refused(place, network, **how).message
    assert {*network.parent.rglob("*.onnx")} == {network, other}


def test_more_than_two_gibibytes_are_refused_before_they_are_read(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x08")
        file.truncate(3 << 30)  # a hole: it takes no room
    error = refused(place, path)
    assert (error.code, "3221225472 bytes" in error.message) == ("model.incompatible", True)
    assert "16-bit" in (error.hint or "")


def test_a_killed_add_leaves_nothing_that_is_listed(place: Path, network: Path) -> None:
    left = place / ".dh-adding-1234"
    (left / "mine").mkdir(parents=True)
    (left / "lock").write_bytes(b"")
    refused_name = pytest.raises(DhError)
    with refused_name:
        load_bundle("mine", (place,))
    with pytest.raises(DhError):  # the next one sweeps, whatever becomes of it
        add(place, network, sha256={"": "0" * 64})
    assert not left.exists()


@pytest.mark.parametrize("described", [True, False])
def test_what_is_no_part_of_a_model_is_not_replaced(place: Path, network: Path, described: bool) -> None:
    folder = place / "mine"
    folder.mkdir(parents=True)
    (folder / "network.onnx").write_bytes(b"x")
    if described:
        (folder / DESCRIPTOR).write_text("broken")
        (folder / "notes.txt").write_text("mine")
    error = refused(place, network, replace=True)
    assert f"no part of a model: {'notes.txt' if described else 'network.onnx'}" in error.message


def sharpener() -> bytes:
    """GFPGAN's contract; the picture as it is."""
    from onnx import TensorProto, helper

    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 512, 512]) for name in ("in", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["in"], ["out"])], "same", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
