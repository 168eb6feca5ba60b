"""Memory of NVIDIA GPUs that this process and its children hold."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any


def vram_bytes(pids: Collection[int]) -> int | None:
    """Bytes on all GPUs together; None without a GPU, or where the driver lists none of these processes.

    In a container the driver lists the host's process ids, which are others than ours. The memory of all programs
    together would say nothing of this job.
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
    except nvml.NVMLError:  # a lost GPU ends the job with another error
        return None
    known = [process.usedGpuMemory for process in running if process.pid in pids and process.usedGpuMemory is not None]
    return sum(known) if known else None


@functools.cache
def nvml_library() -> Any:
    """The initialised library, or None: most machines have no NVIDIA driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
