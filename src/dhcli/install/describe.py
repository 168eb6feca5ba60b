"""The text of a new model's model.yaml."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dhcli.errors import DhError
from dhcli.install.recognise import Recognised, Tensors
from dhcli.install.staging import Copied
from dhcli.networks.descriptor import SCHEMA_VERSION, TensorEntry
from dhcli.networks.network import TensorInfo

KINDS = frozenset(typing.get_args(TensorEntry.model_fields["dtype"].annotation))


def descriptor_text(
    name: str,
    licence: str,
    recognised: Recognised,
    files: Mapping[str, Copied],
    tensors: Mapping[str, Tensors],
) -> str:
    """YAML that `networks.descriptor` reads. `tensors` are those of each role's network."""
    lines = [
        f"schema_version: {SCHEMA_VERSION}",
        f"name: {_flow(name)}",
        f"family: {_flow(recognised.family)}",
        'version: "1"',
        f"licence: {_flow(licence)}",
        f"description: {_flow(recognised.about or f'A model of the family {recognised.family}.')}",
        "files:",
        *(f"  {role}: {_flow(_file(file))}" for role, file in files.items()),
    ]
    if recognised.settings:
        lines += ["settings:", *(f"  {_flow(key)}: {_flow(value)}" for key, value in recognised.settings.items())]
    return "\n".join([*lines, "networks:", *_networks(tensors)]) + "\n"


def _file(file: Copied) -> dict[str, Any]:
    return {"path": file.path.name, "bytes": file.bytes, "sha256": file.sha256}


def _networks(tensors: Mapping[str, Tensors]) -> Iterator[str]:
    for role, one in tensors.items():
        yield f"  {role}:"
        for word, infos in (("inputs", one.inputs), ("outputs", one.outputs)):
            yield f"    {word}:"
            yield from (f"      {_flow(info.name)}: {_flow(_entry(info))}" for info in infos)


def _entry(info: TensorInfo) -> dict[str, Any]:
    return {"dtype": info.dtype, "shape": list(info.shape)}


def _flow(value: object) -> str:
    """JSON, which is YAML once what does not print has escapes of YAML's: JSON has two for a character over 16 bits."""
    return "".join(
        character if character.isprintable() else f"\\U{ord(character):08x}"
        for character in json.dumps(value, ensure_ascii=False)
    )


def refuse_strange(path: Path, tensors: Tensors) -> None:
    """Raise DhError model.incompatible where a tensor has a type that no model of dh has."""
    for info in (*tensors.inputs, *tensors.outputs):
        if info.dtype not in KINDS:
            raise DhError(
                "model.incompatible",
                f"{path}: its tensor {info} has none of the types {', '.join(sorted(KINDS))}.",
                hint="Export the network with numbers of 16 or 32 bits.",
            )
