"""One job on the page: its row of the table, and its details, which also a reader without scripts can open."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from dhcli.overview.collect import Entry
from dhcli.overview.drawing import chart, stage_bar, tone
from dhcli.overview.look import TILE, Pair, Pictures
from dhcli.overview.markup import TIMES, data_uri, duration, lines, moment, text
from dhcli.overview.repeat import repeat_command
from dhcli.overview.summary import JobRow, avatar_of, folder_name, has_failed, is_worth_a_look
from dhcli.results.parts import Picture
from dhcli.results.result import JobResult

STATES = {
    "succeeded": "finished",
    "skipped": "up to date",
    "failed": "failed",
    "cancelled": "cancelled",
    "running": "running or killed",
    "missing": "no result",
}
COLUMNS = ("Job", "Status", "Suspicion", "Code", "Model", "Avatar", "Speed", "Length", "Ended")
SORTS = ("id", "status", "suspicion", "code", "model", "avatar", "speed", "length", "ended")
ORDER = tuple(STATES)[::-1]
TAIL_LINES = 12
"""Of what ffmpeg wrote."""


@dataclass(frozen=True, slots=True)
class Shown:
    """All that the page knows of one job."""

    entry: Entry
    row: JobRow
    pictures: Pictures
    anchor: str
    """Its id in the page."""


def job_body(job: Shown) -> str:
    """A `tbody` with the row and the details."""
    row = job.row
    return (
        f'<tbody id="{job.anchor}" class="job {tone(row)}" {_data(job)}>'
        f'<tr class="row">{_name_cell(job)}{_state_cell(row)}{_suspicion_cell(row)}'
        f'<td class="wide">{_codes(row)}</td><td class="wide">{text(row.model or "")}</td>'
        f'<td class="wide">{text(avatar_of(row))}</td>'
        f'<td class="wide number">{f"{row.fps:.0f} fps" if row.fps else ""}</td>'
        f'<td class="wide number">{duration(row.duration_s) if row.duration_s else ""}</td>'
        f'<td class="wide number">{moment(row.finished_at) if row.finished_at else ""}</td></tr>'
        f'<tr class="more"><td colspan="{len(COLUMNS)}"><details id="{job.anchor}-more">'
        f"<summary>Details of {text(row.job_id)}</summary>{_details(job)}</details></td></tr></tbody>"
    )


def state_text(row: JobRow) -> str:
    """What became of the job, in words; a finished video that somebody should see is `worth a look`."""
    return "worth a look" if is_worth_a_look(row) else STATES[row.status]


def _data(job: Shown) -> str:
    """What scripts sort, filter and search by."""
    row = job.row
    ended = row.finished_at.timestamp() if row.finished_at else 0
    look = f"{row.job_id} {row.message or ''} {row.output or ''} {row.video or ''} {row.audio or ''} {_label(job)}"
    values = {
        "id": row.job_id,
        "kind": kind(row),
        "status": ORDER.index(row.status),
        "suspicion": row.suspicion,
        "code": " ".join([row.code or "", *row.warnings]).strip(),
        "model": row.model or "",
        "avatar": avatar_of(row),
        "speed": f"{row.fps or 0:.2f}",
        "length": f"{row.duration_s or 0:.2f}",
        "ended": f"{ended:.0f}",
        "words": look.lower(),
    }
    return " ".join(f'data-{name}="{text(value)}"' for name, value in values.items())


def kind(row: JobRow) -> str:
    """By which button the job is shown: failed, look, fine."""
    return "failed" if has_failed(row) else "look" if is_worth_a_look(row) else "fine"


def _label(job: Shown) -> str:
    return str(job.entry.result.options.get("label", "")) if job.entry.result is not None else ""


def _name_cell(job: Shown) -> str:
    row = job.row
    picture = '<span class="thumb none"></span>'
    if job.pictures.small:
        picture = f'<img class="thumb" loading="lazy" alt="" src="{data_uri(job.pictures.small)}">'
    where = folder_name(job.entry.save_path or row.result)
    label = f'<span class="label">{text(_label(job))}</span>' if _label(job) else ""
    return (
        f'<th scope="row"><div class="name">{picture}<div><span class="id">{text(row.job_id)}</span>{label}'
        f'<span class="where">{text(os.path.join(where, ""))}</span></div></div></th>'  # noqa: PTH118
    )


def _state_cell(row: JobRow) -> str:
    return f'<td><span class="state {tone(row)}">{state_text(row)}</span></td>'


def _suspicion_cell(row: JobRow) -> str:
    if row.output is None:
        return f'<td class="why"><span class="reason">{text(row.message or "no video")}</span></td>'
    reason = f'<span class="reason">{text(row.reasons[0])}</span>' if row.reasons else ""
    meter = f'<span class="meter" aria-hidden="true"><i style="width:{row.suspicion}%"></i></span>'
    return f'<td class="why"><span class="points">{meter}<b>{row.suspicion}</b></span>{reason}</td>'


def _codes(row: JobRow) -> str:
    error = [f'<code class="bad">{text(row.code)}</code>'] if row.code else []
    return " ".join([*error, *(f"<code>{text(code)}</code>" for code in row.warnings)])


def _details(job: Shown) -> str:
    result = job.entry.result
    left = _pictures(job)
    if result is None:
        return f'<div class="detail"><div class="side"><p class="error">{text(job.row.message or "")}</p></div></div>'
    right = "".join(
        (
            _error(result),
            _reasons(job.row),
            _warnings(result),
            f"<h4>Where the time went</h4>{stage_bar(result.timings_s)}" if result.timings_s.wall else "",
            _facts(result),
            _repeat(result, job.entry.save_path),
        )
    )
    return f'<div class="detail">{left}<div class="side">{right}</div></div>'


def _pictures(job: Shown) -> str:
    pictures = job.pictures
    if pictures.trouble:
        return f'<div class="sheet"><p class="note">{text(pictures.trouble)}</p></div>'
    if pictures.seen is None:
        return ""
    seen = pictures.seen
    parts = []
    if pictures.pairs:
        pairs = "".join(_pair(one, at, len(pictures.pairs)) for at, one in enumerate(pictures.pairs))
        parts.append(f'<h4>Mouths <small>original above, rendered below</small></h4><div class="pairs">{pairs}</div>')
    else:
        parts.append('<p class="note">No face was found in the part of the video that was looked at.</p>')
    if seen.original_missing:
        parts.append(f'<p class="note">No original: {text(seen.original_missing)}</p>')
    stretch = "" if seen.end_s - seen.begin_s >= seen.duration_s - 0.1 else _stretch_text(seen.begin_s, seen.end_s)
    parts.append(
        f"<h4>Opening <small>widths of the mouth{stretch}</small>"
        '<span class="key"><i class="opening"></i>mouth <i class="loud"></i>loudness</span></h4>'
        f"{chart(seen)}"
    )
    return f'<div class="sheet">{"".join(parts)}</div>'


def _stretch_text(begin_s: float, end_s: float) -> str:
    return f", the loudest part: {begin_s:.1f} to {end_s:.1f} s"


def _pair(one: Pair, at: int, count: int) -> str:
    name = {0: "widest", count - 1: "most closed"}.get(at, "")
    above = "the original above, " if one.has_original else ""
    said = f"Mouth at {one.time_s:.2f} s, opening {one.opening:.2f}: {above}the rendered one below"
    caption = f"<b>{one.opening:.2f}</b> {name} <span>{one.time_s:.2f} s</span>"
    return (
        f'<figure><img loading="lazy" {size_of(one)} alt="{said}" src="{data_uri(one.jpeg)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def size_of(one: Pair) -> str:
    """Width and height as attributes, so that nothing jumps while the picture loads."""
    height = 2 * TILE.height + 2 if one.has_original else TILE.height
    return f'width="{TILE.width}" height="{height}"'


def _error(result: JobResult) -> str:
    error = result.error
    if error is None:
        return ""
    where = f" in the stage {text(error.stage)}" if error.stage else ""
    frame = f", frame {error.frame}" if error.frame is not None else ""
    tail = "\n".join(error.stderr_tail[-TAIL_LINES:])
    told = (
        f'<details class="tail"><summary>What ffmpeg wrote</summary><pre>{lines(tail)}</pre></details>' if tail else ""
    )
    hint = f'<p class="hint">{text(error.hint)}</p>' if error.hint else ""
    return (
        f'<div class="error"><h4><code class="bad">{text(error.code)}</code>{where}{frame}</h4>'
        f"<p>{text(error.message)}</p>{hint}{told}</div>"
    )


def _reasons(row: JobRow) -> str:
    if row.output is None or not row.reasons:
        return ""
    return f"<h4>Why to look <small>{row.suspicion} of 100</small></h4>{_list(text(one) for one in row.reasons)}"


def _warnings(result: JobResult) -> str:
    if not result.warnings:
        return ""
    items = (f"<code>{text(one.code)}</code> {text(one.message)}" for one in result.warnings)
    return f"<h4>Warnings</h4>{_list(items)}"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{one}</li>' for one in items)}</ul>"


def _facts(result: JobResult) -> str:
    environment, inputs, output = result.environment, result.inputs, result.output
    size = f"{output.width}{TIMES}{output.height} px, {output.frames} frames" if output else ""
    machine = ", ".join(filter(None, (environment.host, environment.device, environment.precision)))
    facts = {
        "Video": inputs.video.path if inputs.video else "",
        "Speech": inputs.audio.path if inputs.audio else "",
        "Output": output.path if output else "",
        "Picture": size,
        "Mouth": _figures(result.picture) if result.picture else "",
        "Model": environment.model.name if environment.model else "",
        "Machine": f"{machine}; dh {environment.dh}",
        "Run": f"{result.run_id}, attempt {result.attempt}",
    }
    items = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts.items() if value)
    return f"<h4>Facts</h4><dl>{items}</dl>"


def _figures(picture: Picture) -> str:
    parts = [
        f"opens {picture.shown:.2f} of {picture.asked:.2f} asked"
        if picture.shown is not None and picture.asked is not None
        else "",
        f"correlation {picture.correlation:.2f}" if picture.correlation is not None else "",
        f"lag {picture.lag_ms:.0f} ms" if picture.lag_ms is not None else "",
        f"face {picture.face_px:.0f} px wide" if picture.face_px is not None else "",
        f"{picture.sharpness / picture.source_sharpness:.0%} as sharp inside as the original"
        if picture.sharpness is not None and picture.source_sharpness
        else "",
    ]
    return ", ".join(filter(None, parts))


def _repeat(result: JobResult, save_path: str) -> str:
    command = repeat_command(result, save_path)
    if not command:
        return ""
    return (
        f'<h4>Once more</h4><div class="command"><pre tabindex="0">{text(command)}</pre>'
        '<button type="button" class="copy" hidden>Copy</button></div>'
    )
