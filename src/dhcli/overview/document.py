"""The page as a whole: one HTML file with all that it needs. It says all without scripts; these sort and filter."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from dhcli.overview.collect import Entry
from dhcli.overview.drawing import night
from dhcli.overview.job import COLUMNS, SORTS, Shown, job_body, kind, size_of
from dhcli.overview.look import Pictures
from dhcli.overview.markup import TIMES, clock, count, data_uri, day, duration, text
from dhcli.overview.summary import JobRow, Summary, at_work, avatar_of, span_of
from dhcli.reports.page_file import HEAD

FIRST = 6
"""Jobs that stand above the table."""
TITLE_CODES = 3


def page(
    entries: Sequence[Entry], summary: Summary, pictures: Mapping[Path, Pictures], notes: Sequence[str] = ()
) -> str:
    """The HTML of the page. The order of the jobs is that of the summary; `notes` are about the run as a whole."""
    by_result = {str(one.result_path): one for one in entries}
    jobs = [
        Shown(by_result[row.result], row, pictures.get(by_result[row.result].result_path, Pictures()), f"job-{at}")
        for at, row in enumerate(summary.results)
    ]
    style, script = _file("page.css"), _file("page.js")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    body = "\n".join((_top(summary), _notes(notes), _timeline(summary.results, jobs), _first(jobs), _table(jobs)))
    return (
        f'{HEAD}\n<head><meta charset="utf-8"><title>{text(_title(summary))}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{style}</style></head>\n<body>\n{body}\n"
        f"<footer>Made by dh {text(summary.dh)}. Everything is in this file; it loads nothing.</footer>"
        f"<script>{script}</script></body></html>\n"
    )


def _file(name: str) -> str:
    return resources.files("dhcli.overview").joinpath(name).read_text(encoding="utf-8")


def _title(summary: Summary) -> str:
    when = f", {day(summary.started_at)}" if summary.started_at is not None else ""
    return f"{count(summary.jobs, 'job')}{when}"


def _top(summary: Summary) -> str:
    videos, failed = summary.succeeded + summary.skipped, summary.jobs - summary.succeeded - summary.skipped
    codes = ", ".join(f"{number} {TIMES} {code}" if number > 1 else code for code, number in _most(summary.codes))
    other = [
        f"{number} {name}"
        for name, number in (
            ("cancelled", summary.cancelled),
            ("running or killed", summary.running),
            ("not run", summary.missing),
        )
        if number
    ]
    made_s = sum(one.duration_s or 0.0 for one in at_work(summary.results))
    speed = f"{made_s / summary.work_s:.2g} {TIMES} real time" if summary.work_s and made_s else ""
    tiles = [
        (
            "good",
            str(videos),
            "videos" if videos != 1 else "video",
            f"{summary.skipped} up to date" if summary.skipped else f"of {count(summary.jobs, 'job')}",
        ),
        ("look" if summary.worth_a_look else "none", str(summary.worth_a_look), "worth a look", "by suspicion, below"),
        ("bad" if failed else "none", str(failed), "failed", ", ".join([codes, *other]).strip(", ")),
        (
            "none",
            duration(summary.video_s),
            "of video",
            f"{duration(summary.work_s)} of work{', ' + speed if speed else ''}",
        ),
    ]
    drawn = "".join(
        f'<li class="tile {tone}"><b>{text(number)}</b><span>{text(what)}</span><small>{text(more)}</small></li>'
        for tone, number, what, more in tiles
    )
    return (
        f'<header><p class="brand">dh report</p><h1>{text(_headline(summary))}</h1>'
        f'<p class="when">{_when(summary)}</p><ul class="tiles">{drawn}</ul></header>'
    )


def _headline(summary: Summary) -> str:
    videos = summary.succeeded + summary.skipped
    if not summary.jobs:
        return "No job has begun"
    if videos == summary.jobs and not summary.worth_a_look:
        return f"All {count(videos, 'video')} are fine" if videos > 1 else "The video is fine"
    bad = summary.jobs - videos
    parts = [
        f"{count(summary.worth_a_look, 'video')} to look at" if summary.worth_a_look else "",
        f"{count(bad, 'job')} without a video" if bad else "",
    ]
    return " and ".join(filter(None, parts))


def _when(summary: Summary) -> str:
    span = span_of(at_work(summary.results))
    hosts = text(", ".join(summary.hosts))
    if span is None:
        return hosts
    begin, end = span
    zone = text(begin.astimezone().tzname() or "")
    days = day(begin) if day(begin) == day(end) else f"{day(begin)} to {day(end)}"
    runs = count(len(summary.runs), "run")
    return f"{days}, {clock(begin)} to {clock(end)} {zone} · {runs} on {hosts}"


def _notes(notes: Sequence[str]) -> str:
    said = "".join(f"<p>{text(one)}</p>" for one in notes)
    return f'<section class="error" aria-label="The run">{said}</section>' if notes else ""


def _timeline(rows: Sequence[JobRow], jobs: Sequence[Shown]) -> str:
    drawn = night(rows, {one.row.result: one.anchor for one in jobs})
    if not drawn:
        return ""
    key = "".join(
        f'<li><span class="swatch {tone}"></span>{name}</li>'
        for tone, name in (("good", "fine"), ("look", "worth a look"), ("bad", "failed"))
    )
    return f'<section aria-labelledby="when"><h2 id="when">The night</h2>{drawn}<ul class="legend">{key}</ul></section>'


def _first(jobs: Sequence[Shown]) -> str:
    """The most suspicious videos, each with its widest mouth."""
    wanted = [one for one in jobs if kind(one.row) == "look"][:FIRST]
    if not wanted:
        return ""
    cards = "".join(map(_card, wanted))
    return (
        '<section aria-labelledby="first"><h2 id="first">Look at these first</h2>'
        f'<ul class="first">{cards}</ul></section>'
    )


def _card(job: Shown) -> str:
    pictures, row = job.pictures, job.row
    shown = [pictures.pairs[at] for at in ((0, -1) if len(pictures.pairs) > 1 else (0,))] if pictures.pairs else []
    images = "".join(f'<img alt="" {size_of(one)} src="{data_uri(one.jpeg)}">' for one in shown)
    reasons = "".join(f"<li>{text(one)}</li>" for one in row.reasons[:2])
    return (
        f'<li><a href="#{job.anchor}"><div class="faces">{images}</div><div class="card">'
        f'<span class="id">{text(row.job_id)}</span><span class="points"><b>{row.suspicion}</b></span>'
        f"<ul>{reasons}</ul></div></a></li>"
    )


def _table(jobs: Sequence[Shown]) -> str:
    head = "".join(
        f'<th scope="col" class="{"wide" if at > 2 else ""}" data-sort="{key}">{name}</th>'
        for at, (name, key) in enumerate(zip(COLUMNS, SORTS, strict=True))
    )
    bodies = "\n".join(map(job_body, jobs))
    bare = "" if any(one.pictures.small for one in jobs) else ' class="bare"'
    return (
        f'<section aria-labelledby="jobs"><h2 id="jobs">All jobs</h2>{_controls(jobs)}'
        f'<table id="table"{bare}><caption class="sr">All jobs, the most suspicious first</caption>'
        f"<thead><tr>{head}</tr></thead>\n{bodies}\n</table></section>"
    )


def _controls(jobs: Sequence[Shown]) -> str:
    kinds = [kind(one.row) for one in jobs]
    buttons = "".join(
        f'<button type="button" data-kind="{key}" aria-pressed="{"true" if not key else "false"}">'
        f"{name} <span>{kinds.count(key) if key else len(kinds)}</span></button>"
        for key, name in (("", "All"), ("failed", "Failed"), ("look", "Worth a look"), ("fine", "Fine"))
    )
    rows = [one.row for one in jobs]
    selects = "".join(
        _select(key, name, values)
        for key, name, values in (
            ("code", "Code", {code for row in rows for code in (row.code, *row.warnings) if code}),
            ("model", "Model", {row.model for row in rows if row.model}),
            ("avatar", "Avatar", {avatar_of(row) for row in rows if row.video}),
        )
    )
    sorts = "".join(f'<option value="{key}">{name}</option>' for name, key in zip(COLUMNS, SORTS, strict=True))
    return (
        '<form class="controls" role="search" hidden>'
        f'<div class="kinds" role="group" aria-label="Show">{buttons}</div>'
        '<label class="find"><span class="sr">Search in ids, messages, paths and labels</span>'
        '<input type="search" placeholder="Search" autocomplete="off"></label>'
        f'{selects}<label class="sort"><span>Sort</span><select data-sort>{sorts}</select></label>'
        '<p class="found" role="status"></p></form>'
    )


def _select(key: str, name: str, values: Iterable[str]) -> str:
    options = "".join(f'<option value="{text(one)}">{text(one)}</option>' for one in sorted(values))
    return (
        f'<label><span>{name}</span><select data-filter="{key}"><option value="">all</option>{options}</select></label>'
    )


def _most(codes: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(codes.items(), key=lambda one: -one[1])[:TITLE_CODES]
