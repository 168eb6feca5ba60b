"""The face finder: a bundle of two networks that all model families share, so that a video is analysed once for all."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from dhcli.errors import DhError
from dhcli.networks.arrays import read_arrays, unfit
from dhcli.networks.bundle import Bundle, load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import CPU_PROVIDER, Device, Network
from dhcli.stages.mesh import LANDMARKS, FaceMesh
from dhcli.types import F32

NAME, FAMILY = "face-finder", "face_finder"
"""Of the bundle."""
ROLES = DETECT, LOCATE, MESH = "detect", "landmarks", "mesh"
DETECT_INPUT, DETECT_OUTPUTS = "input", ("reshaped_regressor_face_4", "reshaped_classifier_face_4")
LOCATE_INPUT, LOCATE_OUTPUTS = "input_12", ("Identity", "Identity_1")
SHAPES = {"canonical": (LANDMARKS, 3), "stable": (38,), "mouth": (106,)}
THREADS = 1
"""Of each network. The landmark network's convolutions take 10 to 80 µs each: two threads are no faster (3.9 ms), need
5.9 ms of CPU time for 3.9, and the decoder has a use for the second core."""


def finder_bundle(folders: Sequence[Path] = ()) -> Bundle:
    """The face finder's bundle on the search path. Raises DhError model.*."""
    bundle = load_bundle(NAME, folders)
    if bundle.family != FAMILY:
        raise DhError(
            "model.incompatible",
            f"The bundle '{NAME}' in {bundle.folder} is of the family '{bundle.family}', not '{FAMILY}'.",
            hint="Remove it there: dh has one of its own.",
        )
    bundle.require(*ROLES)
    return bundle


class FaceFinder:
    """The opened bundle. Its networks open at their first use: a video that was analysed before needs neither."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        """Raises DhError model.*."""
        self.bundle = bundle
        self._model = Model(bundle, device)
        self.mesh = load_mesh(bundle.read(MESH), bundle.files[MESH].path.name)

    @functools.cached_property
    def _detector(self) -> Network:
        return self._model.open(DETECT, threads=THREADS)

    @functools.cached_property
    def _landmarks(self) -> Network:
        return self._model.open(LOCATE, threads=THREADS)

    def detect(self, picture: F32) -> tuple[F32, F32]:
        """Faces in a picture, see `find.Detect`. Raises DhError model.*, env.device_unavailable, device.*."""
        boxes, logits = self._detector.run(DETECT_OUTPUTS, {DETECT_INPUT: picture})
        return cast("F32", boxes), cast("F32", logits)

    def locate(self, crop: F32) -> tuple[F32, F32]:
        """The landmarks of one face, see `find.Locate`. Raises as `detect` does."""
        points, presence = self._landmarks.run(LOCATE_OUTPUTS, {LOCATE_INPUT: crop})
        return cast("F32", points), cast("F32", presence)

    def close_detector(self) -> None:
        """Free its memory; it opens again where needed. The landmark network, 25 MB, has the output to look at."""
        self.__dict__.pop("_detector", None)

    def close(self) -> None:
        """Free the networks' memory; they open again, in 40 ms, where needed."""
        self.close_detector()
        self.__dict__.pop("_landmarks", None)

    @property
    def providers(self) -> str:
        """The execution providers of both networks; none is opened where that is certain."""
        return CPU_PROVIDER if self._model.on_cpu else f"{self._detector.provider} {self._landmarks.provider}"

    @property
    def warning(self) -> str | None:
        """Why a network is not on the device asked for; None where both are, or neither was opened."""
        return self._model.warning


def load_mesh(data: bytes, name: str = "mesh.npz") -> FaceMesh:
    """The landmarks in an .npz file's bytes. Raises DhError model.incompatible where they are not as expected."""
    arrays = read_arrays(data, SHAPES, name)
    rows = {key: arrays[key].astype(np.intp) for key in ("stable", "mouth")}
    for key, index in rows.items():
        if index.min() < 0 or index.max() >= LANDMARKS:
            raise unfit(name, f"'{key}' names landmarks outside 0..{LANDMARKS - 1}")
    return FaceMesh(arrays["canonical"].astype(np.float64), **rows)
