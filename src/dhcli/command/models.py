"""The verbs `dh models list`, `info`, `verify` and `remove`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dhcli.command.flags import SHOW, ModelName, ModelNames, ModelsDirs
from dhcli.command.model_json import bundle_json, error_as_json, error_json
from dhcli.command.models_add import models_add
from dhcli.command.streams import answer, say
from dhcli.command.verb import App
from dhcli.command.wording import count, error_lines
from dhcli.errors import OK, DhError

if TYPE_CHECKING:
    from dhcli.networks.bundle import Bundle
    from dhcli.runtime.disk_calls import OnStep

models_app = App(help="The models that are installed, and one's own.")
models_app.command(
    "add",
    epilog="Examples:\n\ndh models add wav2lip_gan.onnx --name wav2lip\n\n"
    "dh models add anna.onnx --name anna --file encoder=hubert.onnx --licence LicenseRef-anna",
)(models_add)
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="The same as one JSON value on stdout.", rich_help_panel=SHOW)
]
Look = Callable[["Bundle", "OnStep"], list[str]]


@models_app.command("list")
def models_list(models_dir: ModelsDirs = None, json_: AsJson = False) -> None:
    """The models that are installed. A manifest can name all of them but face-finder, which the others use."""

    def one(bundle: Bundle, _: OnStep) -> list[str]:
        return [f"{bundle.name}  {bundle.version}  {bundle.licence}  {bundle.description}"]

    _each_model((), models_dir, one, as_json=json_)


@models_app.command("info")
def models_info(name: ModelName, models_dir: ModelsDirs = None, json_: AsJson = False) -> None:
    """Where a model lies, its files, settings and networks."""

    def one(bundle: Bundle, _: OnStep) -> list[str]:
        lines = [f"{bundle.name} {bundle.version}, family {bundle.family}, {bundle.licence}", bundle.description]
        lines += [f"folder  {bundle.folder}", f"sha256  {bundle.sha256}"]
        lines += [
            f"{role:10} {file.path.name:16} {file.bytes:>10} bytes  {file.sha256}"
            for role, file in bundle.files.items()
        ]
        lines += [f"{key:10} {_text(value)}" for key, value in bundle.settings.items()]
        for role, network in bundle.networks.items():
            lines.append(f"{role:10} takes {'; '.join(map(str, network.inputs))}")
            lines.append(f"{'':10} gives {'; '.join(map(str, network.outputs))}")
        return lines

    _each_model((name,), models_dir, one, as_json=json_)


@models_app.command("verify")
def models_verify(names: ModelNames = None, models_dir: ModelsDirs = None, json_: AsJson = False) -> None:
    """Read every file of the models and compare it with its hash."""

    def one(bundle: Bundle, on_step: OnStep) -> list[str]:
        bundle.check_all(on_step)
        files = len(bundle.files)
        return [
            f"{bundle.name}: " + (f"{files} files are as they" if files > 1 else "its file is as it") + " should be"
        ]

    _each_model(tuple(names or ()), models_dir, one, as_json=json_)


@models_app.command("remove")
def models_remove(name: ModelName, models_dir: ModelsDirs = None, json_: AsJson = False) -> None:
    """Remove a model of one's own, without asking; those that come with dh stay."""
    from dhcli.install.remove import remove_model
    from dhcli.runtime.disk_calls import DiskCalls

    with error_as_json(name, wanted=json_):
        gone = DiskCalls()(f"the model {name}", lambda: remove_model(name, models_dir or ()))
    if json_:
        value = {"name": name, "folder": str(gone.folder), "removed": list(gone.files), "left": list(gone.left)}
        answer([json.dumps({**value, "error": None})])
        return
    answer([f"removed {gone.folder}: {', '.join(gone.files) or 'a link'}"])
    if gone.left:
        answer([f"its folder stays, with {count(len(gone.left), 'file')} that the model did not have"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _each_model(names: Sequence[str], models_dirs: Sequence[Path] | None, look: Look, *, as_json: bool) -> None:
    """Print the lines of `look`, or the JSON, for each named model, or for all models.

    A damaged model does not stop the others; the first one decides the exit code. A disk that does not respond ends the
    verb. `look` reports each file that it reads.
    """
    from dhcli.networks.bundle import available_models, load_bundle, search_path
    from dhcli.runtime.disk_calls import DiskCalls

    folders, on_disk, exit_code = models_dirs or (), DiskCalls(), OK
    places = ", ".join(map(str, search_path(folders)))
    values: list[dict[str, Any]] = []

    def looked_at(name: str, on_step: OnStep) -> tuple[Bundle, list[str]]:
        bundle = load_bundle(name, folders)
        return bundle, look(bundle, on_step)

    for name in names or on_disk(places, lambda: available_models(folders)):
        what = f"the model {name} in one of {places}"
        try:
            bundle, lines = on_disk.in_steps(what, lambda on_step, name=name: looked_at(name, on_step))  # type: ignore[misc]
        except DhError as error:
            if error.code == "stalled":
                raise
            say(error_lines(error))
            exit_code = exit_code or error.info.exit_code
            values.append(error_json(name, error))
        else:
            values.append({**bundle_json(bundle), "error": None})
            if not as_json:
                answer(lines)
    if as_json:
        answer([json.dumps(values)])
    raise typer.Exit(exit_code)
