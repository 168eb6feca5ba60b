"""Texts for HTML: everything from outside is escaped here, and only here."""

from __future__ import annotations

import base64
import datetime as dt
import html

from dhcli.printable import printable

TIMES = "\N{MULTIPLICATION SIGN}"


def text(value: object) -> str:
    """The value for HTML, in text or between double quotes; control and invisible characters as their escapes."""
    return html.escape(printable(str(value)), quote=True)


def lines(value: str) -> str:
    """Text of several lines for a `pre`."""
    return "\n".join(text(line) for line in value.splitlines())


def data_uri(jpeg: bytes) -> str:
    """A JPEG inside of the page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def duration(seconds: float) -> str:
    """80 ms, 4.2 s, 41 min 12 s, 3 h 05 min."""
    if 0 < seconds < 0.95:
        return f"{max(1, round(seconds * 100) * 10 or round(seconds * 1000))} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def day(time: dt.datetime) -> str:
    """1 December 2026, in the time of this machine."""
    time = time.astimezone()
    return f"{time.day} {time:%B %Y}"


def clock(time: dt.datetime) -> str:
    """04:22:41, in the time of this machine."""
    return f"{time.astimezone():%H:%M:%S}"


def count(number: int, noun: str) -> str:
    """1 job, 2 jobs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", "\u202f")


def moment(time: dt.datetime) -> str:
    """A `time` element that shows the time of day."""
    return f'<time datetime="{time.isoformat()}">{clock(time)}</time>'
