"""Times and sizes on the command line, with or without units: `90`, `10m`, `1h30m`; `512`, `1.5G`."""

from __future__ import annotations

import re
from collections.abc import Callable

import typer

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
MIB = {"k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2}
NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
TIME = re.compile(rf"(?:{NUMBER}(?:ms|s|min|m|h|d))+")
SIZE = re.compile(rf"({NUMBER}) ?([kmgt])(?:i?b)?", re.IGNORECASE)


def seconds(least: float) -> Callable[[object], float]:
    """A parser of times of at least so many seconds. A number without a unit is seconds."""

    def parse(value: object) -> float:
        text = str(value).strip()
        found: float | None = None
        if re.fullmatch(NUMBER, text):
            found = float(text)
        elif TIME.fullmatch(text):
            found = sum(float(number) * SECONDS[unit] for number, unit in re.findall(rf"({NUMBER})([a-z]+)", text))
        if found is None or found < least:
            raise typer.BadParameter(
                f"found '{text}', expected seconds from {least:g} on, or a time as 90s, 10m, 1h30m."
            )
        return found

    return parse


def mebibytes(value: object) -> int:
    """A size in MiB, 0 or more; what is not a whole number of them is rounded up. A number without a unit is MiB."""
    text = str(value).strip()
    found: float | None = None
    if re.fullmatch(r"[0-9]{1,12}", text):
        found = float(text)
    elif size := SIZE.fullmatch(text):
        found = float(size[1]) * MIB[size[2].lower()]
    if found is None:
        raise typer.BadParameter(f"found '{text}', expected MiB, or a size as 512M or 1.5G.")
    return -int(-found // 1)
