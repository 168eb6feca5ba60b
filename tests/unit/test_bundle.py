from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest

from dhcli.errors import DhError
from dhcli.jobs import strict_yaml
from dhcli.networks import bundle
from dhcli.networks.bundle import available_models, load_bundle
from dhcli.networks.descriptor import model_schema
from dhcli.networks.network import Device

MakeNetwork = Callable[..., bytes]
CPU = Device("cpu")
HEAD = "schema_version: 1\nname: tiny\nfamily: dh_base\nversion: 1.2.0\nlicence: MIT\ndescription: one node\n"


def _descriptor(data: bytes, *, shape: str = "[n, 4]", dtype: str = "float32", output: str = "y") -> str:
    digest = hashlib.sha256(data).hexdigest()
    return (
        f"{HEAD}files:\n  net: {{path: net.onnx, bytes: {len(data)}, sha256: {digest}}}\n"
        f"networks:\n  net:\n    inputs: {{x: {{dtype: {dtype}, shape: {shape}}}}}\n"
        f"    outputs: {{{output}: {{dtype: float32, shape: [n, 4]}}}}\n"
    )


@pytest.fixture
def folder(tmp_path: Path, make_network: MakeNetwork) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    data = make_network()
    (folder / "net.onnx").write_bytes(data)
    (folder / "model.yaml").write_text(_descriptor(data))
    return folder


def _error(folder: Path, name: str = "tiny") -> DhError:
    with pytest.raises(DhError) as caught:
        load_bundle(name, [folder.parent]).open_network("net", device=CPU)
    return caught.value


def test_bundle_is_loaded_and_its_network_opens(folder: Path) -> None:
    bundle = load_bundle("tiny", [folder.parent])
    assert (bundle.name, bundle.version, bundle.family, bundle.licence) == ("tiny", "1.2.0", "dh_base", "MIT")
    assert bundle.open_network("net", device=CPU).name == "net"
    assert bundle.read("net") == (folder / "net.onnx").read_bytes()
    assert "tiny" in available_models([folder.parent])


def test_hash_of_the_whole_follows_every_file(folder: Path, make_network: MakeNetwork) -> None:
    before = load_bundle("tiny", [folder.parent]).sha256
    assert load_bundle("tiny", [folder.parent]).sha256 == before
    data = make_network("Sqrt")
    (folder / "net.onnx").write_bytes(data)
    (folder / "model.yaml").write_text(_descriptor(data))
    assert load_bundle("tiny", [folder.parent]).sha256 != before


def test_named_folders_come_before_the_environment(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("models")
    (folder.rename(other / "tiny"))
    monkeypatch.setenv("DH_MODELS_DIR", f"/nowhere:{other}")
    assert load_bundle("tiny").folder == other / "tiny"
    assert load_bundle("tiny", [Path("/nowhere")]).folder == other / "tiny"


@pytest.mark.parametrize("beside", ["pyproject.toml", "other.toml"])
def test_models_of_a_checkout_are_used_and_those_of_strangers_beside_an_installed_dh_are_not(
    beside: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.parent.joinpath(beside).write_text("")
    monkeypatch.setattr(bundle, "__file__", str(folder.parent / "src" / "dhcli" / "networks" / "bundle.py"))
    (folder.parent / "models").symlink_to(folder.parent)
    assert ("tiny" in available_models()) == (beside == "pyproject.toml")


def test_a_folder_that_may_not_be_entered_has_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.stat

    def denied(path: Any, **options: Any) -> os.stat_result:
        if tmp_path in Path(path).parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", denied)  # root may enter every folder
    assert available_models([tmp_path / "closed"]) == ("dh-base", "face-finder")
    with pytest.raises(DhError) as caught:
        load_bundle("tiny", [tmp_path / "closed"])
    assert caught.value.code == "model.missing"


@pytest.mark.parametrize("name", ["nope", "../tiny", "", "tiny/../tiny", "."])
def test_missing_model_names_those_that_exist_and_where_it_looked(folder: Path, name: str) -> None:
    error = _error(folder, name)
    assert error.code == "model.missing"
    assert "dh-base, face-finder, tiny" in error.hint
    assert str(folder.parent) in error.hint


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b"short", "it has 5 bytes, not"),
    ],
)
def test_what_stands_in_for_a_file_is_recognised(folder: Path, content: bytes, found: str) -> None:
    (folder / "net.onnx").write_bytes(content)
    error = _error(folder)
    assert error.code == "model.corrupt"
    assert found in error.message
    assert "net.onnx" in error.message


