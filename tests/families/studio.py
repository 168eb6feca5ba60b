"""Where the tests of model families render: models of their own, one cache for all, and pictures read back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dhcli.disk.store import Store
from dhcli.events import Event
from dhcli.manifest import single_job
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.render.probes import Probes
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.retry import Retry
from dhcli.runs.settings import Policy, Settings
from dhcli.types import F64, U8, Frame
from families import latent_probes
from families.probes import CONTRACTS, Contract, Says, bundle, probe

LATENT = "latent"
SHARED = ("wav2lip", "facefusion_wav2lip", "edtalk", "dinet", "ultralight", LATENT)
"""Contracts that every test of all families renders with, and the family of four networks."""
FOUR = latent_probes.Kind(size=128)
FAKE = """#!{python} -IS
import os, sys, time
argv = sys.argv[1:]
if "pipe:0" in argv:
    with open({mark!r}, "ab") as mark:
        mark.write(b"x")
    if os.path.getsize({mark!r}) == {nth}:
        {behaviour}
os.execv({real!r}, [{real!r}, *argv])
"""


@dataclass
class Studio:
    """A folder with models and a cache, and what renders with them in this process."""

    folder: Path
    models: Models = field(init=False)
    names: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = Models((self.models_dir,), Device("cpu"), 2)

    @property
    def models_dir(self) -> Path:
        return self.folder / "models"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def model(self, contract: str | Contract, says: Says, *, settings: dict[str, Any] | None = None, **how: Any) -> str:
        """The name of a model whose network has this contract and says this; made once."""
        if contract == LATENT:
            return self._latent(says, **(settings or {}), **how)
        one = CONTRACTS[contract] if isinstance(contract, str) else contract
        key = (one.preset, one.size, one.sound, says, str(settings), str(how))
        if key not in self.names:
            self.names[key] = f"probe-{len(self.names)}"
            names = how.get("names")
            bundle(self.models_dir, self.names[key], one, probe(one, says, **how), names=names, **(settings or {}))
        return self.names[key]

    def _latent(self, says: Says, **settings: Any) -> str:
        """As `model`, for the four networks: an echo, or all that is heard as one grey in a white frame."""
        key = (LATENT, says, str(settings))
        if key not in self.names:
            self.names[key] = f"probe-{len(self.names)}"
            contents = latent_probes.networks(FOUR, "whole" if says == "echo" else "heard")
            latent_probes.bundle(self.models_dir, self.names[key], contents, **FOUR.settings | settings)
        return self.names[key]

    def render(
        self, audio: Path, video: Path, output: Path, model: str, *, retry: Retry | None = None, **options: Any
    ) -> JobResult:
        """One job; `limit_frames`, `batch` and `if_exists` are the run's, all other options the job's."""
        how = {name: options.pop(name) for name in {"limit_frames", "batch", "if_exists"} & set(options)}
        written = {"preset": "ultrafast", "model": model} | {key: str(value) for key, value in options.items()}
        settings = Settings(self.models, probes=Probes(Store(self.cache)), **how)
        events: list[Event] = []
        (job,) = single_job(audio, video, output, written).jobs
        Batch(settings, events.append, Policy(retry=retry or Retry(0))).run([job])
        result = read_result(settings.result_path(job))
        assert result is not None
        return result

    def command(self, *arguments: object) -> list[str]:
        """`dh render` as a process of its own, with these models and this cache."""
        how = ["--models-dir", self.models_dir, "--cache-dir", self.cache, "--device", "cpu", "--retries", "0"]
        return [sys.executable, "-m", "dhcli", "render", *map(str, arguments), *map(str, how)]


def succeeded(result: JobResult) -> JobResult:
    assert result.status == "succeeded", result.error
    return result


def fake_ffmpeg(folder: Path, behaviour: str, nth: int) -> Path:
    """An ffmpeg that does something else in its nth encode: a line of Python."""
    program, mark = folder / "ffmpeg", folder / "mark"
    program.write_text(
        FAKE.format(python=sys.executable, mark=str(mark), nth=nth, behaviour=behaviour, real=find_ffmpeg())
    )
    program.chmod(0o755)
    return program


def grey(frame: Frame) -> F64:
    """Luma as grey levels 0..255, (H, W)."""
    return (frame.y.astype(np.float64) - 16) * 255 / 219


@dataclass(frozen=True, slots=True)
class Window:
    """The upright part of a frame that a network painted, px."""

    left: int
    top: int
    right: int
    bottom: int

    def at(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a place in it, 0..1 from its left and top."""
        return round(self.top + y * (self.bottom - self.top)), round(self.left + x * (self.right - self.left))

    def near(self, picture: F64, x: float, y: float) -> float:
        """The mean of 3x3 px around a place."""
        row, column = self.at(x, y)
        return float(picture[row - 1 : row + 2, column - 1 : column + 2].mean())


def painted(new: Frame, old: Frame) -> Window:
    """Where two frames differ: all of a crop with a white frame around it, and nothing else."""
    differs: U8 = np.abs(new.y.astype(np.int16) - old.y).astype(np.uint8) > 3
    rows, columns = np.flatnonzero(differs.sum(1) > 2), np.flatnonzero(differs.sum(0) > 2)
    return Window(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def psnr(one: F64, other: F64) -> float:
    """dB of two pictures with 0..255."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))


def manifest(folder: Path, jobs: Sequence[dict[str, str]]) -> Path:
    path = folder / "night.yaml"
    path.write_text(json.dumps({"version": 1, "jobs": list(jobs)}))
    return path


def peak_bytes(command: Sequence[str]) -> int:
    """Run a program to its end; the most memory that it held itself. Its children are not counted.

    The kernel keeps the peak, so that the last look counts; `getrusage` would tell at least that of this process.
    """
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            peak = int(found[1]) << 10 if found else peak
            time.sleep(0.02)
    assert process.returncode == 0
    return peak
