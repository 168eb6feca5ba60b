"""A model whose networks are opened on one device: what a family works with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Literal, TypeAlias

from dhcli.errors import DhError
from dhcli.networks.batch_size import BATCH, fastest_batch
from dhcli.networks.bundle import Bundle
from dhcli.networks.network import CPU_PROVIDER, Device, Network, means_cpu
from dhcli.types import Numbers

Precision: TypeAlias = Literal["auto"] | Numbers
"""Of the main network. auto: 8 bits on a CPU, where they take two fifths of the time, if the model has them."""
NO_GPU = "No GPU is used for the main network: numbers of 8 bits are for CPUs."


class Model:
    """Opens networks of a bundle, and keeps in mind where they run. Not for two threads at once.

    The main network is the one that decides the speed; device, provider, precision and batch of the model are its own.
    """

    def __init__(self, bundle: Bundle, device: Device, threads: int = 0, precision: Precision = "auto") -> None:
        """`threads` are those of each network; 0: see `open_network`."""
        self.bundle = bundle
        self._device, self._threads, self._wanted = device, threads, precision
        self._warnings: dict[str, None] = {}
        """Of all networks, also of those that were given up for another one."""
        self._main: Network | None = None
        self.precision: Numbers | None = None
        """Numbers of the main network; None where there is none."""

    def open(self, role: str, *, threads: int | None = None, device: Device | None = None) -> Network:
        """A network, on the model's device and with its threads unless told otherwise.

        Raises DhError model.*, env.device_unavailable, device.out_of_memory.
        """
        threads = self._threads if threads is None else threads
        network = self.bundle.open_network(role, device=device or self._device, threads=threads)
        if network.warning is not None:
            self._warnings[network.warning] = None
        return network

    def open_main(self, roles: Mapping[Numbers, str]) -> Network:
        """The main network, in the numbers asked for; `roles` names its file for each kind. Raises as `open` does."""
        self._main, self.precision = self._chosen(roles)
        return self._main

    def _chosen(self, roles: Mapping[Numbers, str]) -> tuple[Network, Numbers]:
        single, has_int8 = self._role(roles, "fp32"), roles.get("int8") in self.bundle.files
        # A GPU has no convolutions in 8 bits: they would run on the CPU, and the provider in use would be CUDA.
        if self._wanted == "int8":
            if not means_cpu(self._device):
                self._warnings[NO_GPU] = None
            return self.open(self._role(roles, "int8"), device=Device("cpu")), "int8"
        if self._wanted != "auto":
            return self.open(self._role(roles, self._wanted)), self._wanted
        if not has_int8:
            return self.open(single), "fp32"
        if not means_cpu(self._device):
            network = self.open(single)
            if network.provider != CPU_PROVIDER:
                return network, "fp32"
            del network  # its weights leave before the other one's come
        return self.open(roles["int8"], device=Device("cpu")), "int8"

    def _role(self, roles: Mapping[Numbers, str], numbers: Numbers) -> str:
        role = roles.get(numbers)
        if role is None:
            raise DhError(
                "model.incompatible",
                f"The model '{self.bundle.name}' has no network with {numbers} numbers.",
                hint="Leave --precision out.",
            )
        return role

    @property
    def provider(self) -> str:
        """The execution provider that runs the main network."""
        return CPU_PROVIDER if self._main is None else self._main.provider

    @property
    def device(self) -> str:
        """Where the main network really runs: "cpu", "cuda:0", …"""
        return "cpu" if self.provider == CPU_PROVIDER else str(self._device)

    @property
    def on_cpu(self) -> bool:
        """Whether all networks run on the CPU, as far as that is certain without opening one."""
        return means_cpu(self._device)

    @property
    def warning(self) -> str | None:
        """Why the networks, or one of them, are not on the device asked for; None where all are."""
        return next(iter(self._warnings), None)

    @functools.cached_property
    def batch(self) -> int:
        """Frames that go through the main network at once; measured on a GPU. Raises what the network raises."""
        return BATCH if self._main is None or self.provider == CPU_PROVIDER else fastest_batch(self._main)
