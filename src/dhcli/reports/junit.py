"""`--junit`: the run as JUnit XML, which CI systems show; one test case per job.

An error in the user's input is a `failure`; an error of the machine or of dh is an `error`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from dhcli.errors import CODES, Code
from dhcli.events import JobFinished, Refused, Summary
from dhcli.printable import printable

USER_INPUT = frozenset({"input", "audio", "face", "manifest"})
"""First words of the codes for errors in what the user gave."""

SUITE = "dh render"
HEAD_BYTES = 4096
"""The first suite begins about 200 bytes after the beginning of the file."""
HEAD = re.compile(rb'\s*(?:<\?xml[^>]*>)?\s*<testsuites\b[^>]*>\s*<testsuite name="%b"' % SUITE.encode())


@dataclass(frozen=True, slots=True)
class Case:
    """A test case: one job, or the refusal of the whole run."""

    name: str
    place: str
    seconds: float = 0.0
    code: Code | None = None
    message: str = ""
    details: str = ""
    skipped: bool = False

    @property
    def kind(self) -> str | None:
        """The XML element: failure, error or skipped; None for success."""
        if self.code is None:
            return "skipped" if self.skipped else None
        from_input = self.code.partition(".")[0] in USER_INPUT and not CODES[self.code].transient
        return "failure" if from_input else "error"


def case_of(event: JobFinished) -> Case:
    """The test case of a finished job."""
    where = f"result: {event.result_path}" if event.result_path else ""
    return Case(
        name=event.job_id,
        place=event.save_path,
        seconds=event.wall_s,
        code=event.code,
        message=event.message or ("up to date" if event.status == "skipped" else ""),
        details=_details(event.message or "", event.hint or "", where),
        skipped=event.status == "skipped",
    )


def case_of_refusal(event: Refused) -> Case:
    """The test case of a run that could not start."""
    details = _details(*event.problems, event.hint)
    return Case("dh", "dh", code=event.code, message=event.problems[0], details=details)


def junit_xml(cases: Sequence[Case], summary: Summary) -> str:
    """The XML document."""
    cases = list(cases)
    if summary.not_started:
        message = f"{summary.not_started} jobs were not started"
        cases.append(Case(message, "dh", message=message, skipped=True))
    kinds = [case.kind for case in cases]
    counts = (
        f'tests="{len(cases)}" failures="{kinds.count("failure")}" errors="{kinds.count("error")}" '
        f'skipped="{kinds.count("skipped")}" time="{summary.wall_s:.3f}"'
    )
    head = f'<testsuites {counts}>\n  <testsuite name="{SUITE}" {counts}>'
    body = "\n".join(line for case in cases for line in _lines(case))
    parts = ('<?xml version="1.0" encoding="UTF-8"?>', head, body, "  </testsuite>\n</testsuites>\n")
    return "\n".join(part for part in parts if part)


def is_ours(content: bytes) -> bool:
    """Whether a file that begins with these bytes was made by `junit_xml`."""
    return HEAD.match(content) is not None


def _lines(case: Case) -> Iterator[str]:
    start = f'    <testcase classname={_quoted(case.place)} name={_quoted(case.name)} time="{case.seconds:.3f}"'
    if case.kind is None:
        yield f"{start}/>"
        return
    yield f"{start}>"
    if case.kind == "skipped":
        yield f"      <skipped message={_quoted(case.message)}/>"
    else:
        code = _quoted(case.code or "")
        yield f"      <{case.kind} type={code} message={_quoted(case.message)}>{_text(case.details)}</{case.kind}>"
    yield "    </testcase>"


def _details(*lines: str) -> str:
    """The texts as lines, one each: line breaks inside of a text are escaped."""
    return "\n".join(printable(line) for line in lines if line)


def _quoted(text: str) -> str:
    return quoteattr(printable(text))  # printable() escapes all characters that XML 1.0 forbids


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
