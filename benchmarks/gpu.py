"""How many faces a second a GPU draws, by how many it is given at once, and in how much of its memory.

    python benchmarks/gpu.py [--device cuda] [--batches 1 2 4 8 16 32]

The face network of dh-base in 32 and in 16 bits, timed as the search for the fastest batch does it. Prints the table
for `gpu.md`; with `--device cpu` it says what the CPU does. Whole renders are `dh bench --device cuda`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from dhcli.errors import DhError
from dhcli.networks.batch_size import call_s
from dhcli.networks.bundle import load_bundle
from dhcli.networks.network import CPU_PROVIDER, Device, Network, parse_device
from dhcli.runtime.vram import nvml_library


def networks(device: Device) -> Iterator[tuple[str, Network]]:
    """The networks by their names in the table, one at a time: each leaves before the next one comes."""
    bundle = load_bundle("dh-base")
    yield "dh-base, fp32", bundle.open_network("face", device=device)
    yield "dh-base, fp16", bundle.open_network("face_fp16", device=device)


def faces_a_second(network: Network, batch: int) -> float | None:
    """None where the device has no memory for so many at once."""
    try:
        return batch / call_s(network, batch)
    except DhError as error:
        if error.code != "device.out_of_memory":
            raise
        return None


def used_bytes(device: Device) -> int:
    """Memory of the GPU that is taken, by whomever: in a container nobody tells by whom."""
    if device.kind == "cpu":
        return 0
    nvml = nvml_library()
    if nvml is None:
        sys.exit(f"The device {device} cannot be asked for its memory: there is no NVIDIA driver.")
    return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(device.index)).used)


def row(cells: Iterable[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", type=parse_device)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    asked = parser.parse_args()
    idle = used_bytes(asked.device)
    print(row(["faces a second", *asked.batches, "GPU memory at most"]))
    print(row(["---", *["---:" for _ in asked.batches], "---:"]))
    for name, network in networks(asked.device):
        cells, peak = [], 0
        for batch in asked.batches:
            speed = faces_a_second(network, batch)
            cells.append("no memory" if speed is None else f"{speed:.0f}")
            peak = max(peak, used_bytes(asked.device) - idle)
        on_cpu = network.provider == CPU_PROVIDER
        print(row([name, *cells, "" if on_cpu else f"{peak >> 20} MiB"]), flush=True)
        del network


if __name__ == "__main__":
    main()
