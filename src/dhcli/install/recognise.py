"""Which family and settings a network needs, by its tensors; and what to say where none or several fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dhcli.errors import DhError
from dhcli.families.patch.family import ENCODER, PatchFamily
from dhcli.families.patch.presets import ANY_SIDE, PRESETS, Match, Shape, Signature, matches, recognise
from dhcli.families.patch.settings import PRESET, PatchSettings
from dhcli.install.content import refuse_weights
from dhcli.networks.network import MOST_BYTES, Device, TensorInfo, open_network

PATCH, LATENT, ENHANCER = PatchFamily.name, "latent", "enhancer"
NEAREST = 2
"""Presets that a refusal shows."""
UNSURE = "unknown"
"""The licence of a model whose licence nobody told."""
WHOLE: Mapping[str, tuple[tuple[Shape, ...], Shape]] = {
    LATENT: (((8, 32, 32), (50, 384)), (4, 32, 32)),
    ENHANCER: (((3, 512, 512),), (3, 512, 512)),
}
"""Shapes without the batch, of inputs and output, by which the main network of other families is recognised."""


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
        family = next((name for name in WHOLE if _is_whole(tensors, *WHOLE[name])), None)
    if family not in {None, PATCH}:
        return Recognised(str(family), dict(sets))
    if wanted == "none" or (wanted is None and "tensors" in sets):
        return Recognised(PATCH, {PRESET: "none", **sets}, needs=_needs(sets))
    match, others = _chosen(path, tensors, wanted, stated="tensors" in sets)
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
    _refuse_unknown(settings)
    size = settings.get("size", preset.values.get("size"))
    return Recognised(
        PATCH, settings, f"{preset.about}, {size} px", preset.licence, others, _needs({**preset.values, **settings})
    )


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


def _chosen(path: Path, tensors: Tensors, wanted: str | None, *, stated: bool) -> tuple[Match, tuple[str, ...]]:
    """The likeliest match, and the names of the others."""
    if wanted is not None:
        if wanted not in PRESETS:
            raise UnknownNetworkError(f"--set preset={wanted}: there is no such preset.", _choices(PRESETS))
        found = [*matches(wanted, tensors.inputs, tensors.outputs)]
        if not found and stated:
            return Match(wanted, {}, None), ()
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
    """How much differs: numbers of sizes, and ten for each tensor too many or too few."""
    pairs = [*_pairs(signature, tensors)]
    return sum(10 if shape is None or info is None else _distance(info, shape) for _, shape, info in pairs)


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
    for kind, shape, info in _pairs(signature, tensors):
        left = "nothing" if shape is None else f"{kind} ({', '.join(map(str, ('n', *shape) if shape else (1,)))})"
        same = shape is not None and info is not None and not _distance(info, shape)
        rows.append((left, "nothing" if info is None else str(info), "" if same else "  <- differs"))
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for left, right, note in rows:
        yield f"    {left:{wide[0]}}   {right:{wide[1] if note else 0}}{note}"


def _is_whole(tensors: Tensors, inputs: Sequence[Shape], output: Shape) -> bool:
    """Whether inputs of these shapes and such an output are there; one number more, a time step, may be, too."""
    free = [info for info in tensors.inputs if len(info.shape) > 1]
    if len(free) != len(inputs) or not tensors.outputs:
        return False
    for shape in inputs:
        found = next((info for info in free if _is_like(info, shape)), None)
        if found is None:
            return False
        free.remove(found)
    return _is_like(tensors.outputs[0], output)


def _is_like(info: TensorInfo, shape: Shape) -> bool:
    """Free sizes are like all; a channel's is never free."""
    return (
        len(info.shape) == len(shape) + 1
        and info.shape[1] == shape[0]
        and all(isinstance(here, str) or here == there for here, there in zip(info.shape[1:], shape, strict=True))
    )
