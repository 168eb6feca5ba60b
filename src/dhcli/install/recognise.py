"""Which family and settings a network needs, by its tensors; and what to say where none or several fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from dhcli.errors import DhError
from dhcli.families.face_crop.enhance import FAMILY, NETWORK, SIZE
from dhcli.families.latent import presets as latent
from dhcli.families.latent.family import UNETS, LatentFamily
from dhcli.families.latent.settings import LatentSettings
from dhcli.families.patch.family import ENCODER, NETWORKS, PatchFamily
from dhcli.families.patch.presets import ANY_SIDE, PRESETS, Match, Shape, Signature, matches, recognise
from dhcli.families.patch.settings import PRESET, PatchSettings
from dhcli.install.content import refuse_weights
from dhcli.networks.network import MOST_BYTES, Device, TensorInfo, open_network

PATCH, LATENT, ENHANCER = PatchFamily.name, LatentFamily.name, FAMILY
MAINS = {PATCH: NETWORKS["fp32"], LATENT: UNETS["fp32"]}
"""Roles of the networks that a bundle can have in other numbers, too, under names that begin with theirs."""
PICTURES = ("picture", "masked", "whole")
NEAREST = 2
"""Presets that a refusal shows."""
UNSURE = "unknown"
"""The licence of a model whose licence nobody told."""
ENHANCED: Shape = (3, SIZE, SIZE)
"""Shape without the batch of what an enhancer takes and gives."""
ROLES: Mapping[str, frozenset[str]] = {
    PATCH: frozenset(NETWORKS.values()),
    LATENT: frozenset({*LatentFamily.roles, *UNETS.values()}),
    ENHANCER: frozenset({NETWORK}),
}
"""All files that a model of these families can have, beside the one that its settings may ask for."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """What an ONNX file takes and gives."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a network is."""

    family: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""
    usual_licence: str = UNSURE
    """What is known of the licence of the usual weights."""
    others: tuple[str, ...] = ()
    """Presets that fit, too, and are less likely."""
    needs: tuple[str, ...] = ()
    """Roles of files beside the main one."""
    role: str | None = None
    """Of this network, where that is certain."""


class UnknownNetworkError(DhError):
    """No preset fits, or more than one. `table`: lines that show what was expected beside what was found."""

    def __init__(self, message: str, hint: str, table: Sequence[str] = ()) -> None:
        super().__init__("model.incompatible", message, hint=hint)
        self.table = tuple(table)


def look(path: Path) -> Tensors:
    """The tensors of an ONNX file, opened on the CPU. Raises DhError model.*, job.out_of_memory."""
    refuse_weights(path)
    try:
        network = open_network(path, path.name, device=Device("cpu"), threads=1)
    except DhError as error:
        if "weights in other files" in error.message:
            error.hint = (
                f"Put them into one file of {MOST_BYTES} bytes at most, with the package onnx: "
                f"onnx.save(onnx.load('{path}'), 'whole.onnx'); what is larger fits with 16-bit numbers."
            )
        raise
    return Tensors(network.inputs, network.outputs)


def known_as(path: Path, tensors: Tensors, family: str | None, sets: Mapping[str, Any]) -> Recognised:
    """What a network is, with the user's settings. Raises UnknownNetworkError."""
    wanted = str(sets[PRESET]) if PRESET in sets else None
    if family is None and wanted is None:
        family, role = _whole(tensors)
    else:
        role = None
    if family not in {None, PATCH}:
        return _other(str(family), role, sets)
    if wanted == "none" or (wanted is None and "tensors" in sets):
        return _checked({PRESET: "none", **sets}, {}, "")
    match, others = _chosen(path, tensors, wanted, sets.get("tensors"))
    preset = PRESETS[match.preset]
    settings: dict[str, Any] = {PRESET: match.preset}
    if match.size is not None and preset.values.get("size") != match.size:
        settings["size"] = match.size
    if match.tensors:
        settings["tensors"] = dict(match.tensors)
    settings |= sets
    if "size" not in settings and "size" not in preset.values:
        raise UnknownNetworkError(
            f"{path}: the network leaves the size of its picture free.", "Give it: --set size=96, or what it is."
        )
    return _checked(settings, preset.values, preset.about, preset.licence, others)


