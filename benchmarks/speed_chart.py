"""The chart of docs/performance.md, as SVG: CPU time of a frame beside that of the parts it cannot do without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

COLOURS = {"dh": "#59a14f", "decode": "#4e79a7", "speak": "#f28e2b", "encode": "#b07aa1"}
WIDTH, LEFT, BAR_WIDTH = 760, 130, 520
BAR, GAP, GROUP, TOP = 20, 4, 22, 44
TEXT = 'font-family="sans-serif" font-size="12" fill="#333"'
NARROW = 26
"""Parts with fewer px carry no number."""


def draw(sizes: Sequence[tuple[str, float, Mapping[str, float]]]) -> str:
    """Two bars for each size, its name, dh's milliseconds and those of each part; each size has a scale of its own."""
    height = TOP + len(sizes) * (2 * BAR + GAP + GROUP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="22" {TEXT}>CPU ms a frame</text>',
    ]
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + 90 * number
        lines.append(f'<rect x="{x}" y="12" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 17}" y="22" {TEXT}>{name}</text>')
    for number, (size, dh_ms, parts) in enumerate(sizes):
        y = TOP + number * (2 * BAR + GAP + GROUP)
        scale = BAR_WIDTH / max(dh_ms, sum(parts.values()))
        lines.append(f'<text x="8" y="{y + BAR + 6}" {TEXT} font-weight="bold">{size}</text>')
        lines += _bar("dh", {"dh": dh_ms}, scale, y)
        lines += _bar("alone", parts, scale, y + BAR + GAP)
    return "\n".join([*lines, "</svg>", ""])


def _bar(title: str, parts: Mapping[str, float], scale: float, y: int) -> Iterator[str]:
    middle, x = y + BAR - 6, float(LEFT)
    yield f'<text x="{LEFT - 6}" y="{middle}" {TEXT} text-anchor="end">{title}</text>'
    for name, ms in parts.items():
        width = ms * scale
        yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[name]}"/>'
        if len(parts) > 1 and width >= NARROW:
            yield f'<text x="{x + width / 2:.1f}" y="{middle}" {TEXT} text-anchor="middle">{ms:.1f}</text>'
        x += width
    yield f'<text x="{x + 6:.1f}" y="{middle}" {TEXT}>{sum(parts.values()):.1f}</text>'
