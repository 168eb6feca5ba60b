"""The verb `dh models add`: its flags, the bar while files are copied, and what is said at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dhcli.command.choices import path_value
from dhcli.command.flags import HOW, SHOW, WHAT, ModelsDirs
from dhcli.command.model_json import bundle_json, error_as_json
from dhcli.command.streams import answer, say

if TYPE_CHECKING:
    from dhcli.install.add import Added, Wanted

Source = Annotated[str, typer.Argument(metavar="PATH", help="ONNX file, or its http or https address with --sha256.")]
Name = Annotated[
    str, typer.Option("--name", metavar="NAME", help="What manifests call the model.", rich_help_panel=WHAT)
]
Family = Annotated[
    str | None,
    typer.Option("--family", metavar="NAME", help="The model's family, where it is not found.", rich_help_panel=HOW),
]
SettingTexts = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the model; may be repeated.", rich_help_panel=HOW),
]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file", metavar="ROLE=PATH", help="A further file, as encoder=PATH; may be repeated.", rich_help_panel=WHAT
    ),
]
Hashes = Annotated[
    list[str] | None,
    typer.Option(
        "--sha256", metavar="[ROLE=]HEX", help="Hash that the file must have; may be repeated.", rich_help_panel=WHAT
    ),
]
Licence = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Licence of the weights, as SPDX has it.", rich_help_panel=WHAT)
]
Replace = Annotated[
    bool,
    typer.Option("--replace", metavar="", help="Replace a model of this name that was added.", rich_help_panel=HOW),
]
Int8 = Annotated[
    bool,
    typer.Option(
        "--int8", metavar="", help="Add a network in 8 bits, faster on CPUs; needs dhcli[int8].", rich_help_panel=HOW
    ),
]
Calibrate = Annotated[
    list[Path] | None,
    typer.Option(
        "--calibrate",
        parser=path_value,
        metavar="VIDEO",
        help="One's own talking video to calibrate --int8 on, beside the sample; may be repeated.",
        rich_help_panel=HOW,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="The same as one JSON value on stdout.", rich_help_panel=SHOW)
]


def models_add(
    path: Source,
    name: Name,
    family: Family = None,
    set_: SettingTexts = None,
    file: Files = None,
    sha256: Hashes = None,
    licence: Licence = None,
    replace: Replace = False,
    int8: Int8 = False,
    calibrate: Calibrate = None,
    models_dir: ModelsDirs = None,
    json_: AsJson = False,
) -> None:
    """Add somebody's ONNX network as a model: recognise, copy, describe it, and render a second of the sample."""
    from dhcli.command.console import FileBar
    from dhcli.command.selection import usage
    from dhcli.install.add import Wanted, add_model, parse_setting
    from dhcli.install.recognise import UnknownNetworkError
    from dhcli.install.self_test import InterruptedTestError

    if calibrate and not int8:
        usage("--calibrate goes with --int8")
    wanted = Wanted(
        source=path,
        name=name,
        family=family,
        settings=_pairs("--set", set_, parse_setting),
        files=_pairs("--file", file, _pair),
        sha256=_pairs("--sha256", sha256, lambda text: _pair(text) if "=" in text else ("", text)),
        licence=licence,
        models_dirs=tuple(models_dir or ()),
        replace=replace,
        narrow=int8,
        calibrate=tuple(calibrate or ()),
    )
    bar = FileBar(sys.stderr)
    try:
        with error_as_json(name, wanted=json_):
            added = add_model(wanted, bar, lambda text: say([f"dh models add: {text}"]))
    except UnknownNetworkError as error:
        say(error.table)
        raise
    except InterruptedTestError as end:
        say(["dh models add: interrupted; nothing is installed"])
        raise typer.Exit(*end.args) from None
    finally:
        bar.close()
    _show(added, wanted, as_json=json_)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise ValueError(f"{text}: expected ROLE=VALUE")
    return key, value


def _pairs(flag: str, texts: Sequence[str] | None, parse: Callable[[str], tuple[str, Any]]) -> Mapping[str, Any]:
    """The values by their keys. Ends with usage where one is wrong or comes twice."""
    from dhcli.command.selection import usage

    found: dict[str, Any] = {}
    for text in texts or ():
        try:
            key, value = parse(text)
        except ValueError as error:
            usage(f"{flag} {error}")
        if key in found:
            usage(f"{flag} {text}: given twice")
        found[key] = value
    return found


def _show(added: Added, wanted: Wanted, *, as_json: bool) -> None:
    bundle, found, tested = added.bundle, added.recognised, added.tested
    if as_json:
        value = {
            **bundle_json(bundle),
            "others": list(found.others),
            "usual_licence": found.usual_licence,
            "self_test": {"frames": tested.frames, "wall_s": tested.wall_s, "fps": tested.fps},
            "int8_db": added.int8_db,
            "error": None,
        }
        answer([json.dumps(value)])
        return
    preset = found.settings.get("preset")
    lines = [f"added      {bundle.folder}", f"family     {bundle.family}" + (f", preset {preset}" if preset else "")]
    lines += [f"           {found.about}"] if found.about else []
    lines += [f"fits, too  {', '.join(found.others)}; --set preset=NAME takes another one"] if found.others else []
    if added.int8_db is not None:
        lines.append(f"int8       {added.int8_db:.1f} dB beside the network it was made from")
    lines.append(f"self-test  {tested.frames} frames in {tested.wall_s:.1f} s, {tested.fps:.1f} frames a second")
    if wanted.licence is None:
        usual = "" if found.usual_licence == bundle.licence else f"; of the usual weights: {found.usual_licence}"
        lines.append(f"licence    unknown{usual}; --licence TEXT says it")
    else:
        lines.append(f"licence    {bundle.licence}")
    option = "enhancer" if bundle.family == "enhancer" else "model"
    answer([*lines, f"use        {option}: {bundle.name}"])
