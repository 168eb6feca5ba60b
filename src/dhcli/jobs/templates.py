"""Texts with fields in braces, as `out/{video.stem}/{audio.stem}.mp4`: from the values of a job to its path or id."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

INDEX = re.compile(r"index(?::0([1-9]))?")
PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Values:
    """What the fields of a template stand for."""

    audio: Path
    video: Path
    id: str
    """Empty where the job has none of its own."""
    index: int
    """From 1."""
    label: str


FIELDS: Mapping[str, Callable[[Values], str]] = MappingProxyType(
    {
        "audio.stem": lambda of: of.audio.stem,
        "audio.folder": lambda of: of.audio.parent.name,
        "video.stem": lambda of: of.video.stem,
        "video.folder": lambda of: of.video.parent.name,
        "id": lambda of: of.id,
        "label": lambda of: of.label,
    }
)


def wrong(text: str, *, without: str = "") -> str | None:
    """What is wrong with a template; None: nothing. The field `without` is not known."""
    for piece in PIECE.finditer(text):
        if piece[0] in ("{{", "}}"):
            continue
        if piece[1] is None:
            return f"a single '{piece[0]}' in a template; write '{piece[0] * 2}'"
        if piece[1] == without or not (piece[1] in FIELDS or INDEX.fullmatch(piece[1])):
            known = [*(name for name in FIELDS if name != without), "index", "index:03"]
            near = difflib.get_close_matches(piece[1][:100], known, n=1)
            what = f"did you mean '{{{near[0]}}}'?" if near else f"known: {', '.join(f'{{{name}}}' for name in known)}"
            return f"unknown field '{piece[0][:60]}'; {what}"
    return None


def asks_for(text: str, field: str) -> bool:
    """Whether the template has this field."""
    return any(piece[1] == field for piece in PIECE.finditer(text))


def filled(text: str, values: Values) -> str:
    """The template with the values in it. A value stays one name: its slashes become dashes."""

    def value(piece: re.Match[str]) -> str:
        name = piece[1]
        if name is None:
            return piece[0][0]
        if found := INDEX.fullmatch(name):
            return f"{values.index:0{found[1] or 1}}"
        return FIELDS[name](values).replace("/", "-")

    return PIECE.sub(value, text)
