"""The monitor: what it measures is true, its floors end a job, its own troubles do not."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from dhcli.runtime import vram
from dhcli.runtime.cgroup import MemoryLimit, memory_limit
from dhcli.runtime.child import Command
from dhcli.runtime.monitor import Monitor, Usage
from dhcli.runtime.scope import Scope, Stopped

GRACE_S = 20.0
"""Long enough for a loaded machine; whatever waits that long has failed."""
Warnings = list[tuple[str, str]]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + GRACE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def test_the_whole_tree_is_measured(tmp_path: Path) -> None:
    usage, warnings = Usage(), Warnings()
    grow = "import time; x = b'x' * (200 << 20); print(flush=True); time.sleep(600)"
    with Scope() as scope, Monitor(scope, tmp_path, usage, lambda *warning: warnings.append(warning)):
        own = psutil.Process().memory_info().rss
        child = scope.spawn("grow", Command([sys.executable, "-c", grow]))
        assert child.stdout.readline() == b"\n"
        until(lambda: (usage.peak_rss_bytes or 0) > own + (190 << 20), "the child is seen")
    assert usage.peak_open_files is not None
    assert usage.peak_open_files > 3
    assert usage.min_disk_free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert not warnings


def test_a_short_job_is_seen_too(tmp_path: Path) -> None:
    usage = Usage()
    with Scope() as scope, Monitor(scope, tmp_path, usage, print):
        pass
    assert usage.peak_rss_bytes is not None


def test_too_little_disk_ends_the_job_before_it_begins(tmp_path: Path) -> None:
    with Scope() as scope:
        monitor = Monitor(scope, tmp_path, Usage(), print, min_disk_bytes=1 << 60)
        with pytest.raises(Stopped), monitor:
            pytest.fail("the block runs although there is no room")
        assert scope.error is not None
        assert scope.error.code == "env.disk_full"
        assert str(tmp_path) in scope.error.message
        assert "--min-disk" in scope.error.hint


def test_a_disk_that_fills_up_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [1 << 30]
    monkeypatch.setattr("dhcli.runtime.monitor.shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    with Scope() as scope, Monitor(scope, tmp_path, Usage(), print, min_disk_bytes=1 << 20):
        free[0] = 1000
        until(lambda: scope.error, "the floor acts")
        assert scope.error is not None
        assert scope.error.code == "env.disk_full"


def test_a_missing_folder_is_for_others_to_tell(tmp_path: Path) -> None:
    warnings = Warnings()
    missing = tmp_path / "missing"
    with Scope() as scope, Monitor(scope, missing, Usage(), lambda *w: warnings.append(w), min_disk_bytes=1 << 60):
        assert scope.error is None
    assert not warnings


def test_little_memory_left_ends_the_job_and_its_children(tmp_path: Path) -> None:
    used = [100]
    limit = lambda: MemoryLimit(Path("/group"), 1000 << 20, used[0] << 20)  # noqa: E731
    with Scope() as scope, Monitor(scope, tmp_path, Usage(), print, memory=limit):
        child = scope.spawn("sleep", Command(["sleep", "600"]))
        used[0] = 951
        until(lambda: scope.error, "the floor acts")
        assert child.wait(GRACE_S) == -9
        assert scope.error is not None
        assert (scope.error.code, scope.error.info.stops) == ("job.out_of_memory", "job")
        assert "951 of 1000 MiB" in scope.error.message


def test_its_own_troubles_are_one_warning(tmp_path: Path) -> None:
    looks, warnings, usage = [0], Warnings(), Usage()

    def broken() -> MemoryLimit | None:
        looks[0] += 1
        raise RuntimeError("no such thing")

    with Scope() as scope:
        with Monitor(scope, tmp_path, usage, lambda *warning: warnings.append(warning), memory=broken):
            until(lambda: usage.peak_open_files, "the other looks go on")
        assert scope.error is None
    assert looks == [1]
    assert [code for code, _ in warnings] == ["monitor.failed"]
    assert "RuntimeError: no such thing" in warnings[0][1]


@pytest.mark.slow
def test_a_look_that_hangs_does_not_keep_the_job(tmp_path: Path) -> None:
    release, entered = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(GRACE_S)

    began = time.monotonic()
    with Scope() as scope:
        monitor = Monitor(scope, tmp_path, Usage(), print, memory=hang)
        with monitor:
            assert entered.wait(GRACE_S)
    assert time.monotonic() - began < GRACE_S / 2
    assert monitor._thread.is_alive()
    release.set()
    monitor._thread.join()


def test_after_the_job_no_floor_acts(tmp_path: Path) -> None:
    full = MemoryLimit(Path("/group"), 100, 100)
    seen: list[MemoryLimit | None] = [None]
    with Scope() as scope:
        with Monitor(scope, tmp_path, Usage(), print, memory=lambda: seen[0]) as monitor:
            seen[0] = full
            monitor._done.set()  # as if the job ended between two looks
        assert scope.error is None


# Control groups: the kernel's files as they are, in a folder of our own, since a test may not limit its machine.


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def stat(active: int, inactive: int, prefix: str = "") -> str:
    return f"anon 5\n{prefix}active_file {active}\n{prefix}inactive_file {inactive}\nslab 7"


def test_version_2_counts_the_nearest_limit_without_the_cache(tmp_path: Path) -> None:
    group(tmp_path / "cg/job", memory__max="max", memory__current=900, memory__stat=stat(0, 0))
    group(tmp_path / "cg/job/inner", memory__max=2000, memory__current=900, memory__stat=stat(0, 0))
    group(tmp_path / "cg", memory__max=1000, memory__current=990, memory__stat=stat(100, 200))
    (tmp_path / "self").write_text("0::/job/inner\n")
    assert memory_limit(tmp_path / "self", tmp_path / "cg") == MemoryLimit(tmp_path / "cg", 1000, 690)


def test_version_1_counts_the_groups_below(tmp_path: Path) -> None:
    text = stat(10, 20) + "\n" + stat(100, 200, "total_")
    names = {"memory__limit_in_bytes": 1000, "memory__usage_in_bytes": 980, "memory__stat": text}
    group(tmp_path / "memory/docker/x", **names)
    (tmp_path / "self").write_text("5:cpu:/\n4:hugetlb,memory:/docker/x\n0::/\n")
    assert memory_limit(tmp_path / "self", tmp_path) == MemoryLimit(tmp_path / "memory/docker/x", 1000, 680)


def test_a_containers_own_group_is_the_root_of_the_mount(tmp_path: Path) -> None:
    names = {"memory__limit_in_bytes": 1000, "memory__usage_in_bytes": 500, "memory__stat": stat(0, 0)}
    group(tmp_path / "memory", **names)
    (tmp_path / "self").write_text("4:memory:/kubepods/pod1/of-the-host\n")
    assert memory_limit(tmp_path / "self", tmp_path) == MemoryLimit(tmp_path / "memory", 1000, 500)


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "no number", "0"])
def test_no_limit(tmp_path: Path, limit: str) -> None:
    group(tmp_path, memory__max=limit, memory__current=5, memory__stat=stat(0, 0))
    (tmp_path / "self").write_text("0::/\n")
    assert memory_limit(tmp_path / "self", tmp_path) is None


def test_a_system_without_groups(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "missing", tmp_path) is None


def test_this_machine_can_be_read() -> None:
    found = memory_limit()
    assert found is None or 0 < found.used_bytes < found.limit_bytes


class FakeNvml:
    """NVIDIA's library, as far as it is asked: two GPUs with these processes."""

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus: list[tuple[int, int | None]]) -> None:
        self._gpus = gpus
        self.lost = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's names
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        if self.lost:
            raise self.NVMLError
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self._gpus[handle]]


