"""The chart of docs/performance.md: where the CPU time of a frame goes, and the least that it could be, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from dhcli.bench.report import BenchReport, Run, StageName

COLOURS: dict[StageName, str] = {
    "probe": "#e15759",
    "listen": "#9c755f",
    "decode": "#4e79a7",
    "speak": "#f28e2b",
    "blend": "#59a14f",
    "encode": "#b07aa1",
    "verify": "#edc948",
    "other": "#bab0ac",
}
WIDTH, LEFT, BAR_WIDTH = 760, 130, 520
BAR, GAP, GROUP, TOP = 20, 4, 22, 44
TEXT = 'font-family="sans-serif" font-size="12" fill="#333"'
NARROW = 26
"""Parts with fewer px carry no number."""


def draw(report: BenchReport) -> str:
    """Two bars a size, dh above its floors; each size has a scale of its own."""
    height = TOP + len(report.runs) * (2 * BAR + GAP + GROUP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        *_legend(),
    ]
    y = TOP
    for run in report.runs:
        lines += _group(run, y)
        y += 2 * BAR + GAP + GROUP
    return "\n".join([*lines, "</svg>", ""])


def _legend() -> Iterator[str]:
    x = LEFT
    yield f'<text x="8" y="22" {TEXT}>CPU ms a frame</text>'
    for name, colour in COLOURS.items():
        yield f'<rect x="{x}" y="12" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 17}" y="22" {TEXT}>{name}</text>'
        x += 75


def _group(run: Run, y: int) -> Iterator[str]:
    ours = {name: run.stages[name].cpu_ms for name in run.stages if name in COLOURS}
    floors = {name: run.floors[name].cpu_ms for name in run.floors if name in COLOURS}
    scale = BAR_WIDTH / max(sum(ours.values()), sum(floors.values()))
    yield f'<text x="8" y="{y + BAR + 6}" {TEXT} font-weight="bold">{run.width}x{run.height}</text>'
    yield from _bar("dh", ours, scale, y)
    yield from _bar("floors", floors, scale, y + BAR + GAP)


def _bar(title: str, parts: Mapping[StageName, float], scale: float, y: int) -> Iterator[str]:
    middle = y + BAR - 6
    yield f'<text x="{LEFT - 6}" y="{middle}" {TEXT} text-anchor="end">{escape(title)}</text>'
    x = float(LEFT)
    for name, colour in COLOURS.items():
        width = parts.get(name, 0.0) * scale
        if not width:
            continue
        yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
        if width >= NARROW:
            number = f'<text x="{x + width / 2:.1f}" y="{middle}" {TEXT} text-anchor="middle">'
            yield f"{number}{parts[name]:.1f}</text>"
        x += width
    yield f'<text x="{x + 6:.1f}" y="{middle}" {TEXT}>{sum(parts.values()):.1f}</text>'