def _checked(
    settings: Mapping[str, Any],
    values: Mapping[str, Any],
    about: str,
    licence: str = UNSURE,
    others: tuple[str, ...] = (),
) -> Recognised:
    """A patch network with these settings, over a preset's values. Raises UnknownNetworkError where one is wrong."""
    _refuse_unknown(settings)
    whole = {**values, **settings}
    _refuse_unfit(PatchSettings, whole)
    return Recognised(
        PATCH, settings, f"{about or 'A network of other settings'}, {whole['size']} px", licence, others, _needs(whole)
    )


def _whole(tensors: Tensors) -> tuple[str | None, str | None]:
    """Family and role of a network that is no patch network; None, None: it may be one."""
    role = latent.recognise(tensors.inputs, tensors.outputs)
    if role is not None:
        return LATENT, role
    if [info.shape[1:] for info in (*tensors.inputs, *tensors.outputs)] == [ENHANCED, ENHANCED] and tensors.outputs:
        return ENHANCER, NETWORK
    return None, None


def _other(family: str, role: str | None, sets: Mapping[str, Any]) -> Recognised:
    """A network of another family. Raises UnknownNetworkError for settings that the family has not."""
    if family == LATENT:
        _refuse_unfit(LatentSettings, sets)
        return Recognised(family, dict(sets), latent.ABOUT, latent.LICENCE, role=role)
    about = "Sharpens the face that another model painted" if family == ENHANCER else ""
    return Recognised(family, dict(sets), about, role=role)


def refuse_roles(recognised: Recognised, roles: Iterable[str]) -> None:
    """Raise DhError model.incompatible for a file that the model would never look at."""
    if recognised.family not in ROLES:
        return
    known = ROLES[recognised.family] | {*recognised.needs}
    for role in roles:
        if role not in known:
            raise DhError(
                "model.incompatible",
                f"--file {role}=…: a model of the family '{recognised.family}' with these settings has no such file; "
                f"it can have {', '.join(sorted(known))}.",
                hint="Leave it out, or correct the role; docs/models.md has the roles of each family.",
            )


def refuse_unlike(recognised: Recognised, tensors: Mapping[str, Tensors]) -> None:
    """Raise DhError model.incompatible where a file with the main network in other numbers is another network."""
    main = MAINS.get(recognised.family)
    for role in tensors.keys() & ROLES.get(recognised.family, frozenset()):
        if main is not None and role.startswith(f"{main}_") and _bare(tensors[role]) != _bare(tensors[main]):
            raise DhError(
                "model.incompatible",
                f"--file {role}=…: it has {_line(tensors[role])}; expected is the file '{main}' in other numbers, "
                f"{_line(tensors[main])}.",
                hint="Convert the same network, with the same names.",
            )


def _bare(tensors: Tensors) -> tuple[dict[str, tuple[int | None, ...]], ...]:
    """Names and sizes without batch and types, None for a size that is free."""
    return tuple(
        {info.name: tuple(size if isinstance(size, int) else None for size in info.shape[1:]) for info in infos}
        for infos in (tensors.inputs, tensors.outputs)
    )


def _refuse_unfit(kind: type[BaseModel], settings: Mapping[str, Any]) -> None:
    """Raise UnknownNetworkError for settings of wrong values."""
    try:
        kind.model_validate(dict(settings))
    except ValidationError as error:
        found = (f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors())
        raise UnknownNetworkError(f"--set: {'; '.join(found)}.", "docs/models.md has all settings.") from error


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Raise UnknownNetworkError for a key that is no setting."""
    known = PatchSettings.model_fields
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            raise UnknownNetworkError(f"--set {key}: no setting of the family '{PATCH}'{meant}", "See docs/models.md.")


def _needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return () if settings.get("encoder", "none") == "none" else (ENCODER,)


def _chosen(path: Path, tensors: Tensors, wanted: str | None, stated: object) -> tuple[Match, tuple[str, ...]]:
    """The likeliest match, and the names of the others. `stated`: the setting `tensors`, if there is one."""
    if wanted is not None:
        if wanted not in PRESETS:
            raise UnknownNetworkError(f"--set preset={wanted}: there is no such preset.", _choices(PRESETS))
        found = [*matches(wanted, tensors.inputs, tensors.outputs)]
        if not found and stated is not None:
            return Match(wanted, {}, _side(tensors, stated)), ()
        if not found:
            raise _unlike(path, tensors, [wanted])
        return found[0], ()
    found = recognise(tensors.inputs, tensors.outputs)
    if not found:
        raise _unlike(path, tensors, _nearest(tensors))
    presets = [*dict.fromkeys(match.preset for match in found)]
    if len(presets) > 1 and not _is_named(found[0]):
        raise UnknownNetworkError(
            f"{path}: several presets have tensors like these: {', '.join(presets)}.",
            f"Say which: {' or '.join(f'--set preset={name}' for name in presets)}.",
            [f"    found: {_line(tensors)}", *(f"    {name}: {PRESETS[name].about}" for name in presets)],
        )
    return found[0], tuple(presets[1:])


def _side(tensors: Tensors, stated: object) -> int | None:
    """Side of the first picture that is named, px; None where it is free."""
    named = {stated[kind] for kind in PICTURES if kind in stated} if isinstance(stated, Mapping) else set()
    shape = next((info.shape for info in tensors.inputs if info.name in named and info.shape), ())
    return shape[-1] if shape and isinstance(shape[-1], int) else None


def _is_named(match: Match) -> bool:
    """Whether the tensors have the names that this preset's usual networks have, and no other."""
    known = [one.names for one in PRESETS[match.preset].signatures if one.names is not None]
    return any(all(match.tensors.get(kind) == name for kind, name in names.items()) for names in known)


