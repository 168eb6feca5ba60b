"""The option `enhancer`: a network of GFPGAN's contract over the new face."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dhcli.errors import DhError
from dhcli.families.registry import family_of
from dhcli.networks.bundle import load_bundle
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Settings
from dhcli.types import Frame

SIDE = 512


def network(side: int = SIDE, strength: float = 2.0) -> bytes:
    """Each px away from the mean of its neighbours: what a sharpening network does, without its invention."""
    shape: list[str | int | None] = ["n", 3, side, side]
    kernel = np.zeros((3, 1, 5, 5), np.float32) - strength / 25
    kernel[:, :, 2, 2] += 1 + strength
    nodes = [
        helper.make_node("Pad", ["input", "pads"], ["wide"], mode="edge"),
        helper.make_node("Conv", ["wide", "kernel"], ["output"], group=3),
    ]
    pads = numpy_helper.from_array(np.array([0, 0, 2, 2, 0, 0, 2, 2], np.int64), "pads")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph(
        nodes, "sharpen", tensors[:1], tensors[1:], [pads, numpy_helper.from_array(kernel, "kernel")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_bundle(folder: Path, data: bytes, name: str = "sharper", family: str = "enhancer") -> None:
    folder = folder / name
    folder.mkdir(parents=True)
    (folder / "network.onnx").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / "model.yaml").write_text(
        f"schema_version: 1\nname: {name}\nfamily: {family}\nversion: '1'\nlicence: CC0-1.0\ndescription: for tests\n"
        f"files:\n  network: {{path: network.onnx, bytes: {len(data)}, sha256: {sha256}}}\nnetworks: {{}}\n"
    )


def sharpness(frame: Frame, rows: slice, columns: slice) -> float:
    return float(cv2.Laplacian(frame.y[rows, columns], cv2.CV_64F).var())


Render = Callable[..., JobResult]


@pytest.fixture
def render(tmp_path: Path, speech: Path, avatar: Path) -> Render:
    """Ten frames of the avatar with the models in a folder; gives the result."""

    def run(name: str, **options: object) -> JobResult:
        from dhcli.jobs.options import Job, JobOptions

        models = Models((tmp_path / "models",), Device("cpu"), 2)
        options = {"crf": 0, "preset": "ultrafast", **options}
        job = Job(0, None, name, speech, avatar, tmp_path / f"{name}.mp4", JobOptions.model_validate(options))
        settings = Settings(models, limit_frames=10)
        Batch(settings, lambda _: None).run([job])
        result = read_result(settings.result_path(job))
        assert result is not None
        return result

    return run


@pytest.mark.slow
def test_a_face_is_sharpened_where_the_mouth_is_new(
    render: Render, tmp_path: Path, decoded: Callable[..., list[Frame]]
) -> None:
    write_bundle(tmp_path / "models", network())
    plain, sharp = render("plain"), render("sharp", enhancer="sharper")
    assert sharp.status == "succeeded", sharp.error
    assert sharp.environment.enhancer is not None
    assert (sharp.environment.enhancer.name, plain.environment.enhancer) == ("sharper", None)
    before, after = (decoded(tmp_path / f"{name}.mp4", 400, 300)[9] for name in ("plain", "sharp"))
    mouth = slice(195, 230), slice(190, 232)
    assert sharpness(after, *mouth) > 1.5 * sharpness(before, *mouth)
    assert np.array_equal(after.y[:130], before.y[:130]), "eyes and all above stay"


@pytest.mark.slow
def test_another_enhancer_makes_the_output_stale(render: Render, tmp_path: Path) -> None:
    write_bundle(tmp_path / "models", network())
    first = render("one", enhancer="sharper")
    assert render("one", enhancer="sharper").started_at == first.started_at, "up to date"
    (tmp_path / "models/sharper").rename(tmp_path / "before")
    write_bundle(tmp_path / "models", network(strength=1.0))
    again = render("one", enhancer="sharper")
    assert again.started_at != first.started_at
    assert again.status == "succeeded", again.error


@pytest.mark.parametrize(
    ("bundle", "name", "code", "found"),
    [
        ({}, "nobody", "model.missing", "There is no model 'nobody'"),
        ({}, "dh-base", "model.incompatible", "is of the family 'dh_base', and no enhancer"),
        ({"data": network(side=256)}, "sharper", "model.incompatible", "expected one input (n, 3, 512, 512); it has"),
    ],
)
def test_what_is_no_enhancer_ends_the_job(
    render: Render, tmp_path: Path, bundle: dict[str, bytes], name: str, code: str, found: str
) -> None:
    if bundle:
        write_bundle(tmp_path / "models", bundle["data"])
    result = render("bad", enhancer=name)
    assert result.error is not None
    assert result.error.code == code
    assert found in result.error.message


def test_an_enhancer_that_is_named_as_the_model_says_how_to_name_it(tmp_path: Path) -> None:
    write_bundle(tmp_path, network())
    with pytest.raises(DhError, match="'sharper' is an enhancer") as caught:
        family_of(load_bundle("sharper", (tmp_path,)))
    assert caught.value.code == "model.incompatible"
    assert "enhancer: sharper" in (caught.value.hint or "")
