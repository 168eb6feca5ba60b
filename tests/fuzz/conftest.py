"""Damaged media for the fuzz tests, and the whole pipeline that they go through.

Every file is damaged by a seed alone, so a failure can be made again: `DH_FUZZ_FIRST=17 DH_FUZZ_SEEDS=1 pytest -k mkv`.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dhcli.families.dh_base.family import DhBase
from dhcli.manifest import single_job
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.retry import Retry
from dhcli.runs.settings import Policy, Settings

FRAMES = 10
NEVER = frozenset({"internal.bug", "stalled", "job.timeout"})
"""No damage to a file may end in one of these."""
SOUND_S = FRAMES / 25
LONG_S = 3.0
"""Of sounds in Ogg, where one page of 0.4 s would be all there is."""
PAGES = ("-page_duration", "200000")
PROMISING = frozenset({"mp4", "mkv", "mov", "webm", "avi", "wav", "m4a", "flac", "ogg", "opus"})
"""Their headers say how long they were, or their pages follow each other, so what is missing must be told."""
SHORT_S = 0.05
STALL_S = 20.0
"""No stage of a clip of ten frames takes a second; the generous rest is for a busy machine."""
EXACT = ("-threads", "1", "-bitexact")
"""The same bytes whatever the number of cores and the day, as far as the encoder allows: a seed means one accident."""
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-pix_fmt", "yuv420p")
VIDEOS = {
    "mp4": (*X264, "-movflags", "+faststart"),
    "mkv": X264,
    "mov": ("-c:v", "mpeg4", "-q:v", "5"),
    "ts": X264,
    "webm": ("-c:v", "libvpx", "-b:v", "500k"),
    "avi": ("-c:v", "mjpeg", "-q:v", "8"),
}
SOUNDS = {
    "wav": ("-c:a", "pcm_s16le"),
    "mp3": ("-c:a", "libmp3lame", "-ar", "22050", "-b:a", "32k"),
    "m4a": ("-c:a", "aac", "-b:a", "32k"),
    "flac": ("-c:a", "flac"),
    "ogg": ("-c:a", "libvorbis", "-ar", "22050", *PAGES),
    "opus": ("-c:a", "libopus", "-b:a", "32k", *PAGES),
}
LENGTHS = {"ogg": LONG_S, "opus": LONG_S}


@dataclass
class Tally:
    """What became of the damaged files of one kind."""

    whole: int = 0
    told: int = 0
    """Of those: with a warning that says what is damaged."""
    shorter: int = 0
    """Rendered, and the damaged file itself claims to be shorter than the one it was made from."""
    codes: collections.Counter[str] = field(default_factory=collections.Counter)
    short_seeds: list[int] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def files(self) -> int:
        return self.whole + self.shorter + sum(self.codes.values())

    def row(self, kind: str) -> str:
        codes = ", ".join(f"{code} {count}" for code, count in self.codes.most_common())
        cells = (kind, self.files, self.whole, self.told, self.shorter, codes or "none", f"{self.slowest_s:.1f}")
        return "| " + " | ".join(map(str, cells)) + " |"


TALLIES: dict[str, Tally] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of benchmarks/faults.md."""
    if not TALLIES or "DH_FUZZ_SEEDS" not in os.environ:
        return
    terminalreporter.write_line(
        "| kind | files | rendered whole | of those with a warning | rendered shorter | refused with | slowest, s |"
    )
    terminalreporter.write_line("|---|---|---|---|---|---|---|")
    for kind, tally in TALLIES.items():
        terminalreporter.write_line(tally.row(kind))
    for kind, tally in TALLIES.items():
        if tally.short_seeds:
            terminalreporter.write_line(f"{kind} was rendered shorter with the seeds {tally.short_seeds}")


def damaged(data: bytes, seed: int) -> bytes:
    """The same file after an accident: flipped bits, a block of noise or zeros, a cut, a gap, a block twice."""
    chance = random.Random(seed)  # noqa: S311 - the same damage for the same seed is the point
    body = bytearray(data)
    # A third of all accidents hit the first 1024 bytes, where the headers are.
    end = min(len(body), 1024) if chance.random() < 1 / 3 else len(body)
    at = chance.randrange(end)
    size = min(chance.choice((1, 4, 16, 64, 400, 2000)), len(body) - at)
    match chance.choice(("flip", "noise", "zero", "cut", "gap", "twice")):
        case "flip":
            for _ in range(chance.choice((1, 3, 10, 50))):
                body[chance.randrange(end)] ^= 1 << chance.randrange(8)
        case "noise":
            body[at : at + size] = chance.randbytes(size)
        case "zero":
            body[at : at + size] = bytes(size)
        case "cut":
            del body[max(at, 1) :]
        case "gap":
            del body[at : at + size]
        case "twice":
            body[at:at] = body[at : at + size]
    return bytes(body)


