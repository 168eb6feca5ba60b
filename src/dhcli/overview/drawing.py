"""Drawings of the page: the opening over the loudness as SVG; the night and a job's stages as boxes."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import numpy as np

from dhcli.overview.markup import clock, count, duration, text
from dhcli.overview.summary import JobRow, has_failed, is_worth_a_look, span_of
from dhcli.results.parts import Timings
from dhcli.sheets.mouths import Seen
from dhcli.types import F32, F64

WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 640, 150, 34, 22, 8
"""Of the chart, and of the room for its scales, units of the drawing."""
POINTS = 240
"""Most points of a curve."""
TOP = 0.35
"""Opening at the upper edge, widths of the mouth; more where the mouth opens wider."""
GAP_S = 0.25
"""The curve breaks where no face was seen for longer."""
MINUTE_S = 60
PAUSE_S = 4 * 3600
"""Between two nights."""
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
TICKS, LONG_TICKS = 7, 4
"""Most marks of the scale of the night, and of one with seconds: more would touch one another on a phone."""
MOST_LANES = 8
"""Of full height."""
LEAST_SHARE = 0.25
"""Percent of the width of a box."""
STAGES = ("probe", "analyse", "listen", "render", "verify", "measure")


def chart(seen: Seen) -> str:
    """The opening of the mouth over the loudness of the speech, as SVG with a sentence for those who do not see it."""
    begin, end = seen.begin_s, max(seen.end_s, seen.begin_s + 0.01)
    top: float = math.ceil(max([TOP, *seen.openings.tolist()]) * 20) / 20
    right, bottom = WIDTH - 6, HEIGHT - BELOW

    def x(time_s: float) -> float:
        return LEFT + (time_s - begin) / (end - begin) * (right - LEFT)

    def y(opening: float) -> float:
        return bottom - opening / top * (bottom - ABOVE)

    xs, ys = [x(at) for at in seen.times_s.tolist()], [y(one) for one in seen.openings.tolist()]
    marks = "".join(
        f'<line x1="{LEFT}" x2="{right}" y1="{y(at):.1f}" y2="{y(at):.1f}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
        for at in (0.0, round(top / 2, 2), round(top, 2))
    )
    step = next((one for one in STEPS_S if (end - begin) / one <= 8), STEPS_S[-1])
    times = "".join(
        f'<text x="{x(at):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{at:g} s</text>'
        for at in np.arange(math.ceil(begin / step) * step, end, step).tolist()
    )
    dots = "".join(
        f'<circle cx="{x(one.time_s):.1f}" cy="{y(one.opening):.1f}" r="3.5" class="dot"/>' for one in seen.mouths
    )
    said = f"Opening of the mouth from {begin:.1f} to {end:.1f} s, over the loudness of the speech"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{marks}'
        f'<path class="loud" d="{_area(seen.loudness, bottom, x(begin), x(end))}"/>'
        f'<path class="opening" d="{_curve(xs, ys, seen.times_s)}"/>'
        f"{dots}{times}</svg>"
    )


def _curve(xs: Sequence[float], ys: Sequence[float], times_s: F64) -> str:
    step = max(1, math.ceil(len(xs) / POINTS))
    parts, before = list[str](), -math.inf
    for x, y, time_s in list(zip(xs, ys, times_s.tolist(), strict=True))[::step]:
        parts.append(f"{'L' if time_s - before < GAP_S * step else 'M'}{x:.0f} {y:.1f}")
        before = time_s
    return "".join(parts)


def _area(loud: F32, bottom: float, left: float, right: float) -> str:
    """The loudness as a filled shape of at most half the chart's height."""
    if not len(loud):
        return ""
    parts = np.array_split(loud, min(POINTS, len(loud)))
    heights = [float(part.max()) for part in parts]
    step = (right - left) / max(1, len(heights) - 1)
    tops = "".join(
        f"L{left + at * step:.0f} {bottom - one * (bottom - ABOVE) * 0.62:.0f}" for at, one in enumerate(heights)
    )
    return f"M{left:.0f} {bottom}{tops}L{right:.0f} {bottom}Z"


