"""The documentation shows commands that exist: every flag after a `dh` command, and every flag named in the text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from dhcli.cli import app
from dhcli.events import Summary
from dhcli.families.hearing.encoders import ENCODERS
from dhcli.families.patch.presets import PRESETS
from dhcli.families.patch.settings import PatchSettings
from dhcli.reports.metrics_file import KINDS
from dhcli.reports.on_finish import _variables
from dhcli.sound.recipes import RECIPES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
FOREIGN = re.compile(r"^#SBATCH .*$|`docker [^`]*`|^(pip|systemctl|python|git|make) .*$", re.MULTILINE)
"""Lines and words that belong to other programs."""


def _flags(command: object, path: str) -> Iterator[tuple[str, set[str]]]:
    """Every verb with its flags, as typer's parser knows them."""
    found = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}  # type: ignore[attr-defined]
    yield path, {name for name in found if name.startswith("-")} | {"--help", "-h"}
    for name, sub in getattr(command, "commands", {}).items():
        yield from _flags(sub, f"{path} {name}".strip())


FLAGS = dict(_flags(typer.main.get_command(app), ""))
ALL = set().union(*FLAGS.values())


def _commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each `dh VERB …` in the text, to the end of the command."""
    for found in re.finditer(
        r"(?<![\w./-])(?:/opt/dh/bin/)?dh ((?:render|check|doctor|schema|bench|models \w+)\b[^\n`|;&#]*)", text
    ):
        words = found[1].replace('"]', "")
        try:
            parts = shlex.split(words)
        except ValueError:
            parts = [part.strip("'.") for part in words.split()]  # the command itself stood in quotes
        verb = " ".join(parts[:2]) if parts[0] == "models" else parts[0]
        yield verb, parts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_of_a_command_exists(page: Path) -> None:
    wrong = [
        f"dh {verb} … {part}"
        for verb, parts in _commands(page.read_text(encoding="utf-8"))
        for part in parts
        if re.match(r"--?[a-z]", part) and part.split("=")[0] not in FLAGS[verb]
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_in_the_text_exists(page: Path) -> None:
    text = FOREIGN.sub("", page.read_text(encoding="utf-8"))
    quoted = [flag for code in re.findall(r"`(--[a-z][^`]*)`", text) for flag in re.findall(r"--[a-z][a-z0-9-]+", code)]
    assert not [flag for flag in quoted if flag not in ALL]


def test_the_commands_are_found() -> None:
    assert sum(1 for _ in _commands(OPERATIONS)) >= 8, "otherwise the tests above check nothing"


def test_every_metric_is_documented() -> None:
    assert set(re.findall(r"`(dh_\w+)(?:\{[^`]*)?`", OPERATIONS)) == set(KINDS)


def test_every_variable_of_on_finish_is_documented() -> None:
    rows = OPERATIONS.split("| variable | value |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(DH_\w+)`", rows)) == set(_variables(Summary("", 0, 0, 0, 0, 0, 0, 0.0, 0), None))


def test_the_page_of_models_has_every_setting_preset_recipe_and_encoder() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    named = [name for row in re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert set(named) >= {*PatchSettings.model_fields, *PRESETS, *RECIPES, *ENCODERS}
    table = page.split("| setting | meaning |")[1].split("\n\n")[0]
    rows = [name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert rows == [*PatchSettings.model_fields], "in the same order"
