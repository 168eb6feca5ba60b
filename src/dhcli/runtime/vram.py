"""How much memory of the GPUs this process and its children hold, where NVIDIA's library answers."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any


def vram_bytes(pids: Collection[int]) -> int | None:
    """Bytes on all GPUs together; None without a GPU, or where the driver does not know these processes.

    In a container the driver names the host's process ids, and none of ours is among them: not known is then the
    truth, for what all programs hold together says nothing of this job.
    """
    nvml = nvml_library()
    if nvml is None:
        return None
    try:
        running = [
            process
            for index in range(nvml.nvmlDeviceGetCount())
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index))
        ]
    except nvml.NVMLError:  # a GPU that is lost ends the job by itself, with its own words
        return None
    known = [process.usedGpuMemory for process in running if process.pid in pids and process.usedGpuMemory is not None]
    return sum(known) if known else None


@functools.cache
def nvml_library() -> Any:
    """The library, ready to answer, or None: most machines have no NVIDIA driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
