"""A report as lines for people, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator

from dhcli.bench.report import STAGES, BenchReport, Cost, Run

RULE = "         " + "-" * 43


def table(report: BenchReport) -> Iterator[str]:
    """Every run, stage by stage, beside its floors."""
    threads = f"{report.threads} threads a network, " if report.threads else ""
    yield f"{report.model} ({report.precision}) on {report.device}, {report.cores} cores, {threads}{report.encoder}"
    for run in report.runs:
        yield ""
        yield from _run(run)


def _run(run: Run) -> Iterator[str]:
    numerator, _, denominator = run.fps.partition("/")
    rate = int(numerator) / int(denominator)
    frames = "1 frame" if run.frames == 1 else f"{run.frames} frames"
    yield f"{run.width}x{run.height}, {frames}, {rate:.6g} fps"
    yield f"{'ms a frame':9}{'dh':>17}{'floor':>23}"
    yield f"{'':9}{'CPU':>9}{'wall':>9}{'CPU':>14}{'wall':>9}"
    for name in STAGES:
        if name != "analyse":
            yield _line(name, run.stages[name], run.floors.get(name))
    yield RULE
    floor = Cost(cpu_ms=sum(one.cpu_ms for name, one in run.floors.items() if name != "analyse"), wall_ms=0)
    yield _line("warm", run.warm) + f"{floor.cpu_ms:14.2f}"
    yield _line("analyse", run.stages["analyse"], run.floors["analyse"])
    yield _line("cold", run.cold)
    yield ""
    yield f"{run.warm.fps:.1f} frames a second warm, {run.cold.fps:.1f} cold, {run.peak_rss_bytes >> 20} MiB at most"
    yield f"CPU time, warm: {run.ratios.cpu:.2f} x the floors'"
    longest = run.longest_serial
    yield f"wall time, warm: {run.ratios.wall:.2f} x the least: CPU time / cores, or {longest.name} alone"
    yield f"  ({longest.wall_ms:.2f} ms), whichever is longer"
    yield f"analysing a frame: {run.ratios.analyse:.2f} x rendering one"


def _line(name: str, cost: Cost, floor: Cost | None = None) -> str:
    beside = f"{floor.cpu_ms:14.2f}{floor.wall_ms:9.2f}" if floor is not None else ""
    return f"{name:9}{cost.cpu_ms:9.2f}{cost.wall_ms:9.2f}{beside}"
