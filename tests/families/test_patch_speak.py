"""A patch network is asked in the batch that it has, for the pictures that it takes; its answer is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.family import Manner
from dhcli.families.patch.family import PatchFamily
from dhcli.families.patch.hearing import PatchAsked
from dhcli.families.patch.presets import recognise
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import Device, TensorInfo
from dhcli.types import F32
from families.probes import CONTRACTS, bundle, probe

WAV2LIP = CONTRACTS["wav2lip"]
Opened = Callable[..., PatchFamily]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """A network as a Wav2Lip model; `settings` beside those of its preset."""

    def opened(network: bytes, **settings: Any) -> PatchFamily:
        bundle(tmp_path / "models", "lips", WAV2LIP, network, **settings)
        return PatchFamily(Model(load_bundle("lips", [tmp_path / "models"]), Device("cpu"), 1))

    return opened


def ask(family: PatchFamily, pictures: list[F32], folder: Path) -> list[F32]:
    sound = np.random.default_rng(2).uniform(-4, 4, (1, 80, 16)).astype(np.float32)
    manner = Manner(Fraction(25), Scratch(folder / "out.mp4"))
    return family._painter.paint(pictures, [PatchAsked(sound, 1.0, manner)] * len(pictures))


def pictures(count: int) -> list[F32]:
    return [*np.random.default_rng(1).uniform(0, 255, (count, 96, 96, 3)).astype(np.float32)]


def sizes(values: onnx.ValueInfoProto) -> Any:
    return values.type.tensor_type.shape.dim


@pytest.mark.parametrize("fixed", [(1, 1), (1, None), (2, None), (None, 2)])
def test_a_batch_that_only_some_inputs_fix(opened: Opened, tmp_path: Path, fixed: tuple[int | None, ...]) -> None:
    model = onnx.load_from_string(probe(WAV2LIP, "echo"))
    for values, size in zip(model.graph.input, fixed, strict=True):
        if size is not None:
            sizes(values)[0].dim_value = size
    given = pictures(5)
    for picture, made in zip(given, ask(opened(model.SerializeToString()), given, tmp_path), strict=True):
        assert made == pytest.approx(picture, abs=1e-3)


@pytest.mark.parametrize("kind", ["masked", "whole"])
def test_a_network_may_take_one_picture_alone(opened: Opened, tmp_path: Path, kind: str) -> None:
    infos = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape])
        for name, shape in (("picture", (3, 96, 96)), ("sound", (1, 80, 16)), ("new", (3, 96, 96)))
    ]
    graph = helper.make_graph([helper.make_node("Identity", ["picture"], ["new"])], "one", infos[:2], infos[2:])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    family = opened(network, tensors={kind: "picture", "sound": "sound", "output": "new"})
    (given,) = pictures(1)
    (made,) = ask(family, [given], tmp_path)
    assert made[:48] == pytest.approx(given[:48], abs=1e-3)
    assert (made[48:].max() == 0) == (kind == "masked")


@pytest.mark.parametrize(("axis", "found"), [(0, "1 x 3 x 96 x 96"), (1, "4 x 1 x 96 x 96"), (2, "4 x 3 x 1 x 96")])
def test_an_answer_of_another_shape_is_the_networks_fault(
    opened: Opened, tmp_path: Path, axis: int, found: str
) -> None:
    """Its tensors leave the sizes free, so that only the answer tells: here the first of an axis."""
    model = onnx.load_from_string(probe(WAV2LIP, "echo"))
    last = model.graph.node[-1]
    model.graph.initializer.append(numpy_helper.from_array(np.array([True]), "first"))
    last.CopyFrom(helper.make_node("Compress", [last.input[0], "first"], [last.output[0]], axis=axis))
    for size in sizes(model.graph.output[0]):
        size.Clear()
    with pytest.raises(DhError, match=f"gave {found} numbers: expected 4 x 3 x 96 x 96") as caught:
        ask(opened(model.SerializeToString()), pictures(4), tmp_path)
    assert caught.value.code == "model.bad_output"


def infos(shapes: Mapping[str, tuple[int | str, ...]], dtype: str = "float32") -> list[TensorInfo]:
    return [TensorInfo(name, shape, dtype) for name, shape in shapes.items()]


def test_of_two_pictures_the_one_that_says_so_is_masked() -> None:
    picture = ("n", 3, 256, 256)
    for names, masked in ((("B_img", "mask_B"), "mask_B"), (("a", "b"), "a")):
        (match,) = recognise(
            infos({names[0]: picture, names[1]: picture, "lab": ("n", 256, 20)}), infos({"o": picture})
        )
        assert match.tensors["masked"] == masked


def test_networks_of_whole_numbers_are_none() -> None:
    inputs, output = {"mel": (1, 1, 80, 16), "faces": (1, 6, 96, 96)}, {"frames": (1, 3, 96, 96)}
    assert recognise(infos(inputs), infos(output))
    assert not recognise(infos(inputs, "uint8"), infos(output))
    assert not recognise(infos(inputs), infos(output, "uint8"))
