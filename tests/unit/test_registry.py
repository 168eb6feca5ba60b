"""Families of other packages, by entry points. `tests/families` renders with one that is really installed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dhcli.errors import DhError
from dhcli.families.dh_base.family import DhBase
from dhcli.families.family import Family
from dhcli.families.registry import family_names, family_of
from dhcli.networks.bundle import Bundle, load_bundle

Package = Callable[[str, str], None]
PAINTER = """class Painter:
    name, version, roles, sample_rate = 'painter', 1, ('{role}',), 8000

    @classmethod
    def check(cls, bundle):
        pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Puts a package on the path whose entry point `painter` leads to the module's `Painter`."""

    def make(module: str, code: str) -> None:
        (tmp_path / f"{module}.py").write_text(code)
        facts = tmp_path / f"{module}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[dhcli.families]\npainter = {module}:Painter\n")
        monkeypatch.syspath_prepend(tmp_path)

    return make


@pytest.fixture
def bundle() -> Bundle:
    """dh-base's, under another family."""
    return dataclasses.replace(load_bundle("dh-base"), family="painter")


def test_a_family_of_a_package_is_found(package: Package, bundle: Bundle) -> None:
    package("painter_one", PAINTER.format(role="face"))
    assert {DhBase.name, "painter"} <= set(family_names())
    assert family_of(bundle).name == "painter"


def test_the_bundle_of_a_family_has_its_files(package: Package, bundle: Bundle) -> None:
    package("painter_two", PAINTER.format(role="brush"))
    with pytest.raises(DhError, match="no file 'brush', which its family 'painter' needs") as caught:
        family_of(bundle)
    assert caught.value.code == "model.incompatible"


def test_the_page_for_contributors_names_all_members_of_a_family(repository: Path) -> None:
    page = (repository / "CONTRIBUTING.md").read_text()
    table = page[page.index("## Add a family") : page.index("2. Make a bundle")]
    named = {word for line in table.splitlines() if "|" in line for word in re.findall(r"`(\w+)", line.split("|")[1])}
    assert named == {name for name in {*Family.__annotations__, *vars(Family)} if not name.startswith("_")} | {
        "__init__"
    }


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import not_there_at_all", "not_there_at_all"),
        ("", "Painter"),
        ("class Painter:\n    name, version, roles, sample_rate, check = 'other', 1, (), 8000, print", "'other'"),
        ("class Painter:\n    name, version = 'painter', 1", "no roles, sample_rate, check"),
        ("Painter = 3", "no name, version, roles, sample_rate, check"),
    ],
    ids=["import", "attribute", "name", "members", "number"],
)
def test_what_is_no_family_is_the_fault_of_its_package(
    package: Package, bundle: Bundle, request: pytest.FixtureRequest, code: str, found: str
) -> None:
    module = f"painter_{request.node.callspec.id}"
    package(module, code)
    with pytest.raises(DhError) as caught:
        family_of(bundle)
    assert caught.value.code == "model.incompatible"
    assert module in caught.value.message
    assert found in caught.value.message


def test_a_family_says_which_bundles_are_its_own(package: Package, bundle: Bundle) -> None:
    package("painter_three", PAINTER.format(role="face").replace("pass", "raise ValueError('no brush')"))
    with pytest.raises(DhError, match="no brush") as caught:
        family_of(bundle)
    assert caught.value.code == "model.failed"
