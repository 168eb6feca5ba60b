"""Which families there are: dh's own, and those that other packages add by entry points of `dhcli.families`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, cast

from dhcli.errors import DhError, describe
from dhcli.families.dh_base.family import DhBase
from dhcli.families.face_crop.enhance import FAMILY as ENHANCER
from dhcli.families.family import Family
from dhcli.families.guard import faults_of
from dhcli.families.latent.family import LatentFamily
from dhcli.families.patch.family import PatchFamily
from dhcli.networks.bundle import Bundle
from dhcli.networks.model import Model

ENTRY_POINTS = "dhcli.families"
"""Each entry point is named like its family and leads to the class."""
MEMBERS = ("name", "version", "roles", "sample_rate", "check")
"""What the rest of dh asks of a family before it is opened."""
OURS: Mapping[str, type[Family]] = {family.name: family for family in (DhBase, LatentFamily, PatchFamily)}


def family_names() -> tuple[str, ...]:
    """All names, sorted; that a package's family can be loaded is not tried."""
    return tuple(sorted({*OURS, *(entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS))}))


def family_of(bundle: Bundle) -> type[Family]:
    """The family of a bundle.

    Raises DhError model.incompatible where there is none of its name, it cannot be loaded, or does not know the bundle.
    """
    name = bundle.family
    if name == ENHANCER:
        raise DhError(
            "model.incompatible",
            f"The model '{bundle.name}' is an enhancer: it sharpens the faces that another model paints.",
            hint=f"Name that model, and give this one as the option 'enhancer: {bundle.name}'.",
        )
    family = _named(name, f"The model '{bundle.name}' is of the family '{name}'; there is none of that name")
    bundle.require(*family.roles)
    with faults_of(family):
        family.check(bundle)
    return family


def family_called(name: str) -> type[Family]:
    """The family of this name. Raises DhError model.incompatible where there is none, or it cannot be loaded."""
    return _named(name, f"There is no family '{name}'")


def open_family(family: type[Family], model: Model) -> Family:
    """The model as a family's, ready to run. Raises DhError model.*, env.device_unavailable, device.*."""
    with faults_of(family):
        return family(model)


def _checked(family: Any, name: str) -> type[Family]:
    """What an entry point gave, as a family of this name. Raises TypeError where it is none."""
    if missing := [member for member in MEMBERS if not hasattr(family, member)]:
        raise TypeError(f"{family!r} is no family: it has no {', '.join(missing)}")
    if family.name != name:
        raise TypeError(f"{family!r} is the family '{family.name}'")
    return cast("type[Family]", family)


def _named(name: str, absent: str) -> type[Family]:
    """A family; `absent` is the sentence for one that is not there."""
    if name in OURS:
        return OURS[name]
    entries = sorted(importlib.metadata.entry_points(group=ENTRY_POINTS, name=name))
    if len(entries) > 1:
        raise DhError(
            "model.incompatible",
            f"The family '{name}' is in several packages: {', '.join(map(_package, entries))}.",
            hint="Uninstall all of them but one.",
        )
    for entry in entries:
        try:
            return _checked(entry.load(), name)
        except (Exception, SystemExit) as error:
            raise DhError(
                "model.incompatible",
                f"The family '{name}' of the package {_package(entry)} cannot be loaded: {describe(error)}.",
                hint="Install the package again, in a version for this dh.",
            ) from error
    raise DhError(
        "model.incompatible",
        f"{absent}.",
        hint=f"Families are: {', '.join(family_names())}. A package can add others.",
    )


def _package(entry: importlib.metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
