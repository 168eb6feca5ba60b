from __future__ import annotations

import pytest

from dhcli.errors import CODES, Code
from dhcli.runs.retry import RETRIED, FailureLimit, Retry, parse_failure_limit


def test_what_is_tried_again_is_what_the_contract_says() -> None:
    assert {
        "model.failed",
        "model.bad_output",
        "device.out_of_memory",
        "input.changed",
        "input.unreachable",
        "decode.failed",
        "encode.failed",
        "stalled",
        "output.mismatch",
        "job.out_of_memory",
    } == RETRIED


@pytest.mark.parametrize("code", sorted(set(CODES) - RETRIED))
def test_all_else_is_not(code: Code) -> None:
    assert not Retry(9).allows(code, 1)


def test_attempts_are_counted() -> None:
    assert not Retry(0).allows("stalled", 1)
    assert Retry(1).allows("stalled", 1)
    assert not Retry(1).allows("stalled", 2)


def test_wait_doubles_up_to_a_minute_and_is_thrown_by_dice() -> None:
    highest = Retry(9, dice=lambda: 1.0)
    assert [highest.wait_s(attempt) for attempt in (1, 2, 3, 4, 5, 6, 5000)] == [5, 10, 20, 40, 60, 60, 60]
    assert Retry(9, dice=lambda: 0.25).wait_s(2) == 2.5
    assert Retry(9, dice=lambda: 0.0).wait_s(9) == 0
    assert len({Retry(9).wait_s(3) for _ in range(20)}) > 1
    assert all(0 <= Retry(9).wait_s(3) <= 20 for _ in range(200))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("1", FailureLimit(1)),
        (" 20 ", FailureLimit(20)),
        ("10%", FailureLimit(10, percent=True)),
        ("0.5%", FailureLimit(0.5, percent=True)),
        ("100%", FailureLimit(100, percent=True)),
    ],
)
def test_failure_limit(text: str, limit: FailureLimit) -> None:
    assert parse_failure_limit(text) == limit


@pytest.mark.parametrize("text", ["", "0", "0%", "-1", "101%", "1.5", "%", "ten", "1 %", "1e3", "٣"])
def test_what_is_no_failure_limit(text: str) -> None:
    with pytest.raises(ValueError, match="from 1"):
        parse_failure_limit(text)


@pytest.mark.parametrize(
    ("limit", "jobs", "first"),
    [("1", 100, 1), ("3", 100, 3), ("10%", 100, 10), ("10%", 12, 2), ("1%", 5, 1), ("100%", 4, 4), ("0.5%", 1000, 5)],
)
def test_the_first_number_of_failures_that_is_too_many(limit: str, jobs: int, first: int) -> None:
    found = parse_failure_limit(limit)
    assert next(failed for failed in range(jobs + 1) if found.reached(failed, jobs)) == first


def test_limit_in_words() -> None:
    assert (str(FailureLimit(3)), str(FailureLimit(10, percent=True))) == ("3", "10 %")
