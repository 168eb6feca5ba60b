"""How jobs are run: what is the same for all jobs of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dhcli.disk.hashes import HashCache
from dhcli.disk.names import result_path
from dhcli.jobs.options import Job
from dhcli.media.input_limits import MAX_DURATION_S
from dhcli.render.models import Models
from dhcli.render.probes import Probes

IfExists = Literal["skip", "overwrite", "fail"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How jobs are run, the same for all jobs of a run."""

    models: Models
    manifest: Path | None = None
    if_exists: IfExists = "skip"
    verify: bool = False
    """Inputs are hashed anew, and an output is up to date only where its content has the hash that its result tells."""
    retry_poison: bool = False
    """Jobs that killed the process are rendered once more."""
    results_dir: Path | None = None
    limit_frames: int | None = None
    stall_timeout_s: float = 60.0
    timeout_s: float | None = None
    lock_wait_s: float = 0.0
    """How long to wait for another process that writes the same output."""
    max_duration_s: float = MAX_DURATION_S
    """Of an input."""
    root: Path | None = None
    """The folder that no input and no output may leave, whatever links do; `results_dir` is the operator's own."""
    min_disk_bytes: int = 0
    """Free space beside the output below which the run stops."""
    batch: int | None = None
    """Most frames that go through the face network at once; None: as many as the model is fastest with."""
    hashes: HashCache = field(default_factory=HashCache)
    probes: Probes = field(default_factory=Probes)
    """What earlier jobs found out about inputs; in its store lie their analyses of videos, too."""

    def result_path(self, job: Job) -> Path:
        """Where the job's result file lies."""
        return result_path(job.save_path, job.id, self.results_dir)

    def result_only_of(self, job: Job) -> Path | None:
        """The one output whose result the job may replace; None: any that is beside its output.

        In a folder for results, the same id in another manifest names the same file.
        """
        return None if self.results_dir is None else job.save_path
