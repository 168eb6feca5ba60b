"""The models of a run: bundles read once, networks opened at their first use and kept."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2

from dhcli.families.face_crop.enhance import Enhancer, check_enhancer
from dhcli.families.family import Family
from dhcli.families.registry import family_of, open_family
from dhcli.networks.bundle import Bundle, load_bundle
from dhcli.networks.model import Model, Precision
from dhcli.networks.network import MOST_THREADS, Device, check_device
from dhcli.render.face_finder import FaceFinder, finder_bundle
from dhcli.runtime.threads import cores


class Models:
    """Models by their names in manifests, and the face finder that all of them share."""

    def __init__(
        self, folders: Sequence[Path], device: Device, threads: int = 0, precision: Precision = "auto"
    ) -> None:
        """`threads` 0: one a core for networks; for pictures, beside which ffmpeg works, one for two cores.

        OpenCV has one number of threads for the whole process.
        """
        cv2.setNumThreads(threads or max(1, min(MOST_THREADS, cores() // 2)))
        self.device = device
        self.precision = precision
        self._folders, self._threads = tuple(folders), threads
        self._known: dict[str, tuple[Bundle, type[Family]]] = {}
        self._families: dict[str, Family] = {}
        self._enhancers: dict[str, Enhancer] = {}

    def bundle(self, name: str) -> Bundle:
        """The model's description; its family is there. Raises DhError model.*."""
        return self._found(name)[0]

    def family_version(self, name: str) -> int:
        """Version of the model's family; another one gives other pixels. Raises DhError model.*."""
        return self._found(name)[1].version

    def check(self, name: str, enhancer: str | None = None) -> tuple[Bundle, ...]:
        """The bundles that a render with this model opens: the model's, the face finder's and the enhancer's.

        No network is opened. Raises DhError model.*.
        """
        others = () if enhancer is None else (self.enhancer_bundle(enhancer),)
        return self.bundle(name), self.finder_bundle, *others

    def check_device(self) -> None:
        """Raises DhError env.device_unavailable where the machine lacks the device; opens nothing."""
        check_device(self.device)

    def enhancer_bundle(self, name: str) -> Bundle:
        """The description of a model that sharpens faces. Raises DhError model.*."""
        return check_enhancer(load_bundle(name, self._folders))

    def enhancer(self, name: str) -> Enhancer:
        """What sharpens faces, ready to run. Raises DhError model.*, env.device_unavailable."""
        if name not in self._enhancers:
            self._enhancers[name] = Enhancer(Model(self.enhancer_bundle(name), self.device, self._threads))
        return self._enhancers[name]

    def family(self, name: str) -> Family:
        """The model, ready to run. Raises DhError model.*, env.device_unavailable."""
        if name not in self._families:
            bundle, family = self._found(name)
            self._families[name] = open_family(family, Model(bundle, self.device, self._threads, self.precision))
        return self._families[name]

    def _found(self, name: str) -> tuple[Bundle, type[Family]]:
        if name not in self._known:
            bundle = load_bundle(name, self._folders)
            self._known[name] = bundle, family_of(bundle)
        return self._known[name]

    @functools.cached_property
    def finder_bundle(self) -> Bundle:
        """The description of what finds faces. Raises DhError model.*."""
        return finder_bundle(self._folders)

    @functools.cached_property
    def finder(self) -> FaceFinder:
        """What finds faces. Raises DhError model.*."""
        return FaceFinder(self.finder_bundle, self.device)
