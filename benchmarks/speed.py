"""How fast dh renders at four sizes, stage by stage, beside what it cannot do without. Run it on an idle machine.

    python benchmarks/speed.py [--label before] [--frames N] [--size SIZE …]
    python benchmarks/speed.py --draw

Each size is measured by a `dh bench` of its own, so that its memory is its own, too. Prints the table as Markdown,
writes benchmarks/speed.json, and from that docs/images/speed.svg and the tables in docs/performance.md. With --label
the table goes into benchmarks/speed.md under that name. --draw measures nothing and takes the last figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from speed_chart import draw

from dhcli.bench.report import STAGES, BenchReport, Cost, Run, StageName

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks/speed.json"
PAGE = ROOT / "benchmarks/speed.md"
DOCUMENT = ROOT / "docs/performance.md"
CHART = ROOT / "docs/images/speed.svg"
SIZES = ("", "720p", "1080p", "2160p")
"""The first is the sample as it is, 400x300."""


RENDERING = [name for name in STAGES if name != "analyse"]


def measure(size: str, frames: int | None) -> BenchReport:
    """One size, in a process of its own."""
    command = [sys.executable, "-m", "dhcli", "bench", "--json", "--device", "cpu"]
    command += ["--size", size] if size else []
    command += ["--frames", str(frames)] if frames else []
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return BenchReport.model_validate_json(done.stdout)


def table(report: BenchReport) -> str:
    """One row a stage, `CPU / wall` for each size; what was measured alone in italics."""
    rows = [["CPU / wall, ms a frame", *(f"{run.width}x{run.height}" for run in report.runs)]]
    rows.append(["---", *("---:" for _ in report.runs)])
    for name in RENDERING:
        rows.append([name, *(_pair(run.stages[name]) for run in report.runs)])
        if any(name in run.floors for run in report.runs):
            rows.append([f"*{name} alone*", *(_floor(run, name) for run in report.runs)])
    rows.append(["**warm**", *(f"**{_pair(run.warm)}**" for run in report.runs)])
    rows += [[title, *(cell(run) for run in report.runs)] for title, cell in FACTS.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _pair(cost: Cost) -> str:
    return f"{cost.cpu_ms:.2f} / {cost.wall_ms:.2f}"


def _floor(run: Run, name: StageName) -> str:
    return f"*{_pair(run.floors[name])}*"


def _least(run: Run) -> str:
    """Which of the two bounds of the wall time is the higher one."""
    serial = run.longest_serial
    least_ms = run.warm.wall_ms / run.ratios.wall
    return f"{serial.name} alone" if least_ms <= serial.wall_ms * 1.0001 else "CPU time / cores"


FACTS: dict[str, Callable[[Run], str]] = {
    "frames a second, warm": lambda run: f"{run.warm.fps:.1f}",
    "frames a second, cold": lambda run: f"{run.cold.fps:.1f}",
    "CPU time / that of the floors": lambda run: f"{run.ratios.cpu:.2f}",
    "wall time / the least": lambda run: f"{run.ratios.wall:.2f}",
    "the least is": _least,
    "analysis": lambda run: _pair(run.stages["analyse"]),
    "*analysis alone*": lambda run: _floor(run, "analyse"),
    "analysing a frame / rendering one": lambda run: f"{run.ratios.analyse:.2f}",
    "peak memory, MiB": lambda run: f"{run.peak_rss_bytes / 2**20:.0f}",
    "frames": lambda run: f"{run.frames}",
}


def conditions(report: BenchReport) -> str:
    """What the figures hold for."""
    return (
        f"dh {report.dh}, {report.model} ({report.precision}) on {report.device}, {report.cores} cores, "
        f"{report.encoder}, ffmpeg {report.ffmpeg.split('-')[0]}, ONNX Runtime {report.onnxruntime}"
    )


def expectations(report: BenchReport) -> str:
    """For docs/performance.md: what a machine like this gives."""
    titles = ["size", "frames a second", "CPU ms a frame", "frames a second and core", "peak memory"]
    rows = [titles, ["---", *("---:" for _ in titles[1:])]]
    for run in report.runs:
        rows.append([f"{run.width}x{run.height}", f"{run.warm.fps:.0f}", f"{run.warm.cpu_ms:.1f}"])
        rows[-1] += [f"{1000 / run.warm.cpu_ms:.0f}", f"{run.peak_rss_bytes / 2**20:.0f} MiB"]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def replaced(text: str, name: str, content: str) -> str:
    """The page with new content between its two marks of this name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    if not found or end not in rest:
        sys.exit(f"the page has no {begin.strip()} … {end}")
    return f"{before}{begin}{content}\n{end}{rest.partition(end)[2]}"


def labelled(text: str, label: str, report: BenchReport) -> str:
    """The page with the table under the heading `label`: in place of the one there, or at the end."""
    name = f"speed: {label}"
    if f"<!-- {name} -->" not in text:
        text += f"\n### {label}\n\n<!-- {name} -->\n<!-- /{name} -->\n"
    return replaced(text, name, f"{conditions(report)}:\n\n{table(report)}")


def publish(report: BenchReport, label: str | None) -> None:
    """Everything that is made of the figures."""
    CHART.write_text(draw(report), encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    chart = f"![CPU time of each stage beside the floors, at {len(report.runs)} sizes](images/{CHART.name})"
    text = replaced(text, "chart", f"{chart}\n\n{conditions(report)}.")
    text = replaced(text, "stages", table(report))
    DOCUMENT.write_text(replaced(text, "expect", expectations(report)), encoding="utf-8")
    if label is not None:
        PAGE.write_text(labelled(PAGE.read_text(encoding="utf-8"), label, report), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", help="name of the table in benchmarks/speed.md")
    parser.add_argument("--frames", type=int, help="frames of each size; default: 178, all of the speech")
    parser.add_argument("--size", action="append", help="only this size; may be repeated; nothing is written then")
    parser.add_argument("--draw", action="store_true", help="measure nothing, take benchmarks/speed.json")
    wanted = parser.parse_args()
    if wanted.draw:
        report = BenchReport.model_validate_json(FIGURES.read_text(encoding="utf-8"))
    else:
        reports = [measure(size, wanted.frames) for size in wanted.size or SIZES]
        report = reports[0].model_copy(update={"runs": tuple(run for one in reports for run in one.runs)})
    print(f"{conditions(report)}:\n\n{table(report)}")
    if wanted.size:
        return
    FIGURES.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    publish(report, wanted.label)


if __name__ == "__main__":
    main()
