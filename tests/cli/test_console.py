"""What is said, in which words: the sentences of a log, without a run."""

from __future__ import annotations

import io

import pytest

from dhcli.command.console import People
from dhcli.command.wording import count, duration, summary_text
from dhcli.events import JobFinished, JobStarted, Progress, Summary, Warned
from dhcli.printable import printable


def _summary(**counts: int) -> Summary:
    numbers = {"jobs": 1, "succeeded": 0, "skipped": 0, "failed": 0, "cancelled": 0, "not_started": 0} | counts
    return Summary(run_id="r", wall_s=2472.0, exit_code=1 if counts.get("failed") else 0, **numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (4.24, "4.2s"), (59.94, "59.9s"), (59.96, "1m00s"), (2472, "41m12s"), (11100, "3h05m")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_count() -> None:
    assert [count(number, "job") for number in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


def test_summary_names_every_status_that_occurred() -> None:
    event = _summary(jobs=14, succeeded=9, skipped=1, failed=2, cancelled=1, not_started=1)
    event.codes.update({"face.lost": 2, "job.cancelled": 1})
    assert summary_text(event) == (
        "14 jobs: 9 succeeded, 1 up to date, 2 failed (2 x face.lost), 1 cancelled, 1 not started in 41m12s"
    )
    assert summary_text(_summary(jobs=0)) == "0 jobs: nothing to do in 41m12s"


@pytest.mark.parametrize("evil", ["\x1b[2J", "\r", "\n", "\x07", "\u202e", "\x9b31m", "\udc80", "\x00"])
def test_nothing_that_a_terminal_obeys_is_printed(evil: str) -> None:
    stream = io.StringIO()
    people = People(stream, bar=False, progress=True, verbosity=1)
    people(JobStarted("r", f"a{evil}", 0, 2, 1, f"s{evil}.wav", f"v{evil}.mp4", f"o{evil}.mp4"))
    people(Warned(f"a{evil}", "input.vfr", f"odd {evil}"))
    finished = JobFinished("r", f"a{evil}", "failed", f"o{evil}", f"r{evil}", 1.0, 0, None, "face.lost", evil, evil)
    people(finished)
    people(_summary(jobs=2, failed=1))
    lines = stream.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 9, "no name or message may make a line of its own"
    assert printable(evil).isascii()


def test_a_log_hears_of_progress_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dhcli.command.console.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    people = People(stream, bar=False, progress=True, verbosity=0)
    people(JobStarted("r", "a", 0, 1, 1, "s", "v", "o"))
    for done in range(101):
        people(Progress("a", "render", done, 200))
        now[0] += 0.5
    assert stream.getvalue().splitlines()[0] == "[1/1] a: rendering 20/200 frames, 2.0 fps, 1m30s left"
    assert len(stream.getvalue().splitlines()) == 5


def test_a_terminal_that_is_gone_ends_no_run() -> None:
    class Gone(io.StringIO):
        calls = 0

        def write(self, _: str) -> int:
            Gone.calls += 1
            raise OSError(5, "Input/output error")

    people = People(Gone(), bar=False, progress=True, verbosity=0)
    people(Warned(None, "input.vfr", "first"))
    people(Warned(None, "input.vfr", "second"))
    assert Gone.calls == 1
