"""JUnit: one test case per job, and XML that every reader takes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dhcli.errors import CODES, Code
from dhcli.events import JobFinished, Refused, Summary
from dhcli.printable import printable
from dhcli.reports.junit import HEAD_BYTES, case_of, case_of_refusal, is_ours, junit_xml


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.encode())  # noqa: S314 - our own text


def finished(status: str = "succeeded", code: Code | None = None, name: str = "a", message: str = "") -> JobFinished:
    return JobFinished("run", name, status, f"/out/{name}.mp4", None, 1.25, 0, None, code, message, "Do this.")


def summary(not_started: int = 0) -> Summary:
    return Summary("run", 4, 1, 1, 2, 0, not_started, 9.5, 1)


def test_every_outcome_has_its_element() -> None:
    events = [
        finished(),
        finished("skipped", name="b"),
        finished("failed", "face.not_found", "c", "No face."),
        finished("failed", "device.lost", "d", "Gone."),
    ]
    root = parsed(junit_xml([case_of(event) for event in events], summary(3)))
    (suite,) = root
    counts = {"tests": "5", "failures": "1", "errors": "1", "skipped": "2", "time": "9.500"}
    assert {name: suite.get(name) for name in counts} == counts == {name: root.get(name) for name in counts}
    assert [[child.tag for child in case] for case in suite] == [[], ["skipped"], ["failure"], ["error"], ["skipped"]]
    assert (suite[0].get("name"), suite[0].get("classname"), suite[0].get("time")) == ("a", "/out/a.mp4", "1.250")
    assert (suite[2][0].get("type"), suite[2][0].get("message")) == ("face.not_found", "No face.")
    assert suite[2][0].text == "No face.\nDo this."
    assert suite[4].get("name") == "3 jobs were not started"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("input.missing", "failure"),
        ("audio.too_short", "failure"),
        ("input.changed", "error"),
        ("output.disk_full", "error"),
        ("stalled", "error"),
        ("internal.bug", "error"),
    ],
)
def test_a_failure_is_what_the_user_must_change(code: Code, kind: str) -> None:
    assert case_of(finished("failed", code)).kind == kind


def test_every_code_is_one_of_the_two() -> None:
    assert {case_of(finished("failed", code)).kind for code in CODES} == {"failure", "error"}


def test_a_run_that_could_not_start_is_a_failed_case() -> None:
    event = Refused("manifest.syntax", ("night.yaml:3: no YAML", "night.yaml:9: a tab"), "Correct it.", 65)
    (case,) = parsed(junit_xml([case_of_refusal(event)], summary()))[0]
    assert (case[0].tag, case[0].get("type")) == ("failure", "manifest.syntax")
    assert case[0].text == "night.yaml:3: no YAML\nnight.yaml:9: a tab\nCorrect it."


@given(st.text(st.characters(codec=None)))
@example("\u034f")  # printable for Python, and invisible
def test_any_text_is_valid_xml(text: str) -> None:
    event = finished("failed", "stalled", f"x{text}", f"y{text}")
    root = parsed(junit_xml([case_of(event)], summary()))
    name = root[0][0].get("name") or ""
    assert name == printable(f"x{text}")


def test_no_jobs_are_a_whole_document() -> None:
    assert parsed(junit_xml([], summary())).get("tests") == "0"


def test_which_files_are_dhs() -> None:
    ours = junit_xml([case_of(finished())], summary()).encode()
    assert is_ours(ours[:HEAD_BYTES])
    assert is_ours(ours.partition(b"\n")[2]), "without the declaration"
    assert not is_ours(ours.replace(b"dh render", b"pytest"))
    assert not is_ours(ours.replace(b"<testsuite ", b'<testsuite name="pytest"/><testsuite '))
    for foreign in (b"<old/>", b"<testsuites/>", b"text", b"\xff\xfe", bytes(90)):
        assert not is_ours(foreign)