def test_one_flipped_bit_is_found_by_the_hash(folder: Path) -> None:
    data = bytearray((folder / "net.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "net.onnx").write_bytes(data)
    error = _error(folder)
    assert error.code == "model.corrupt"
    assert hashlib.sha256(data).hexdigest() in error.message


def test_missing_file_and_missing_role(folder: Path) -> None:
    with pytest.raises(DhError, match="no file 'face'") as caught:
        load_bundle("tiny", [folder.parent]).read("face")
    assert caught.value.code == "model.incompatible"
    (folder / "net.onnx").unlink()
    assert _error(folder).code == "model.missing"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"shape": "[n, 5]"}, r"input is x (n, 4) float32, expected x (n, 5) float32"),
        ({"shape": "[n, 4, 1]"}, "expected x (n, 4, 1) float32"),
        ({"dtype": "float16"}, "expected x (n, 4) float16"),
        ({"output": "codes"}, "output codes (n, 4) float32 is missing (it has: y)"),
    ],
)
def test_network_that_differs_from_its_descriptor(folder: Path, change: dict[str, str], found: str) -> None:
    (folder / "model.yaml").write_text(_descriptor((folder / "net.onnx").read_bytes(), **change))
    error = _error(folder)
    assert error.code == "model.incompatible"
    assert found in error.message


def test_free_batch_cannot_be_served_by_a_fixed_one(folder: Path, make_network: MakeNetwork) -> None:
    data = make_network(shape=(1, 4))
    (folder / "net.onnx").write_bytes(data)
    (folder / "model.yaml").write_text(_descriptor(data))
    assert _error(folder).code == "model.incompatible"


@pytest.mark.parametrize(
    ("old", "new", "code", "found"),
    [
        ("schema_version: 1", "schema_version: 2", "model.incompatible", "newer dh"),
        ("schema_version: 1", "schema_version: one", "model.corrupt", "schema_version"),
        ("name: tiny", "name: other", "model.corrupt", "descriptor of 'other'"),
        ("path: net.onnx", "path: ../net.onnx", "model.corrupt", "files.net.path"),
        ("path: net.onnx", "pahth: net.onnx", "model.corrupt", "files.net.pahth"),
        ("licence: MIT", "licence: MIT\nlicence: BSD", "model.corrupt", "duplicate key"),
        ("networks:\n  net:", "networks:\n  nut:", "model.corrupt", "networks without a file: nut"),
        (HEAD, "[]\n", "model.corrupt", "model.yaml"),
    ],
)
def test_damaged_descriptor_says_where(folder: Path, old: str, new: str, code: str, found: str) -> None:
    path = folder / "model.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    error = _error(folder)
    assert error.code == code
    assert found in error.message


SHIPPED = {
    "dh-base": {"audio", "face", "face_int8", "face_fp16", "geometry"},
    "face-finder": {"detect", "landmarks", "mesh"},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_sound(name: str) -> None:
    bundle = load_bundle(name)
    assert set(bundle.files) == SHIPPED[name]
    assert set(bundle.networks) == SHIPPED[name] - {"geometry", "mesh"}
    for role, file in bundle.files.items():
        assert hashlib.sha256(bundle.read(role)).hexdigest() == file.sha256
    for role in bundle.networks:
        assert bundle.open_network(role, device=CPU, threads=1).name == role


@pytest.mark.parametrize("name", SHIPPED)
def test_the_networks_that_ship_are_read_by_every_processor_and_those_for_gpus_there(name: str) -> None:
    """A layout for one processor's registers has a domain of its own; not all that is ONNX Runtime's runs on a GPU."""
    bundle, anywhere = load_bundle(name), {"Gelu", "QuickGelu", "FusedMatMul"}
    for role in bundle.networks:
        nodes = onnx.load_from_string(bundle.read(role)).graph.node
        assert {one.domain for one in nodes} <= {"", "com.microsoft"}
        theirs = {one.op_type for one in nodes if one.domain}
        assert role == "face_int8" or theirs <= anywhere, role


def test_schema_describes_every_key() -> None:
    schema = model_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        assert all(field.get("description") for field in part.get("properties", {}).values())


def test_shipped_descriptor_fits_the_schema() -> None:
    written = strict_yaml.plain(strict_yaml.load((load_bundle("dh-base").folder / "model.yaml").read_bytes(), "m"))
    assert isinstance(written, dict)
    assert set(written) == set(model_schema()["required"])
