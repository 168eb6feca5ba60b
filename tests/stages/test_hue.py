"""The one hue of grey and toned pictures, and the many of others."""

from __future__ import annotations

import numpy as np
import pytest

from dhcli.families.dh_base.hue import hue_of
from dhcli.types import F32

SEPIA = np.array([1.2, 1.0, 0.75], np.float32)
SKIN, LIPS = (215, 165, 135), (190, 100, 105)


def picture(*, tone: F32, noise: float = 0.0) -> F32:
    """A ramp from black to white."""
    grey = np.tile(np.linspace(0, 200, 160, dtype=np.float32), (160, 1))[..., None] * tone
    return np.asarray(grey + np.random.default_rng(1).normal(0, noise, (160, 160, 3)), np.float32)


@pytest.mark.parametrize("tone", [np.ones(3, np.float32), SEPIA], ids=["grey", "sepia"])
def test_colours_take_the_one_hue_of_a_picture(tone: F32) -> None:
    hue = hue_of(picture(tone=tone, noise=1.0))
    assert hue.sure == 1
    toned = hue.tone(np.full((1, 1, 3), LIPS, np.float32))[0, 0]
    assert toned / toned[1] == pytest.approx(tone, abs=0.01)
    assert toned @ (0.299, 0.587, 0.114) == pytest.approx(127.5, abs=1), "as bright as before"


def test_a_face_in_colour_leaves_colours_alone() -> None:
    crop = np.empty((160, 160, 3), np.float32)
    crop[:], crop[80:100, 50:110] = SKIN, LIPS
    colours = picture(tone=SEPIA)
    assert hue_of(crop).tone(colours) is colours


def test_a_black_picture_has_no_hue() -> None:
    assert hue_of(np.zeros((160, 160, 3), np.float32)).sure == 0
