"""The verbs `dh models list`, `info` and `verify`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dhcli.command.flags import ModelName, ModelNames, ModelsDirs
from dhcli.command.streams import answer, say
from dhcli.command.wording import error_lines
from dhcli.errors import OK, DhError

if TYPE_CHECKING:
    from dhcli.networks.bundle import Bundle
    from dhcli.runtime.disk_calls import OnStep

models_app = typer.Typer(help="The models that are installed.")


@models_app.command("list")
def models_list(models_dir: ModelsDirs = None) -> None:
    """The models that are installed. A manifest can name all of them but face-finder, which the others use."""

    def one(bundle: Bundle, _: OnStep) -> list[str]:
        return [f"{bundle.name}  {bundle.version}  {bundle.licence}  {bundle.description}"]

    _each_model((), models_dir, one)


@models_app.command("info")
def models_info(name: ModelName, models_dir: ModelsDirs = None) -> None:
    """Where a model lies, its files and its networks."""

    def one(bundle: Bundle, _: OnStep) -> list[str]:
        lines = [f"{bundle.name} {bundle.version}, family {bundle.family}, {bundle.licence}", bundle.description]
        lines += [f"folder  {bundle.folder}", f"sha256  {bundle.sha256}"]
        lines += [
            f"{role:10} {file.path.name:16} {file.bytes:>10} bytes  {file.sha256}"
            for role, file in bundle.files.items()
        ]
        for role, network in bundle.networks.items():
            lines.append(f"{role:10} takes {'; '.join(map(str, network.inputs))}")
            lines.append(f"{'':10} gives {'; '.join(map(str, network.outputs))}")
        return lines

    _each_model((name,), models_dir, one)


@models_app.command("verify")
def models_verify(names: ModelNames = None, models_dir: ModelsDirs = None) -> None:
    """Read every file of the models and compare it with its hash."""

    def one(bundle: Bundle, on_step: OnStep) -> list[str]:
        bundle.check_all(on_step)
        return [f"{bundle.name}: {len(bundle.files)} files are as they should be"]

    _each_model(tuple(names or ()), models_dir, one)


def _each_model(
    names: Sequence[str], models_dirs: Sequence[Path] | None, look: Callable[[Bundle, OnStep], list[str]]
) -> None:
    """Print the lines of `look` for each named model, or for all models.

    A damaged model does not stop the others; the first one decides the exit code. A disk that does not respond ends the
    verb. `look` reports each file that it reads.
    """
    from dhcli.networks.bundle import available_models, load_bundle, search_path
    from dhcli.runtime.disk_calls import DiskCalls

    folders, on_disk, exit_code = models_dirs or (), DiskCalls(), OK
    places = ", ".join(map(str, search_path(folders)))
    for name in names or on_disk(places, lambda: available_models(folders)):
        what = f"the model {name} in one of {places}"
        try:
            answer(on_disk.in_steps(what, lambda on_step, name=name: look(load_bundle(name, folders), on_step)))  # type: ignore[misc]
        except DhError as error:
            if error.code == "stalled":
                raise
            say(error_lines(error))
            exit_code = exit_code or error.info.exit_code
    raise typer.Exit(exit_code)
