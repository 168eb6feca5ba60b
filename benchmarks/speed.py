"""How fast dh renders at four sizes, beside what it cannot do without. Run it on an idle machine.

    python benchmarks/speed.py [--size SIZE …]
    python benchmarks/speed.py --draw

Each size is a `dh bench` of its own, so that its memory is its own, too; then come its floors. Writes speed.json, and
from it docs/images/speed.svg and the tables in docs/performance.md and benchmarks/speed.md. With --size nothing is
written. --draw measures nothing and takes the last figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from floors import Floor, floors
from speed_chart import draw

from dhcli.bench.clip import parse_size
from dhcli.bench.report import BenchReport

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks/speed.json"
PAGES = ROOT / "benchmarks/speed.md", ROOT / "docs/performance.md"
CHART = ROOT / "docs/images/speed.svg"
SIZES = ("", "720p", "1080p", "2160p")
"""The first is the sample as it is, 400x300."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One size."""

    size: str
    frames: int
    warm_fps: float
    cold_fps: float
    cpu_ms: float
    """For a frame, warm."""
    peak_bytes: int
    floors: dict[str, Floor]

    @property
    def cpu_ratio(self) -> float:
        """CPU time against that of the floors."""
        return self.cpu_ms / sum(floor.cpu_ms for floor in self.floors.values())

    def wall_ratio(self, cores: int) -> float:
        """Time against the least: CPU time on all cores, or the longest floor where that takes longer."""
        least_ms = max(self.cpu_ms / cores, *(floor.wall_ms for floor in self.floors.values()))
        return 1000 / self.warm_fps / least_ms


@dataclass(frozen=True, slots=True)
class Measured:
    """What speed.json holds."""

    machine: str
    cores: int
    sizes: list[Figures]


def measure(sizes: Iterable[str]) -> Measured:
    """Every size, in processes of their own."""
    found = []
    for size in sizes:
        command = [sys.executable, "-m", "dhcli", "bench", "--json", "--device", "cpu"]
        done = subprocess.run([*command, *(["--size", size] if size else [])], stdout=subprocess.PIPE, check=True)
        report = BenchReport.model_validate_json(done.stdout)
        (run,) = report.runs
        used = run.warm.resources
        assert used.cpu_s is not None
        assert used.peak_rss_bytes is not None
        found.append(
            Figures(
                f"{run.width}x{run.height}",
                run.frames,
                run.warm.frames_per_s,
                run.cold.frames_per_s,
                used.cpu_s / run.frames * 1000,
                used.peak_rss_bytes,
                floors(parse_size(size) if size else None),
            )
        )
    where, how = report.environment, report.options
    machine = (
        f"dh {where.dh}, {how['model']} ({where.precision}) on {where.device}, {report.cores} cores, {how['encoder']} "
        f"{how['preset']} crf {how['crf']}, ffmpeg {str(where.ffmpeg).split('-')[0]}, ONNX Runtime {where.onnxruntime}"
    )
    return Measured(machine, report.cores, found)


def read(path: Path) -> Measured:
    """The figures as they were written."""
    data = json.loads(path.read_text(encoding="utf-8"))
    for size in data["sizes"]:
        size["floors"] = {name: Floor(**floor) for name, floor in size["floors"].items()}
    return Measured(data["machine"], data["cores"], [Figures(**size) for size in data["sizes"]])


def table(measured: Measured) -> str:
    """One column a size; what was measured alone in italics."""
    rows: dict[str, Callable[[Figures], str]] = {
        "frames a second, warm": lambda one: f"{one.warm_fps:.0f}",
        "frames a second, cold": lambda one: f"{one.cold_fps:.0f}",
        "frames a second and core": lambda one: f"{1000 / one.cpu_ms:.0f}",
        "**CPU time, ms a frame**": lambda one: f"**{one.cpu_ms:.1f}**",
        "*decode alone*": lambda one: f"*{one.floors['decode'].cpu_ms:.1f}*",
        "*face network alone*": lambda one: f"*{one.floors['speak'].cpu_ms:.1f}*",
        "*encode alone*": lambda one: f"*{one.floors['encode'].cpu_ms:.1f}*",
        "CPU time / that of the three": lambda one: f"{one.cpu_ratio:.2f}",
        "time / the least": lambda one: f"{one.wall_ratio(measured.cores):.2f}",
        "peak memory, MiB": lambda one: f"{one.peak_bytes >> 20}",
    }
    lines = [["", *(one.size for one in measured.sizes)], ["---", *("---:" for _ in measured.sizes)]]
    lines += [[title, *map(cell, measured.sizes)] for title, cell in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(measured: Measured) -> None:
    """The chart and the pages."""
    bars = [
        (one.size, one.cpu_ms, {name: floor.cpu_ms for name, floor in one.floors.items()}) for one in measured.sizes
    ]
    CHART.write_text(draw(bars), encoding="utf-8")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        before, begin, rest = text.partition("<!-- figures -->\n")
        _, end, after = rest.partition("<!-- /figures -->")
        if not end:
            sys.exit(f"{page} has no <!-- figures --> … <!-- /figures -->")
        page.write_text(f"{before}{begin}{measured.machine}:\n\n{table(measured)}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="only this size; may be repeated; nothing is written then")
    parser.add_argument("--draw", action="store_true", help="measure nothing, take benchmarks/speed.json")
    wanted = parser.parse_args()
    measured = read(FIGURES) if wanted.draw else measure(wanted.size or SIZES)
    print(f"{measured.machine}:\n\n{table(measured)}")
    if wanted.size:
        return
    if not wanted.draw:
        FIGURES.write_text(json.dumps(dataclasses.asdict(measured), indent=2) + "\n", encoding="utf-8")
    publish(measured)


if __name__ == "__main__":
    main()
