"""docs/cli.md says what the command line does: every verb, flag, default, event and variable, in the same words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dhcli.cli import app
from dhcli.events import EVENTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def _walk(command: Any, path: str = "dh") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _walk(below, f"{path} {name}")


COMMANDS = dict(_walk(typer.main.get_command(app)))
VERBS = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


def _section(heading: str) -> str:
    assert f"\n## {heading}\n" in PAGE, f"docs/cli.md has no section '{heading}'"
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def _table(heading: str) -> list[str]:
    return [line for line in _section(heading).splitlines() if line.startswith("| `")]


def _default_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(parameter: Any) -> str:
    """A parameter as docs/cli.md shows it."""
    metavar = parameter.metavar or ""
    if parameter.param_type_name == "argument":
        names = [metavar or "|".join(parameter.type_descriptor.choices)]
    else:
        names = [f"{name} {metavar}".strip() for name in parameter.opts + parameter.secondary_opts]
    shown = ", ".join(f"`{name}`" for name in names).replace("|", r"\|")
    given = parameter.default
    if parameter.secondary_opts:
        given = (parameter.opts if given else parameter.secondary_opts)[0]
    default = "" if given in (None, False, 0, 0.0) else f"`{_default_text(given)}`"
    return f"| {shown} | {default} | {parameter.help} |"


def _as_in_render(path: str) -> list[str]:
    """Rows of flags that a section names and does not explain, since they are those of `dh render`."""
    line = re.search(r"^As in `dh render`: ((?:.+\n)+)", _section(path) + "\n", re.MULTILINE)
    names = re.findall(r"`([^`]+)`", line[1]) if line else []
    rows = {row.split("`")[1].split(" ")[0]: row for row in _table("dh render")}
    return [rows[name] for name in names]


@pytest.mark.parametrize("path", VERBS)
def test_every_verb_and_flag_is_documented_in_the_words_of_its_help(path: str) -> None:
    same = _as_in_render(path)
    rows = [_row(parameter) for parameter in VERBS[path].params]
    assert _table(path) == [row for row in rows if row not in same]
    assert same == [row for row in rows if row in same]


@pytest.mark.parametrize("path", COMMANDS)
def test_everything_has_help(path: str) -> None:
    command = COMMANDS[path]
    assert command.help
    assert [p.opts for p in command.params if not p.help] == []


def test_no_section_describes_a_verb_that_is_not_there() -> None:
    assert set(re.findall(r"^## (dh .+)$", PAGE, re.MULTILINE)) == set(VERBS)


def test_every_choice_is_named_in_the_help() -> None:
    for path, command in VERBS.items():
        for parameter in command.params:
            for choice in parameter.type_descriptor.choices or ():
                assert str(choice) in _row(parameter), f"{path} {parameter.opts}: {choice}"


def test_every_event_is_documented_with_its_fields() -> None:
    rows = {line.split("`")[1]: line for line in _table("Events")}
    assert list(rows) == [kind.name for kind in EVENTS]
    for kind in EVENTS:
        fields = [field.name for field in dataclasses.fields(kind)]
        assert re.findall(r"`([a-z_]+)`", rows[kind.name])[1:] == fields, kind.name


def test_every_variable_that_is_read_is_documented() -> None:
    read: set[str] = set()
    for source in (ROOT / "src").rglob("*.py"):
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"(?!\] = )", source.read_text(encoding="utf-8")))
    assert {"DH_FFMPEG", "TERM"} <= read
    assert read <= {line.split("`")[1] for line in _table("Environment")}


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))])
def test_flags_in_the_pages_are_there(page: str) -> None:
    known = {name for command in COMMANDS.values() for p in command.params for name in [*p.opts, *p.secondary_opts]}
    text = (ROOT / page).read_text(encoding="utf-8")
    verbs = "render|check|doctor|models|schema|demo|bench|cache|score|report|preview|faces"
    calls = re.findall(rf"\bdh (?:{verbs})[^\n`|>;]*", text)
    used = {flag for call in calls for flag in re.findall(r"(?<!\S)--[a-z0-9-]+", call)}
    assert used <= known | {"--help"}


def test_every_module_has_its_row_in_the_table_of_rooms() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([a-z_]+/?)`", row.split(" | ")[0])]
    package = ROOT / "src" / "dhcli"
    modules = {path.stem for path in package.glob("[a-z]*.py")}
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert sorted(named) == sorted(modules | rooms)
