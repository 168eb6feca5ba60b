"""A model as `--json` of the verbs of `dh models` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
