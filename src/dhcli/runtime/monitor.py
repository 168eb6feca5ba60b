"""Measures once a second what a job uses of the machine, and ends it before memory or disk run out.

It fills in a `Usage`, and fails a `Scope`. Where it cannot measure something, that is a warning and fails no job.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from dhcli.errors import Code, DhError, WarningCode, describe
from dhcli.runtime.cgroup import MemoryLimit, memory_limit
from dhcli.runtime.scope import Scope
from dhcli.runtime.threads import start_thread
from dhcli.runtime.vram import vram_bytes

EVERY_S = 1.0
FIRST_S = 0.05
"""The first wait. Each is twice the one before, up to a second, so that a short job is measured at work, too."""
MEMORY_SHARE = 0.95
"""Share of a control group's limit at which a job ends. It leaves 100 MiB of 2 GiB, a second's growth at 1080p."""
OPEN_FILES = 64
"""Files that must be allowed. A render holds about 20 open, and its libraries open some for a moment."""
JOIN_S = 1.0
"""A measurement that takes longer waits for a dead disk or driver; the job does not wait for it."""


def open_files_allowed() -> int:
    """How many files may be open at once. Raises DhError env.limits where these are too few for any job."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < OPEN_FILES:
        raise DhError(
            "env.limits",
            f"Only {limit} files may be open at once; dh needs {OPEN_FILES}.",
            hint="Raise the limit: ulimit -n 1024",
        )
    return limit


@dataclass(slots=True)
class Usage:
    """Highest and lowest values so far; None where nothing was measured."""

    peak_rss_bytes: int | None = None
    peak_vram_bytes: int | None = None
    peak_open_files: int | None = None
    min_disk_free_bytes: int | None = None


class Monitor:
    """Measures while its block runs."""

    def __init__(
        self,
        scope: Scope,
        folder: Path,
        usage: Usage,
        warn: Callable[[WarningCode, str], None],
        *,
        min_disk_bytes: int = 0,
        memory: Callable[[], MemoryLimit | None] | None = None,
    ) -> None:
        """`folder` is where the output will lie; with less than `min_disk_bytes` free there, the job ends."""
        self._scope, self._folder, self._usage, self._warn = scope, folder, usage, warn
        self._min_disk_bytes, self._memory = min_disk_bytes, memory or memory_limit
        self._done = threading.Event()
        self._silent: set[str] = set()
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)

    def __enter__(self) -> Self:
        # Before anything is written: a job without enough space must not use up the rest of it first.
        with self._scope.stage("disk"):
            self._look("disk", self._disk)
        self._scope.check()
        try:
            start_thread(self._thread)
        except DhError as error:  # the render needs threads, too, and fails with an own error
            self._warn("monitor.failed", f"What the job uses is not measured: {describe(error)}")
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def _watch(self) -> None:
        wait_s = FIRST_S
        last = False
        while not last:
            last = self._done.wait(wait_s)  # measure once more at the end: the peak is often there
            wait_s = min(2 * wait_s, EVERY_S)
            self._look("disk", self._disk)
            self._look("memory of the control group", self._cgroup)
            self._look("memory", self._processes)
            self._look("open files", self._open_files)

    def _look(self, what: str, measure: Callable[[], None]) -> None:
        if what in self._silent:
            return
        try:
            measure()
        except Exception as error:  # noqa: BLE001 - a job can be rendered without being measured
            self._silent.add(what)
            self._warn("monitor.failed", f"The {what} could not be measured: {describe(error)}")

    def _processes(self) -> None:
        own = psutil.Process()
        tree = {own.pid: own.memory_info().rss}
        for child in own.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile
                tree[child.pid] = child.memory_info().rss
        usage = self._usage
        usage.peak_rss_bytes = max(usage.peak_rss_bytes or 0, sum(tree.values()))
        vram = vram_bytes(tree)
        if vram is not None:
            usage.peak_vram_bytes = max(usage.peak_vram_bytes or 0, vram)

    def _open_files(self) -> None:
        self._usage.peak_open_files = max(self._usage.peak_open_files or 0, psutil.Process().num_fds())

    def _disk(self) -> None:
        try:
            free = shutil.disk_usage(self._folder).free
        except (FileNotFoundError, NotADirectoryError):  # writing there fails with a better error
            return
        usage = self._usage
        usage.min_disk_free_bytes = min(free, free if usage.min_disk_free_bytes is None else usage.min_disk_free_bytes)
        if free < self._min_disk_bytes:
            self._fail(
                "env.disk_full",
                f"{free >> 20} MiB are free in {self._folder}, less than the {self._min_disk_bytes >> 20} MiB that "
                "dh leaves there.",
                "Make room, then start the same command again; --min-disk sets the limit in MiB, 0 for none.",
            )

    def _cgroup(self) -> None:
        group = self._memory()
        if group is not None and group.share > MEMORY_SHARE:
            self._fail(
                "job.out_of_memory",
                f"{group.used_bytes >> 20} of {group.limit_bytes >> 20} MiB of memory are used, more than "
                f"{MEMORY_SHARE:.0%} of the limit in {group.folder}; the kernel would soon have killed a process.",
                "Raise the memory limit of the service or container, or render fewer jobs at a time on this machine.",
            )

    def _fail(self, code: Code, message: str, hint: str) -> None:
        if not self._scope.stopped and not self._done.is_set():
            self._scope.fail(DhError(code, message, hint=hint, stage="monitor"), "monitor")