def stage_bar(timings: Timings) -> str:
    """Where the job's time went."""
    spent = [(name, getattr(timings, name)) for name in STAGES]
    whole = max(timings.wall, sum(seconds for _, seconds in spent), 0.001)
    spent.append(("other", max(0.0, whole - sum(seconds for _, seconds in spent))))
    shown = [(name, seconds) for name, seconds in spent if seconds / whole >= 0.005]
    boxes = "".join(
        f'<span class="stage {name}" style="width:{100 * seconds / whole:.2f}%"></span>' for name, seconds in shown
    )
    items = "".join(
        f'<li><span class="swatch {name}"></span>{name} <b>{duration(seconds)}</b></li>' for name, seconds in shown
    )
    return f'<div class="stages" aria-hidden="true">{boxes}</div><ul class="legend">{items}</ul>'


def night(rows: Sequence[JobRow], anchors: dict[str, str]) -> str:
    """Every job as a box on a line of time, jobs at the same time one below the other; "" where none was at work.

    Jobs of earlier nights, which later ones found up to date, are left out.
    """
    rows, earlier = _last_night(rows)
    span = span_of(rows)
    if span is None:
        return ""
    begin, whole_s = span[0], max((span[1] - span[0]).total_seconds(), 0.001)
    lanes: list[dt.datetime] = []
    boxes: list[list[str]] = []
    started = [(one.started_at, one) for one in rows if one.started_at is not None]
    for start, row in sorted(started, key=lambda one: one[0]):
        end = row.finished_at or span[1]
        lane = next((at for at, free in enumerate(lanes) if free <= start), len(lanes))
        if lane == len(lanes):
            lanes.append(end)
            boxes.append([])
        lanes[lane] = end
        left = 100 * (start - begin).total_seconds() / whole_s
        width = max(LEAST_SHARE, 100 * (end - start).total_seconds() / whole_s)
        said = f"{row.job_id}: {_state(row)}, {clock(start)} to {clock(end)}"
        boxes[lane].append(
            f'<a href="#{anchors[row.result]}" class="box {tone(row)}" '
            f'style="left:{min(left, 100 - LEAST_SHARE):.3f}%;width:{width:.3f}%" title="{text(said)}">'
            f'<span class="sr">{text(said)}</span></a>'
        )
    drawn = "".join(f'<div class="lane">{"".join(lane)}</div>' for lane in boxes)
    many = " many" if len(boxes) > MOST_LANES else ""
    rest = f'<p class="earlier">{count(earlier, "job")} of earlier nights not drawn</p>' if earlier else ""
    scale = f'<div class="scale" aria-hidden="true">{_scale(begin, whole_s)}</div>'
    return f'<div class="night{many}">{drawn}{scale}{rest}</div>'


def _last_night(rows: Sequence[JobRow]) -> tuple[list[JobRow], int]:
    """The jobs after the last long pause, and how many were at work before it; none that was just up to date."""
    timed = [(one.finished_at or one.started_at, one) for one in rows if one.started_at and one.status != "skipped"]
    night = list[JobRow]()
    begin: dt.datetime | None = None
    for end, row in sorted(((end, row) for end, row in timed if end), key=lambda one: one[0], reverse=True):
        assert row.started_at is not None
        if begin is not None and (begin - end).total_seconds() > PAUSE_S:
            break
        night.append(row)
        begin = row.started_at if begin is None else min(begin, row.started_at)
    return night, len(timed) - len(night)


def _scale(begin: dt.datetime, whole_s: float) -> str:
    step = next((one for one in STEPS_S if whole_s / one <= (TICKS if one >= MINUTE_S else LONG_TICKS)), STEPS_S[-1])
    first = math.ceil(begin.timestamp() / step) * step
    form = "%H:%M" if step >= MINUTE_S else "%H:%M:%S"
    marks = []
    while first <= begin.timestamp() + whole_s:
        at = 100 * (first - begin.timestamp()) / whole_s
        if at < 86:
            marks.append(
                f'<span style="left:{at:.2f}%">{dt.datetime.fromtimestamp(first, dt.UTC).astimezone():{form}}</span>'
            )
        first += step
    return "".join(marks)


def tone(row: JobRow) -> str:
    """Name of the colour of a job."""
    if has_failed(row):
        return "bad" if row.status in {"failed", "missing"} else "odd"
    return "look" if is_worth_a_look(row) else "old" if row.status == "skipped" else "good"


def _state(row: JobRow) -> str:
    return row.code or ("worth a look" if is_worth_a_look(row) else row.status)
