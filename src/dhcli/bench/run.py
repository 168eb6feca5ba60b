"""One measurement from clip to report: the job cold, then warm and each of its floors, several times in turn.

The first pass finds the analysis' cost, warms what is warm at night, and keeps the frames for the encoder's floor; all
other costs are the middle warm one's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from dhcli import __version__
from dhcli.bench.clip import Size, enlarge
from dhcli.bench.family import MeteredFamily, Reel
from dhcli.bench.floors import floors_of, medians
from dhcli.bench.meter import Meter, MeteredScope, native_threads
from dhcli.bench.report import BenchReport, Run
from dhcli.bench.tell import Measured, tell
from dhcli.bundle import load_bundle
from dhcli.disk.part import PartFile
from dhcli.disk.store import Store
from dhcli.errors import DhError, as_dh_error
from dhcli.faces.avatar import CACHE_UNUSABLE
from dhcli.families.family import Precision
from dhcli.families.models import known
from dhcli.inference import Device, runtime_version
from dhcli.media.ffmpeg import InputFile, ffmpeg_version, find_ffmpeg
from dhcli.options import Job, parse_face
from dhcli.pipeline import render_job
from dhcli.plan import Contents, Trace, plan_job
from dhcli.probes import Probes
from dhcli.runtime.cgroup import memory_limit
from dhcli.runtime.scheduling import run_as_batch
from dhcli.runtime.threads import cores

TIMES = 3
"""Of the warm pass, of which the middle one counts, and of the floors, of which the medians do, in turn: other
programs, and cores that are not always equally fast, else make a floor higher than what stands on it. The least of the
floors, which nothing disturbed, would be held against a job that something did."""
REEL_BYTES = 1 << 30
"""Frames kept for the encoder's floor: 86 at 2160p, and never more than a quarter of the free memory."""
REEL_SHARE = 4

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Networks:
    """How the model is opened."""

    device: Device
    threads: int
    precision: Precision
    models_dirs: Sequence[Path]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure."""

    job: Job
    """Its `save_path` is not used."""
    sizes: Sequence[Size]
    """Sizes to bring the clip to; none: as it is."""
    frames: int | None
    networks: Networks


@dataclass(frozen=True, slots=True)
class _Opened:
    """The files of a job, open for all of its passes."""

    job: Job
    video: InputFile
    audio: InputFile
    photo: InputFile | None
    part: PartFile
    contents: Contents


def measure(wanted: Wanted, say: Say) -> BenchReport:
    """Render every size and tell. `say` is told what begins. Raises what ends the job."""
    run_as_batch()  # as a run does
    family, pool, load_s = _load(wanted)
    options = wanted.job.options
    runs = []
    for size in wanted.sizes or (None,):
        with tempfile.TemporaryDirectory(prefix="dh-bench-") as folder:
            runs.append(_Clip(wanted, size, Path(folder), family, pool, say).run())
    return BenchReport(
        dh=__version__,
        ffmpeg=ffmpeg_version(find_ffmpeg()),
        onnxruntime=runtime_version(),
        model=family.bundle.name,
        device=family.device,
        provider=family.provider,
        cores=cores(),
        precision=family.precision,
        threads=wanted.networks.threads,
        encoder=f"{options.encoder} {options.preset} crf {options.crf}",
        load_s=load_s,
        runs=tuple(runs),
    )


def _load(wanted: Wanted) -> tuple[MeteredFamily, frozenset[int], float]:
    """The model, its threads, and how long opening it took."""
    how = wanted.networks
    bundle = known(load_bundle(wanted.job.options.model, how.models_dirs))
    before, began = native_threads(), time.monotonic()
    family = MeteredFamily(bundle, how.device, how.threads, how.precision)
    family.looking()  # the analysis is to be measured without that
    return family, native_threads() - before, time.monotonic() - began


class _Clip:
    """The clip at one size, in a folder of its own."""

    def __init__(
        self,
        wanted: Wanted,
        size: Size | None,
        folder: Path,
        family: MeteredFamily,
        pool: frozenset[int],
        say: Say,
    ) -> None:
        self._wanted, self._size, self._folder = wanted, size, folder
        self._family, self._pool, self._say = family, pool, say
        self._store = Store(folder / "cache")

    def run(self) -> Run:
        """Raises DhError, whatever the job's reason to end is."""
        with contextlib.ExitStack() as stack:
            job = self._job()
            video = stack.enter_context(InputFile(job.video, "video"))
            audio = stack.enter_context(InputFile(job.audio, "audio"))
            part = stack.enter_context(PartFile(job.save_path))
            name = parse_face(job.options.face).photo
            photo = stack.enter_context(InputFile(name, "photo")) if name is not None else None
            hashes = (file.sha256() if file is not None else None for file in (video, audio, photo))
            opened = _Opened(job, video, audio, photo, part, Contents(*hashes))
            self._begin("cold")
            reel = stack.enter_context(Reel(min(REEL_BYTES, free_bytes() // REEL_SHARE)))
            cold = self._pass(opened, reel)
            warm, floors = [], []
            for number in range(1, TIMES + 1):
                self._begin(f"warm, {number} of {TIMES}")
                warm.append(self._pass(opened, None))
                _check_warm(warm[-1].trace)
                self._begin(f"the floors, {number} of {TIMES}")
                last = warm[-1]
                floors.append(floors_of(last.plan, last.meter, self._family, reel, (part.fd, *audio.pass_fds)))
        return tell(cold, warm, medians(floors), self._family.asked)

    def _begin(self, what: str) -> None:
        self._say(f"{self._size or self._wanted.job.video.name}: {what}")

    def _job(self) -> Job:
        """The job, with a clip of the wanted size and an output that nobody misses."""
        job = dataclasses.replace(self._wanted.job, save_path=self._folder / "out.mp4")
        if self._size is None:
            return job
        with InputFile(job.video, "video") as video, InputFile(job.audio, "audio") as audio:
            with _ending(MeteredScope(Meter())) as scope:
                plan = plan_job(job, video, audio, scope, Trace(), limit_frames=self._wanted.frames)
            self._begin("making the clip")
            return dataclasses.replace(job, video=enlarge(plan, self._size, self._folder / "clip.mp4"))

    def _pass(self, opened: _Opened, reel: Reel | None) -> Measured:
        meter, trace, family, contents = Meter(self._pool), Trace(), self._family, opened.contents
        with meter, _ending(MeteredScope(meter)) as scope:
            plan = plan_job(
                opened.job,
                opened.video,
                opened.audio,
                scope,
                trace,
                photo_file=opened.photo,
                contents=contents,
                probes=Probes(self._store),
                limit_frames=self._wanted.frames,
            )
            if reel is not None:
                reel.begin(plan.format)
            family.watch(meter, reel)
            render_job(plan, family, scope, trace, opened.part, lambda *_: None, store=self._store)
        return Measured(meter, trace, plan)


def free_bytes() -> int:
    """Memory that this process may still take, of the machine and of the control groups around it."""
    free, group = psutil.virtual_memory().available, memory_limit()
    return free if group is None else max(0, min(free, group.limit_bytes - group.used_bytes))


@contextlib.contextmanager
def _ending(scope: MeteredScope) -> Iterator[MeteredScope]:
    """What ends the job is the scope's first error, wherever it was noticed."""
    with scope:
        try:
            yield scope
        except Exception as error:
            scope.fail(error, "bench")
            raise scope.error or as_dh_error(error, "bench") from error


def _check_warm(trace: Trace) -> None:
    if trace.analysis == "cached":
        return
    why = "; ".join(text for code, text in trace.warnings if code == CACHE_UNUSABLE)
    raise DhError(
        "env.disk_full",
        f"The face's track could not be kept for the warm pass: {why or 'no reason is known'}.",
        hint="Let TMPDIR name a folder with more room.",
    )
