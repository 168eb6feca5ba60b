"""Freed memory, as the system sees it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from dhcli.runtime.heap import give_back

own = psutil.Process()
blocks = [bytearray(100_000) for _ in range(2000)]  # so small that they come from the heap
last = bytearray(100_000)  # above them: the heap cannot shrink by itself
blocks.clear()
freed = own.memory_info().rss
give_back()
print(freed - own.memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150e6
