"""A model as `--json` of the verbs of `dh models` shows it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dhcli.command.streams import answer
from dhcli.errors import DhError

if TYPE_CHECKING:
    from dhcli.networks.bundle import Bundle


def bundle_json(bundle: Bundle) -> dict[str, Any]:
    """Name, place, files, settings and networks."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "family": bundle.family,
        "licence": bundle.licence,
        "description": bundle.description,
        "folder": str(bundle.folder),
        "sha256": bundle.sha256,
        "files": {
            role: {"path": str(file.path), "bytes": file.bytes, "sha256": file.sha256}
            for role, file in bundle.files.items()
        },
        "settings": dict(bundle.settings),
        "networks": {
            role: {"inputs": list(map(str, network.inputs)), "outputs": list(map(str, network.outputs))}
            for role, network in bundle.networks.items()
        },
    }


def error_json(name: str, error: DhError) -> dict[str, Any]:
    """What stands in a model's place."""
    return {"name": name, "error": {"code": error.code, "message": error.message, "hint": error.hint}}


@contextlib.contextmanager
def error_as_json(name: str, *, wanted: bool) -> Iterator[None]:
    """Print an error about a model on stdout, too, where JSON is wanted there."""
    try:
        yield
    except DhError as error:
        if wanted:
            answer([json.dumps(error_json(name, error))])
        raise
