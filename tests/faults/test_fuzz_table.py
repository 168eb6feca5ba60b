"""tests/faults/README.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NAMED = re.findall(r"`((?:\w+/)+test_\w+\.py)?(?:::(test_\w+))?`", (TESTS / "faults/README.md").read_text())


def test_every_named_test_is_there() -> None:
    file = ""
    missing = []
    for named, test in NAMED:
        file = named or file
        text = (TESTS / file).read_text() if (TESTS / file).is_file() else ""
        if not text or (test and f"def {test}(" not in text):
            missing.append(f"{file}::{test}")
    assert not missing, missing


@pytest.mark.parametrize("section", ["Inputs", "Manifest and paths", "Run time", "Batch", "Strangers"])
def test_every_row_names_a_test(section: str) -> None:
    text = (TESTS / "faults/README.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert not [row for row in rows if "test_" not in row]