@pytest.fixture(scope="session")
def seeds() -> range:
    """A few in the test suite; DH_FUZZ_SEEDS of them, from DH_FUZZ_FIRST on, where that is asked for."""
    first = int(os.environ.get("DH_FUZZ_FIRST", "0"))
    return range(first, first + int(os.environ.get("DH_FUZZ_SEEDS", "4")))


@pytest.fixture(scope="session")
def sources(avatar: Path, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ten frames of a face, or a sound for them, in every container."""
    folder = tmp_path_factory.mktemp("sources")
    picture = ("-i", avatar, "-frames:v", FRAMES, "-vf", "crop=240:240:80:20,scale=120:120", "-an")
    made = {}
    for kind, argv in [(kind, (*picture, *how)) for kind, how in VIDEOS.items()] + [
        (kind, ("-ss", 1, "-t", LENGTHS.get(kind, SOUND_S), "-i", speech, *how)) for kind, how in SOUNDS.items()
    ]:
        made[kind] = folder / f"whole.{kind}"
        subprocess.run([find_ffmpeg(), "-v", "error", "-nostdin", *map(str, argv), *EXACT, str(made[kind])], check=True)
    return made


@pytest.fixture(scope="session")
def models(dh_base: DhBase) -> Models:
    models = Models((), Device("cpu"))
    models._families["dh-base"] = dh_base
    return models


@pytest.fixture
def render(models: Models, tmp_path: Path) -> Callable[[Path, Path], JobResult]:
    """One job with the real networks, in an empty folder; what is left there is looked at, too."""

    def run(audio: Path, video: Path) -> JobResult:
        folder = tmp_path / "out"
        folder.mkdir()
        try:
            jobs = single_job(audio, video, folder / "out.mp4").jobs
            settings = Settings(models, stall_timeout_s=STALL_S, timeout_s=60, limit_frames=FRAMES)
            Batch(settings, lambda _: None, Policy(retry=Retry(0))).run(jobs)
            result = read_result(settings.result_path(jobs[0]))
            assert result is not None
            left = {path.name for path in folder.iterdir()}
            assert left == {"out.mp4.json"} | ({"out.mp4"} if result.status == "succeeded" else set())
        finally:
            shutil.rmtree(folder)
        return result

    return run


@pytest.fixture
def look(render: Callable[[Path, Path], JobResult], tmp_path: Path) -> Callable[..., JobResult | str]:
    """Render with a damaged file: its result, or what is wrong with how it ended."""

    def run(kind: str, source: Path, seed: int, partner: Path) -> JobResult | str:
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(damaged(source.read_bytes(), seed))
        tally = TALLIES.setdefault(kind, Tally())
        began = time.monotonic()
        result = render(partner, path) if kind in VIDEOS else render(path, partner)
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - began)
        error, frames = result.error, result.frames
        if error is not None:
            tally.codes[error.code] += 1
            unsaid = not error.message or not error.hint
            return f"{error.code}: {error.message}" if unsaid or error.code in NEVER else result
        if result.output is None or not frames.planned == frames.rendered == frames.encoded == result.output.frames:
            return f"called whole with {frames}"
        short, told = is_shorter(result, kind), any(one.code == "input.damaged" for one in result.warnings)
        if short and kind in PROMISING and not told:
            return f"called whole with {result.inputs}"
        tally.shorter, tally.whole = tally.shorter + short, tally.whole + (not short)
        tally.told += told and not short
        if short:
            tally.short_seeds.append(seed)
        return result

    return run


def is_shorter(result: JobResult, kind: str) -> bool:
    """Whether fewer frames, or less sound, were found in the damaged file than it once had."""
    video, audio = result.inputs.video, result.inputs.audio
    assert video is not None
    assert audio is not None
    if kind in VIDEOS:
        return video.frames is None or video.frames < FRAMES
    return audio.duration_s is None or audio.duration_s < LENGTHS.get(kind, SOUND_S) - SHORT_S
