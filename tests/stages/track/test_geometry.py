"""Reading the numbers of a model: geometry.npz and mesh.npz."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import CLOSED_GAP, LOWER_LIP, SHAPES, UPPER_LIP, Geometry, load_geometry
from dhcli.render import face_finder
from dhcli.render.face_finder import FaceFinder, load_mesh


def archive(shapes: Mapping[str, tuple[int, ...]] = SHAPES, **changes: Any) -> bytes:
    arrays = {key: np.zeros(shape, np.int32 if len(shape) == 1 else np.float32) for key, shape in shapes.items()}
    data = io.BytesIO()
    np.savez(data, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return data.getvalue()


def test_whole_archive_is_taken() -> None:
    assert load_geometry(archive(basis=np.random.default_rng(0).random((12, 106, 3)))).basis.dtype == np.float64


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "not an .npz"),
        (b"PK\x03\x04 cut", "not an .npz"),
        (archive(basis=None), "no array 'basis'"),
        (archive(mouth=np.zeros(105, np.int32)), r"'mouth' is int32 \(105,\)"),
        (archive(mouth=np.full(106, 478)), "'mouth' names landmarks outside"),
        (archive(projection=np.full((12, 106, 3), np.nan)), "'projection' has values that are not numbers"),
        (archive(basis=np.zeros((12, 106, 3))), "the codes of 'basis' cannot open"),
        (archive(basis=np.full((12, 106, 3), "x")), "'basis' is <U1"),
        (archive(basis=np.full((12, 106, 3), None)), "not an .npz archive of plain arrays"),
    ],
)
def test_what_does_not_fit_is_named(data: bytes, found: str) -> None:
    with pytest.raises(DhError, match=found) as caught:
        load_geometry(data)
    assert caught.value.code == "model.incompatible"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"canonical": None}, "no array 'canonical'"),
        ({"stable": np.full(38, 478)}, "'stable' names landmarks outside"),
        ({"canonical": np.full((478, 3), np.inf)}, "'canonical' has values that are not numbers"),
    ],
)
def test_a_mesh_that_does_not_fit_is_named(changes: dict[str, Any], found: str) -> None:
    assert load_mesh(archive(face_finder.SHAPES)).canonical.shape == (478, 3)
    with pytest.raises(DhError, match=found) as caught:
        load_mesh(archive(face_finder.SHAPES, **changes))
    assert caught.value.code == "model.incompatible"


def test_open_smile_is_closed_along_the_basis(geometry: Geometry, finder: FaceFinder) -> None:
    mouth = finder.mesh.canonical[geometry.mouth].copy()
    mouth[LOWER_LIP, 1] = mouth[UPPER_LIP, 1] + 0.3
    closed = geometry.closed(mouth)
    assert closed[LOWER_LIP, 1] - closed[UPPER_LIP, 1] == pytest.approx(CLOSED_GAP)
    mouth[LOWER_LIP, 1] = mouth[UPPER_LIP, 1] + 0.01
    assert geometry.closed(mouth) is mouth


def test_mouth_code_of_a_code_is_itself(geometry: Geometry, finder: FaceFinder) -> None:
    code = np.linspace(-1, 1, 12)
    rest = finder.mesh.canonical[geometry.mouth]
    assert np.allclose(geometry.mouth_code(rest + np.tensordot(code, geometry.basis, 1), rest), code, atol=1e-4)
