"""A measurement: an ordinary run renders the clip at each size, and the job results give the times."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dhcli.bench.clip import Size, resize
from dhcli.bench.report import BenchReport, Pass, Run
from dhcli.disk.hashes import HashCache
from dhcli.disk.store import Store
from dhcli.events import Event, JobFinished, JobStarted, Summary, Warned
from dhcli.jobs.options import Job
from dhcli.render.probes import Probes
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import RUN_STOPPED, Batch
from dhcli.runs.retry import FailureLimit
from dhcli.runs.settings import Policy, Settings
from dhcli.runtime.interruptible import SignalledError, interruptible
from dhcli.runtime.scope import Scope
from dhcli.runtime.threads import cores

PASSES = ("cold", "warm, 1 of 3", "warm, 2 of 3", "warm, 3 of 3")
"""Of the warm passes the one with the median time counts, since other programs slow some of them down."""
INTERRUPTED = "interrupted; nothing is left behind"
Say = Callable[[str], None]


class UnfinishedError(Exception):
    """The measurement did not succeed, and the reason has been printed. The argument is the exit code."""


def measure(job: Job, sizes: Sequence[Size], settings: Settings, say: Say) -> BenchReport:
    """Render the job at every size, or unchanged without sizes, in a temporary folder. `say` prints a line.

    Raises UnfinishedError, and DhError if nothing was rendered.
    """
    try:
        with interruptible("bench", "the measurement") as scope:
            began = time.monotonic()
            settings.models.family(job.options.model)
            load_s = time.monotonic() - began
            results = [_results(job, size, settings, scope, say) for size in sizes or (None,)]
            scope.check()
    except SignalledError as end:
        say(INTERRUPTED)
        raise UnfinishedError(end.exit_code) from None
    last = results[-1][-1]
    runs = tuple(_run(*one) for one in results)
    return BenchReport(environment=last.environment, cores=cores(), options=last.options, load_s=load_s, runs=runs)


def _results(job: Job, size: Size | None, settings: Settings, scope: Scope, say: Say) -> list[JobResult]:
    """The results of the cold pass and of the warm passes, in this order."""
    with tempfile.TemporaryDirectory(prefix="dh-bench-") as name:
        folder, title = Path(name), job.video.name if size is None else "{}x{}".format(*size)

        def listen(event: Event) -> None:
            match event:
                case JobStarted(job_id=which):
                    say(f"{title}: {which}")
                case Warned(job_id=None | "cold", code=code, message=text) if code != RUN_STOPPED:
                    say(f"{title}: {text} [{code}]")
                case JobFinished(code=str(code), message=text, hint=hint) if code != "job.cancelled":
                    say(f"{title}: {text} {hint} [{code}]")
                case Summary(exit_code=code) if code:
                    # If a call hangs, the run ends the process next: the `with` block is never left.
                    shutil.rmtree(folder, ignore_errors=True)
                    if code > 128:
                        say(INTERRUPTED)

        if size is not None:
            say(f"{title}: making the clip")
            job = dataclasses.replace(job, video=resize(scope, job.video, size, folder / "clip.mp4"))
        scope.check()
        hashes, probes = HashCache(folder / "cache"), Probes(Store(folder / "cache"))
        settings = dataclasses.replace(settings, hashes=hashes, probes=probes)
        jobs = [dataclasses.replace(job, id=which, save_path=folder / f"{which}.mp4") for which in PASSES]
        summary = Batch(settings, listen, Policy(max_failures=FailureLimit(1))).run(jobs)
        if summary.exit_code:
            raise UnfinishedError(summary.exit_code)
        return [result for one in jobs if (result := read_result(settings.result_path(one))) is not None]


def _run(cold: JobResult, *warm: JobResult) -> Run:
    middle = sorted(warm, key=lambda result: result.timings_s.wall)[len(warm) // 2]
    assert middle.output is not None
    facts = middle.output.model_dump(include={"width", "height", "fps", "frames"})
    return Run(**facts, cold=_pass(cold), warm=_pass(middle))


def _pass(result: JobResult) -> Pass:
    parts = result.model_dump(include={"analysis", "timings_s", "resources"})
    return Pass(**parts, frames_per_s=result.frames.encoded / result.timings_s.wall)