@pytest.mark.parametrize(
    ("gpus", "found"),
    [
        (([(10, 700), (99, 5000)], [(11, 300)]), 1000),
        (([(99, 5000)], []), None),
        (([(10, None)],), None),
        ((), None),
    ],
)
def test_the_memory_of_our_processes_on_all_gpus(
    monkeypatch: pytest.MonkeyPatch, gpus: tuple[list[tuple[int, int | None]], ...], found: int | None
) -> None:
    monkeypatch.setattr(vram, "nvml_library", lambda: FakeNvml(*gpus))
    assert vram.vram_bytes({10, 11}) == found


def test_a_lost_gpu_is_not_the_monitors_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml([(10, 700)])
    nvml.lost = True
    monkeypatch.setattr(vram, "nvml_library", lambda: nvml)
    assert vram.vram_bytes({10}) is None


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    vram.nvml_library.cache_clear()
    try:
        assert vram.vram_bytes({1}) is None
    finally:
        vram.nvml_library.cache_clear()


def test_peaks_of_the_gpu_reach_the_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = iter([700, 900, 800])
    monkeypatch.setattr("dhcli.runtime.monitor.vram_bytes", lambda _: next(values, None))
    usage = Usage()
    with Scope() as scope, Monitor(scope, tmp_path, usage, print):
        until(lambda: usage.peak_vram_bytes == 900, "the second look")
        until(lambda: next(values, "end") == "end", "the third look")
    assert usage.peak_vram_bytes == 900
