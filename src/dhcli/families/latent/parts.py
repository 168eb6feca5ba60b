"""One network of a latent model, asked in the batches that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dhcli.errors import DhError
from dhcli.families.face_crop.answer import require_shape
from dhcli.families.latent.presets import Kind, Role, signatures
from dhcli.families.latent.settings import LatentSettings
from dhcli.networks.bundle import Bundle
from dhcli.networks.network import Network, Tensor
from dhcli.types import F32


@dataclass(frozen=True, slots=True)
class Part:
    """A network and what its tensors carry."""

    network: Network
    tensors: Mapping[Kind, str]
    gives: tuple[tuple[int, ...], ...]
    """Shapes of a row of its answer."""
    most: int | None = None
    """Rows that it is asked for at once; None: all."""

    def ask(self, feeds: Mapping[Kind, Tensor], once: Mapping[Kind, float] | None = None) -> F32:
        """The answers to a row of each feed, in order. `once`: inputs that have one number for all rows.

        A fixed batch that is not full is filled with its last row. Raises DhError model.*, device.*.
        """
        rows = len(next(iter(feeds.values())))
        fixed = self._fixed(next(iter(feeds)))
        step = fixed or min(rows, self.most or rows)
        answers = []
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            lacking = max(0, (fixed or 0) - (end - begin))
            part = {kind: _filled(values[begin:end], lacking) for kind, values in feeds.items()}
            answers.append(self._run(part, once or {})[: end - begin])
        return np.concatenate(answers)

    def _run(self, feeds: Mapping[Kind, Tensor], once: Mapping[Kind, float]) -> F32:
        infos = {info.name: info for info in self.network.inputs}
        rows = len(next(iter(feeds.values())))
        named: dict[str, Tensor] = {
            self.tensors[kind]: np.ascontiguousarray(values, infos[self.tensors[kind]].dtype)
            for kind, values in feeds.items()
        }
        for kind, value in once.items():
            if name := self.tensors.get(kind):
                shape = [size if isinstance(size, int) else rows for size in infos[name].shape]
                named[name] = np.full(shape, value, infos[name].dtype)
        (answer,) = self.network.run((self.tensors["output"],), named)
        self.check(answer, rows)
        return np.asarray(answer, np.float32)

    def check(self, answer: Tensor, rows: int) -> None:
        """Raise DhError model.bad_output where an answer to so many rows has none of the shapes that it can have."""
        wanted = next((shape for shape in self.gives if answer.shape[1:] == shape), self.gives[0])
        require_shape(self.network, answer, (rows, *wanted))

    def _fixed(self, kind: Kind) -> int | None:
        size = next(info.shape[0] for info in self.network.inputs if info.name == self.tensors[kind])
        return size if isinstance(size, int) else None


def part_of(role: Role, network: Network, settings: LatentSettings, bundle: Bundle, most: int | None = None) -> Part:
    """The network of this role. Raises DhError model.incompatible where its tensors are not as the settings say."""
    signature = signatures(settings)[role]
    tensors = signature.tensors(network.inputs, network.outputs)
    if tensors is None:
        found = f"{', '.join(map(str, network.inputs))} -> {', '.join(map(str, network.outputs))}"
        raise DhError(
            "model.incompatible",
            f"{bundle.files[role].path}: the network '{network.name}' does not fit the settings of the model "
            f"'{bundle.name}': expected {signature}; found {found}.",
            hint="Put the network there that docs/models.md names for this role, or correct the settings.",
        )
    gives = tuple(tuple(size for size in shape[1:] if size is not None) for shape in signature.outputs)
    return Part(network, tensors, gives, most)


def _filled(values: Tensor, lacking: int) -> Tensor:
    return np.concatenate([values, np.repeat(values[-1:], lacking, 0)]) if lacking else values
