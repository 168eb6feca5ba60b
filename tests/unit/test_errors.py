from __future__ import annotations

import queue
import re

import pytest

from dhcli.errors import CODES, EXIT_CODES, Code, DhError, ManifestError, as_dh_error, causes, describe


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_code_is_whole(code: Code) -> None:
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", code.name)
    assert code.meaning
    assert not code.meaning.endswith(".")
    assert code.exit_code in EXIT_CODES
    assert CODES[code.name] is code


def test_codes_that_end_a_run_have_an_exit_code_of_their_own() -> None:
    assert all(code.exit_code > 2 for code in CODES.values() if code.stops == "run")
    transient_runs = {code.exit_code for code in CODES.values() if code.stops == "run" and code.transient}
    assert transient_runs == {75}


def test_unknown_code_cannot_be_raised() -> None:
    with pytest.raises(KeyError, match=r"face\.gone"):
        DhError("face.gone", "no such code")


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
