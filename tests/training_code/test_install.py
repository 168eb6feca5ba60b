"""A bundle of new networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from training.install import TOGETHER, install

from dhcli.networks.bundle import load_bundle

MODEL = Path(__file__).parents[2] / "models/dh-base"


def test_new_networks_become_a_model(tmp_path: Path) -> None:
    files = []
    for name in TOGETHER:
        files.append(tmp_path / name)
        files[-1].write_bytes(name.encode())
    install(tmp_path / "mine", files, MODEL)
    bundle = load_bundle("mine", [tmp_path])
    bundle.check_all()
    assert bundle.name == "mine"
    assert bundle.files["face_int8"].path.read_bytes() == b"face_int8.onnx"
    assert bundle.files["audio"].sha256 == load_bundle("dh-base").files["audio"].sha256


def test_a_new_face_network_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "face.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"face_fp16\.onnx, face_int8\.onnx missing"):
        install(tmp_path / "mine", [tmp_path / "face.onnx"], MODEL)
    assert not (tmp_path / "mine").exists()


def test_a_file_that_the_base_has_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no file other\.onnx"):
        install(tmp_path / "mine", [tmp_path / "other.onnx"], MODEL)
