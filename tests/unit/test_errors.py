from __future__ import annotations

import queue
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from dhcli.errors import (
    CODES,
    EXIT_CODES,
    WARNINGS,
    Code,
    DhError,
    ManifestError,
    WarningCode,
    as_dh_error,
    causes,
    checked_code,
    checked_warning,
    describe,
)


@pytest.mark.parametrize("code", CODES)
def test_code_is_whole(code: Code) -> None:
    info = CODES[code]
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", code)
    assert info.meaning
    assert not info.meaning.endswith(".")
    assert info.exit_code in EXIT_CODES


def test_tables_hold_every_code_of_the_types() -> None:
    """mypy finds a key that the type lacks; this finds a code without a line."""
    assert set(CODES) == _literals(Code)
    assert set(WARNINGS) == _literals(WarningCode)


def _literals(kind: object) -> set[object]:
    return {literal for part in get_args(kind) for literal in (get_args(part) or (part,))}


@pytest.mark.parametrize(("check", "table"), [(checked_code, CODES), (checked_warning, WARNINGS)])
def test_codes_from_outside_are_checked(check: Callable[[str], str], table: dict[str, object]) -> None:
    assert [check(code) for code in table] == list(table)
    with pytest.raises(KeyError, match=r"face\.gone"):
        check("face.gone")


def test_mypy_finds_a_misspelt_code(tmp_path: Path) -> None:
    source = tmp_path / "misspelt.py"
    source.write_text(
        'from dhcli.errors import DhError\n\nDhError("face.lost", "right")\nDhError("face.last", "wrong")\n'
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert re.findall(r"misspelt\.py:(\d+): error: .*\[arg-type\]", done.stdout) == ["4"], done.stdout


def test_codes_that_end_a_run_have_an_exit_code_of_their_own() -> None:
    assert all(info.exit_code > 2 for info in CODES.values() if info.stops == "run")
    transient_runs = {info.exit_code for info in CODES.values() if info.stops == "run" and info.transient}
    assert transient_runs == {75}


def test_unknown_code_cannot_be_raised() -> None:
    with pytest.raises(KeyError, match=r"face\.gone"):
        DhError("face.gone", "no such code")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [queue.Empty(), queue.Full(), BrokenPipeError(), MemoryError(), TimeoutError()])
def test_exception_without_text_is_described_by_its_type(error: Exception) -> None:
    assert str(error) == ""
    assert describe(error).startswith(type(error).__name__)


def test_exception_without_text_says_where_it_was_raised() -> None:
    def inner() -> None:
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        inner()
    assert re.search(r"in inner, .*test_errors\.py:\d+", describe(caught.value))


def test_causes_are_listed_nearest_first_and_a_circle_ends() -> None:
    first, second, third = OSError("disk"), ValueError("bytes"), DhError("input.corrupt", "damaged")
    third.__cause__, second.__cause__ = second, first
    assert causes(third) == ["ValueError: bytes", "OSError: disk"]
    first.__cause__ = third
    assert causes(third) == ["ValueError: bytes", "OSError: disk"]


def test_stage_and_frame_are_filled_in_once() -> None:
    error = DhError("model.failed", "x").at("speak", 0).at("blend", 7)
    assert (error.stage, error.frame) == ("speak", 0)


def test_too_little_memory_is_no_bug() -> None:
    cause = MemoryError()
    error = as_dh_error(cause, "speak")
    assert (error.code, error.stage, error.__cause__) == ("job.out_of_memory", "speak", cause)


def test_what_nobody_foresaw_is_a_bug_with_its_cause() -> None:
    cause = ZeroDivisionError("division by zero")
    error = as_dh_error(cause, "blend")
    assert (error.code, error.stage, error.__cause__) == ("internal.bug", "blend", cause)
    assert error.message == "ZeroDivisionError: division by zero"
    assert as_dh_error(error, "encode") is error


def test_manifest_error_shows_every_problem() -> None:
    error = ManifestError("manifest.invalid", ["m.yaml:1: a", "m.yaml:2: b"])
    assert error.message.splitlines() == list(error.problems) == ["m.yaml:1: a", "m.yaml:2: b"]
