r"""Text from outside, made safe to display: file names, tags and messages may hold control or invisible characters.

U+001B and U+009B begin terminal commands, U+202E reverses the text that follows, and U+200B makes two different names
look the same. Wherever people read such text (terminal, log, JUnit), each of them is shown as its escape, `\x9b` or
`\u202e`.
"""

from __future__ import annotations

import json
import re
from typing import Any

BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Invisible letters and marks. `str.isprintable` covers the other invisible characters: controls, formats, spaces."""


def printable(text: str) -> str:
    """The text as one line, with every control and invisible character replaced by its escape."""
    return text if _is_plain(text) else "".join(c if _is_plain(c) else _escaped(c) for c in text)


def printable_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON that is safe to display. A parser reads the same value, since only JSON's escapes are used."""
    lines = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False).split("\n")
    return "\n".join(
        line if _is_plain(line) else "".join(c if _is_plain(c) else json.dumps(c)[1:-1] for c in line) for line in lines
    )


def _is_plain(text: str) -> bool:
    return text.isprintable() and not BLANK.search(text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
