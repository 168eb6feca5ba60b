"""The models of a run, by their names in manifests; here alone stands which families there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dhcli.errors import DhError
from dhcli.families.dh_base.family import DhBase
from dhcli.families.family import Family, Precision
from dhcli.networks.bundle import Bundle, load_bundle
from dhcli.networks.network import Device


class Models:
    """The models of a run: descriptors read once, networks opened at their first use and kept."""

    def __init__(
        self, folders: Sequence[Path], device: Device, threads: int = 0, precision: Precision = "auto"
    ) -> None:
        self.device = device
        self.precision = precision
        self._folders, self._threads = tuple(folders), threads
        self._bundles: dict[str, Bundle] = {}
        self._families: dict[str, Family] = {}

    def bundle(self, name: str) -> Bundle:
        """The model's description. Raises DhError model.*."""
        if name not in self._bundles:
            self._bundles[name] = load_bundle(name, self._folders)
        return self._bundles[name]

    def family(self, name: str) -> Family:
        """The model, ready to run. Raises DhError model.*, env.device_unavailable."""
        if name not in self._families:
            bundle = known(self.bundle(name))
            self._families[name] = DhBase(bundle, self.device, self._threads, self.precision)
        return self._families[name]


def known(bundle: Bundle) -> Bundle:
    """The bundle, where its family is one of ours. Raises DhError model.incompatible."""
    if bundle.family != DhBase.name:
        raise DhError(
            "model.incompatible",
            f"The model '{bundle.name}' is of the family '{bundle.family}', which this dh does not know.",
            hint=f"This dh knows the family {DhBase.name}.",
        )
    return bundle
