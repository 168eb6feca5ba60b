"""A part of a frame."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dhcli.stages.cutout import cut_out
from dhcli.types import Frame

FRAME = Frame(7, np.random.default_rng(0).integers(0, 256, (24 * 3 // 2, 32), np.uint8))
corners = st.tuples(st.floats(-50, 50), st.floats(-50, 50)).map(np.array)


@given(corners, corners, st.sampled_from([2, 8]))
def test_every_plane_is_the_same_part(
    a: np.typing.NDArray[np.float64], b: np.typing.NDArray[np.float64], grid: int
) -> None:
    low, high = np.minimum(a, b), np.maximum(a, b)
    cutout = cut_out(FRAME, low, high, grid)
    part, origin = cutout.frame, cutout.origin
    x, y = (int(v) for v in origin)
    assert part.index == 7
    assert x % 2 == y % 2 == part.width % 2 == part.height % 2 == 0
    assert np.array_equal(part.y, FRAME.y[y : y + part.height, x : x + part.width])
    for mine, whole in ((part.u, FRAME.u), (part.v, FRAME.v)):
        assert np.array_equal(mine, whole[y // 2 : (y + part.height) // 2, x // 2 : (x + part.width) // 2])
    assert x % grid == 0 or x == 30
    assert y % grid == 0 or y == 22
    assert np.allclose(cutout.matrix(np.eye(2, 3)), [[1, 0, x], [0, 1, y]])
    inside = np.clip([low, high], 0, [32, 24])
    if (inside[1] - inside[0] > 0).all():
        assert (origin <= inside[0]).all()
        assert (origin + np.array([part.width, part.height]) >= inside[1]).all()
