"""`dh models remove`: the model goes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dhcli.errors import DhError
from dhcli.install.remove import remove_model
from dhcli.networks.descriptor import DESCRIPTOR


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where models are."""
    return tmp_path / "models"


def test_models_that_come_with_dh_stay(place: Path) -> None:
    with pytest.raises(DhError, match="comes with dh and stays"):
        remove_model("dh-base", (place,))
    with pytest.raises(DhError, match="There is no model 'nobody'"):
        remove_model("nobody", (place,))


def test_a_name_with_dots_is_no_way_out(place: Path, tmp_path: Path) -> None:
    place.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / DESCRIPTOR).write_text("broken")
    with pytest.raises(DhError, match="There is no model"):
        remove_model("../other", (place,))
    assert (other / DESCRIPTOR).exists()


def test_a_link_that_leads_nowhere_can_be_removed(place: Path) -> None:
    place.mkdir()
    (place / "mine").symlink_to("/nowhere")
    assert remove_model("mine", (place,)).files == ()
    assert not (place / "mine").is_symlink()


def test_what_lies_beside_a_model_stays(place: Path) -> None:
    folder = place / "mine"
    folder.mkdir(parents=True)
    (folder / DESCRIPTOR).write_text("broken")
    (folder / "network.onnx").write_bytes(b"x")
    (folder / "notes.txt").write_text("mine")
    gone = remove_model("mine", (place,))
    assert (gone.files, gone.left) == (("network.onnx", DESCRIPTOR), ("notes.txt",))
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
