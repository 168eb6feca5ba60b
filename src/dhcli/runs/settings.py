"""What is the same for all jobs of a run: how each is run, and what the run does around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dhcli.disk.hashes import HashCache
from dhcli.disk.names import result_path
from dhcli.errors import WarningCode
from dhcli.jobs.options import Job
from dhcli.media.input_limits import MAX_DURATION_S
from dhcli.media.web import Web
from dhcli.render.models import Models
from dhcli.render.probes import Probes
from dhcli.runs.retry import FailureLimit, Retry

IfExists = Literal["skip", "overwrite", "fail"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How each job is run."""

    models: Models
    manifest: Path | None = None
    if_exists: IfExists = "skip"
    verify: bool = False
    """Inputs are hashed again, and an output is up to date only if its content has the hash in its result."""
    retry_poison: bool = False
    """Jobs that killed the process are rendered once more."""
    strict: frozenset[WarningCode] = frozenset()
    """Warnings that make a job fail: its output is not put in place."""
    make_folders: bool = False
    """Whether a missing folder of an output is made."""
    results_dir: Path | None = None
    limit_frames: int | None = None
    stall_timeout_s: float = 60.0
    timeout_s: float | None = None
    lock_wait_s: float = 0.0
    """Seconds to wait for another process that writes the same output."""
    max_duration_s: float = MAX_DURATION_S
    """Longest input, s."""
    root: Path | None = None
    """The folder that inputs and outputs may not leave, even by links. `results_dir` may lie elsewhere."""
    min_disk_bytes: int = 0
    """Free space beside the output below which the run stops."""
    batch: int | None = None
    """Most frames that go through the main network at once; None: as many as the model is fastest with."""
    web: Web | None = None
    """Downloads inputs from addresses; None: an address is no input."""
    hashes: HashCache = field(default_factory=HashCache)
    probes: Probes = field(default_factory=Probes)
    """Probes of inputs. Its store has the analyses of videos, too."""

    def result_path(self, job: Job) -> Path:
        """Where the job's result file lies."""
        return result_path(job.save_path, job.id, self.results_dir)

    def result_only_of(self, job: Job) -> Path | None:
        """The one output whose result the job may replace; None: any that is beside its output.

        In a folder for results, the same id in another manifest names the same file.
        """
        return None if self.results_dir is None else job.save_path


@dataclass(frozen=True, slots=True)
class Policy:
    """What the run does around its jobs."""

    retry: Retry = field(default_factory=Retry)
    max_failures: FailureLimit | None = None
    only_failed: bool = False
    """Only jobs that earlier runs tried and did not finish are run."""
    run_lock: Path | None = None
    """A lock file that only one run at a time may hold; --lock-wait applies to it, too."""
