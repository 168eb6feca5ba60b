"""The verbs below `dh models`: which models there are, what is in them, and whether their files are whole."""

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
    from dhcli.bundle import Bundle

models_app = typer.Typer(help="The models that are installed.")


@models_app.command("list")
def models_list(models_dir: ModelsDirs = None) -> None:
    """The models that can be named in a manifest."""

    def one(bundle: Bundle) -> None:
        answer([f"{bundle.name}  {bundle.version}  {bundle.licence}  {bundle.description}"])

    _each_model((), models_dir, one)


@models_app.command("info")
def models_info(name: ModelName, models_dir: ModelsDirs = None) -> None:
    """Where a model lies, its files and its networks."""

    def one(bundle: Bundle) -> None:
        answer([f"{bundle.name} {bundle.version}, family {bundle.family}, {bundle.licence}", bundle.description])
        answer([f"folder  {bundle.folder}", f"sha256  {bundle.sha256}"])
        for role, file in bundle.files.items():
            answer([f"{role:10} {file.path.name:16} {file.bytes:>10} bytes  {file.sha256}"])
        for role, network in bundle.networks.items():
            answer([f"{role:10} takes {'; '.join(map(str, network.inputs))}"])
            answer([f"{'':10} gives {'; '.join(map(str, network.outputs))}"])

    _each_model((name,), models_dir, one)


@models_app.command("verify")
def models_verify(names: ModelNames = None, models_dir: ModelsDirs = None) -> None:
    """Read every file of the models and compare it with its hash."""

    def one(bundle: Bundle) -> None:
        for role in bundle.files:
            bundle.check(role)
        answer([f"{bundle.name}: {len(bundle.files)} files are as they should be"])

    _each_model(tuple(names or ()), models_dir, one)


def _each_model(names: Sequence[str], models_dirs: Sequence[Path] | None, do: Callable[[Bundle], None]) -> None:
    """Every named model, or all; one that is damaged does not hide the others, and decides the exit code."""
    from dhcli.bundle import available_models, load_bundle

    exit_code = OK
    for name in names or available_models(models_dirs or ()):
        try:
            do(load_bundle(name, models_dirs or ()))
        except DhError as error:
            say(error_lines(error))
            exit_code = exit_code or error.info.exit_code
    raise typer.Exit(exit_code)
