"""How many frames a network on a GPU takes at once: measured when it is opened, since no two GPUs agree.

On a CPU there is nothing to choose: a frame takes as long in batches of 1 to 16.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dhcli.errors import DhError
from dhcli.networks.network import Network

BATCH = 4
"""Frames at once on a CPU, where one takes as long in batches of 1 to 16."""
MOST = 32
"""Each frame more waits in memory, twice; `pipeline.CHANNEL_BYTES` bounds batches of large ones, at 720p to 18."""
GAIN = 0.9
"""A batch of twice as many frames has to take less than this much of the time for a frame: it holds frames back."""
TIMES = 5
"""Of which the fastest counts; the first call for a number of frames, which sets up the GPU for it, is left out."""

Clock = Callable[[], float]


def fastest_batch(network: Network, clock: Clock = time.monotonic) -> int:
    """The number of frames at once that takes the least time for a frame, BATCH to MOST.

    Where the GPU has no memory for more, that is the end of the search. Raises what the network raises at BATCH.
    """
    best, best_s = BATCH, call_s(network, BATCH, clock) / BATCH
    while best * 2 <= MOST:
        try:
            each_s = call_s(network, best * 2, clock) / (best * 2)
        except DhError as error:
            if error.code != "device.out_of_memory":
                raise
            break
        if each_s > GAIN * best_s:
            break
        best, best_s = best * 2, each_s
    return best


def call_s(network: Network, frames: int, clock: Clock = time.monotonic) -> float:
    """Seconds that one call with noise takes. Raises what the network raises."""
    feeds = network.noise(frames)
    outputs = [info.name for info in network.outputs]
    network.run_bound(outputs, feeds)
    times = []
    for _ in range(TIMES):
        began = clock()
        network.run_bound(outputs, feeds)
        times.append(clock() - began)
    return min(times)
