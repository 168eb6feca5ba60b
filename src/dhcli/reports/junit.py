"""`--junit`: the run as the XML that CI systems show, one test case per job.

What somebody must change in an input is a failure, what went wrong around it an error. Pure: events in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from dhcli.errors import CODES
from dhcli.events import JobFinished, Refused, Summary
from dhcli.printable import printable

OURS_TO_CHANGE = frozenset({"input", "audio", "face", "manifest"})
"""The first words of the codes that blame what the user gave."""

SUITE = "dh render"
HEAD_BYTES = 4096
"""The first suite begins about 200 bytes after the beginning of the file."""
HEAD = re.compile(rb'\s*(?:<\?xml[^>]*>)?\s*<testsuites\b[^>]*>\s*<testsuite name="%b"' % SUITE.encode())


@dataclass(frozen=True, slots=True)
class Case:
    """One job, or what kept all of them from starting."""

    name: str
    place: str
    seconds: float = 0.0
    code: str | None = None
    message: str = ""
    details: str = ""
    skipped: bool = False

    @property
    def kind(self) -> str | None:
        """The element: failure, error or skipped; None where all is well."""
        if self.code is None:
            return "skipped" if self.skipped else None
        ours = self.code.partition(".")[0] in OURS_TO_CHANGE and not CODES[self.code].transient
        return "failure" if ours else "error"


def case_of(event: JobFinished) -> Case:
    """A job that ended."""
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
    """What kept the run from starting."""
    details = _details(*event.problems, event.hint)
    return Case("dh", "dh", code=event.code, message=event.problems[0], details=details)


def junit_xml(cases: Sequence[Case], summary: Summary) -> str:
    """The whole document."""
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
    """Whether a file that begins so is one of `junit_xml`."""
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
    """Lines of text; nobody's text makes a line of its own."""
    return "\n".join(printable(line) for line in lines if line)


def _quoted(text: str) -> str:
    return quoteattr(printable(text))  # which leaves nothing that XML 1.0 cannot hold


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
