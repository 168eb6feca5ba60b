"""Verbs and groups of verbs, without the `<bool>` that typer shows behind a switch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

Called = TypeVar("Called", bound=Callable[..., Any])


class Verb(TyperCommand):
    """One verb. Typer would show `--help <bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _bare(super().get_params(ctx))


class Verbs(TyperGroup):
    """A group of verbs."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _bare(super().get_params(ctx))


class App(typer.Typer):
    """A group whose verbs are `Verb`, unless they say otherwise."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Verbs, **settings)

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **settings: Any
    ) -> Callable[[Called], Called]:
        return super().command(name, cls=cls or Verb, **settings)


def _bare(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters
