"""The inputs and outputs of an encoder, found by shape and type."""

from __future__ import annotations

from collections.abc import Sequence

from dhcli.errors import DhError
from dhcli.networks.network import Network, TensorInfo

Shape = tuple[int | None, ...]
"""Sizes; None stands for one that the network has to leave free."""
WHOLE = ("int32", "int64")


def take(network: Network, shapes: Sequence[Shape], *, lengths: int = 0) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """The inputs of floating numbers with these shapes, in this order, and up to `lengths` inputs of one whole number.

    Raises DhError model.incompatible where one is missing, or where the network has another one.
    """
    left = list(network.inputs)
    found = []
    for shape in shapes:
        info = next((info for info in left if is_like(info, shape)), None)
        if info is None:
            raise unlike(network, "input", shape)
        left.remove(info)
        found.append(info)
    numbers = [
        info for info in left if info.dtype in WHOLE and all(not isinstance(n, int) or n == 1 for n in info.shape)
    ]
    if len(left) > len(numbers) or len(numbers) > lengths:
        raise unlike(network, "no inputs beside", *shapes)
    return found, numbers


def give(network: Network, *shapes: Shape) -> list[TensorInfo]:
    """The outputs with the first of these shapes that an output has. Raises DhError model.incompatible if none has."""
    for shape in shapes:
        if found := [info for info in network.outputs if is_like(info, shape)]:
            return found
    raise unlike(network, "output", *shapes)


def is_like(info: TensorInfo, shape: Shape) -> bool:
    """Whether these are floating numbers that can have this shape."""
    return (
        info.dtype in {"float32", "float16"}
        and len(info.shape) == len(shape)
        and all(isinstance(have, str) or have == want for have, want in zip(info.shape, shape, strict=True))
    )


def ones(info: TensorInfo) -> list[int]:
    """The tensor's shape with 1 for what is free."""
    return [size if isinstance(size, int) else 1 for size in info.shape]


def unlike(network: Network, kind: str, *shapes: Shape) -> DhError:
    """The error for a network that is none of the kind."""
    wanted = " or ".join(f"({', '.join('n' if size is None else str(size) for size in shape)})" for shape in shapes)
    inputs, outputs = ("; ".join(map(str, infos)) for infos in (network.inputs, network.outputs))
    return DhError(
        "model.incompatible",
        f"The network '{network.name}' cannot hear for this model: expected {kind} {wanted} of floating numbers; "
        f"it takes {inputs} and gives {outputs}.",
        hint="Give the encoder that docs/models.md names for this family.",
    )
