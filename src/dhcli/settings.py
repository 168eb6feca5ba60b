"""How jobs are run: what is the same for all jobs of a run, and the models that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dhcli.bundle import Bundle, load_bundle
from dhcli.disk.hashes import HashCache
from dhcli.errors import DhError
from dhcli.families.dh_base import BATCH, DhBase, Precision
from dhcli.inference import Device
from dhcli.media.fence import MAX_DURATION_S
from dhcli.options import Job
from dhcli.probes import Probes
from dhcli.results.result import result_path

IfExists = Literal["skip", "overwrite", "fail"]


class Models:
    """The models of a run: descriptors read once, networks opened at their first use and kept."""

    def __init__(
        self, folders: Sequence[Path], device: Device, threads: int = 0, precision: Precision = "auto"
    ) -> None:
        self.device = device
        self.precision = precision
        self._folders, self._threads = tuple(folders), threads
        self._bundles: dict[str, Bundle] = {}
        self._families: dict[str, DhBase] = {}

    def bundle(self, name: str) -> Bundle:
        """The model's description. Raises DhError model.*."""
        if name not in self._bundles:
            self._bundles[name] = load_bundle(name, self._folders)
        return self._bundles[name]

    def family(self, name: str) -> DhBase:
        """The model, ready to run. Raises DhError model.*, env.device_unavailable."""
        if name not in self._families:
            bundle = self.bundle(name)
            if bundle.family != DhBase.name:
                raise DhError(
                    "model.incompatible",
                    f"The model '{name}' is of the family '{bundle.family}', which this dh does not know.",
                    hint=f"This dh knows the family {DhBase.name}.",
                )
            self._families[name] = DhBase(bundle, self.device, self._threads, self.precision)
        return self._families[name]


@dataclass(frozen=True, slots=True)
class Settings:
    """How jobs are run, the same for all jobs of a run."""

    models: Models
    manifest: Path | None = None
    if_exists: IfExists = "skip"
    verify: bool = False
    """An output is up to date only where its content still has the hash that its result tells."""
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
    batch: int = BATCH
    """Frames that go through the face network at once."""
    hashes: HashCache = field(default_factory=HashCache)
    probes: Probes = field(default_factory=Probes)
    """What earlier jobs found out about inputs; in its store lie their analyses of videos, too."""

    def result_path(self, job: Job) -> Path:
        """Where the job's result file lies."""
        return result_path(job.save_path, job.id, self.results_dir)
