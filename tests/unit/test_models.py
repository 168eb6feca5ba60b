"""The models of a run."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import pytest

from dhcli.networks.network import Device
from dhcli.render.models import Models


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_pictures_have_the_threads_that_were_asked_for_whatever_is_opened() -> None:
    models = Models((), Device("cpu"), 3)
    models.family("dh-base")
    assert models.finder.mesh is not None
    assert cv2.getNumThreads() == 3
