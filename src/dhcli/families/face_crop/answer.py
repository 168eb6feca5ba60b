"""Whether a network gave what its tensors promise: sizes that these leave free are known only from its answer."""

from __future__ import annotations

from collections.abc import Sequence

from dhcli.errors import DhError
from dhcli.networks.network import Network, Tensor


def require_shape(network: Network, answer: Tensor, wanted: Sequence[int]) -> None:
    """Raise DhError model.bad_output where an answer has another shape."""
    if answer.shape != tuple(wanted):
        raise DhError(
            "model.bad_output",
            f"The network '{network.name}' gave {_text(answer.shape)} numbers: expected {_text(wanted)}.",
            hint="Export the network again; docs/models.md tells what it has to give.",
        )


def _text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"