def _choices(names: Mapping[str, object]) -> str:
    return f"Presets are {', '.join(names)}, and none."


def _unlike(path: Path, tensors: Tensors, presets: Sequence[str]) -> UnknownNetworkError:
    table = [line for name in presets for line in _beside(name, tensors)]
    return UnknownNetworkError(
        f"{path}: the network is none that dh knows: it has {_line(tensors)}.",
        "Name the family with --family, or say what the tensors are with --set; docs/models.md has all settings.",
        table,
    )


def _line(tensors: Tensors) -> str:
    return f"{'; '.join(map(str, tensors.inputs))} -> {'; '.join(map(str, tensors.outputs))}"


def _nearest(tensors: Tensors) -> list[str]:
    return sorted(PRESETS, key=lambda name: min(_apart(one, tensors) for one in PRESETS[name].signatures))[:NEAREST]


def _apart(signature: Signature, tensors: Tensors) -> int:
    """How much differs: numbers of sizes and names, and ten for each tensor too many or too few."""
    pairs = [*_pairs(signature, tensors)]
    found = {info.name for info in tensors.inputs}
    unnamed = sum(name not in found for name in (signature.names or {}).values())
    return unnamed + sum(10 if shape is None or info is None else _distance(info, shape) for _, shape, info in pairs)


def _pairs(signature: Signature, tensors: Tensors) -> Iterator[tuple[str, Shape | None, TensorInfo | None]]:
    """Each tensor that is expected beside the one found that is most like it; None where one has no partner."""
    free = list(tensors.inputs)
    for kind, shape in signature.inputs.items():
        info = min(free, key=lambda one: _distance(one, shape), default=None)
        if info is not None:
            free.remove(info)
        yield kind, shape, info
    for info in free:
        yield "", None, info
    yield "output", signature.output, next(iter(tensors.outputs), None)


def _distance(info: TensorInfo, shape: Shape) -> int:
    """How many sizes differ, the batch aside."""
    sizes = info.shape[1:] if shape else info.shape
    if not shape:
        return 0 if len(sizes) <= 1 else 5
    differing = sum(
        isinstance(here, int) and there not in {ANY_SIDE, here} for here, there in zip(sizes, shape, strict=False)
    )
    return differing + 2 * abs(len(sizes) - len(shape))


def _beside(name: str, tensors: Tensors) -> Iterator[str]:
    """Lines of a table: what a preset expects, and what was found."""
    signature = min(PRESETS[name].signatures, key=lambda one: _apart(one, tensors))
    rows = [(f"expected by {name}", "found", "")]
    side: int | None = None
    for kind, shape, info in _pairs(signature, tensors):
        left = "nothing" if shape is None else f"{kind} ({', '.join(map(str, ('n', *shape) if shape else (1,)))})"
        same = shape is not None and info is not None and not _distance(info, shape) and info.dtype.startswith("float")
        for here in _sides(info, shape) if same and shape and info else ():
            side = here if side is None else side
            same = same and here == side
        rows.append((left, "nothing" if info is None else str(info), "" if same else "  <- differs"))
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for left, right, note in rows:
        yield f"    {left:{wide[0]}}   {right:{wide[1] if note else 0}}{note}"


def _sides(info: TensorInfo, shape: Shape) -> list[int]:
    """Sizes in the places of `ANY_SIDE`: they have to be equal."""
    pairs = zip(info.shape[1:], shape, strict=False)
    return [here for here, there in pairs if there == ANY_SIDE and isinstance(here, int)]
