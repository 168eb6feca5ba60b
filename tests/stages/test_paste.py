"""A colour patch in a frame, which families can use for their new mouths."""

from __future__ import annotations

import numpy as np
import pytest

from dhcli.stages.align import crop_yuv, to_rgb, yuv_matrix
from dhcli.stages.paste import ColourPatch
from dhcli.types import F32, F64, Colour, Frame

WIDTH, HEIGHT, SIDE = 96, 64, 32
YUV = yuv_matrix(Colour(), HEIGHT)
GREEN = (20.0, 200.0, 40.0)


def noise() -> Frame:
    data = np.random.default_rng(1).integers(16, 236, (HEIGHT * 3 // 2, WIDTH)).astype(np.uint8)
    return Frame(7, data)


def patch_at(x: float, y: float, mask: F32 | None = None) -> ColourPatch:
    """A green patch with its left top corner at (x, y) of the frame."""
    colour = np.broadcast_to(np.array(GREEN, np.float32), (SIDE, SIDE, 3)).copy()
    matrix: F64 = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y]])
    return ColourPatch(matrix, colour, np.ones((SIDE, SIDE), np.float32) if mask is None else mask)


def rgb_of(frame: Frame) -> F32:
    return to_rgb(crop_yuv(frame, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), HEIGHT), YUV)


def test_the_colour_is_shown_where_the_mask_is_and_all_else_stays_bit_for_bit() -> None:
    before = noise()
    after = patch_at(20, 16).paste(before.copy(), 1.0, YUV)
    assert np.abs(rgb_of(after)[20:44, 24:48] - GREEN).max() < 3
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[14:50, 18:54] = True
    assert (after.y[~inside] == before.y[~inside]).all()
    for new, old in ((after.u, before.u), (after.v, before.v)):
        assert (new[~inside[::2, ::2]] == old[~inside[::2, ::2]]).all()


def test_the_weight_scales_the_mask() -> None:
    before, patch = noise(), patch_at(20, 16)
    whole, half, none = (patch.paste(before.copy(), weight, YUV) for weight in (1.0, 0.5, 0.0))
    assert (none.data == before.data).all()
    middle = (before.data.astype(float) + whole.data) / 2
    assert np.abs(half.data - middle).max() <= 1


def test_where_the_mask_is_0_nothing_changes() -> None:
    before = noise()
    after = patch_at(20, 16, np.zeros((SIDE, SIDE), np.float32)).paste(before.copy(), 1.0, YUV)
    assert (after.data == before.data).all()


@pytest.mark.parametrize(("x", "y"), [(-16, -16), (WIDTH - 16, HEIGHT - 16), (-15.5, 33.25)])
def test_a_patch_may_reach_beyond_the_frame(x: float, y: float) -> None:
    before = noise()
    after = patch_at(x, y).paste(before.copy(), 1.0, YUV)
    assert (after.data != before.data).any()


def test_a_patch_beside_the_frame_changes_nothing() -> None:
    before = noise()
    assert (patch_at(WIDTH + 10, 0).paste(before.copy(), 1.0, YUV).data == before.data).all()


def test_a_read_only_frame_is_copied_and_another_one_is_changed() -> None:
    frame = noise()
    assert patch_at(20, 16).paste(frame, 1.0, YUV) is frame
    kept = noise().read_only()
    after = patch_at(20, 16).paste(kept, 1.0, YUV)
    assert (after.index, after.data.flags.writeable) == (7, True)
    assert (kept.data == noise().data).all()
    assert (after.data == frame.data).all()
