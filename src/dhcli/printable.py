r"""Text from outside, made safe to look at: names, tags and messages may hold characters that command, reorder or hide.

A terminal obeys U+001B and U+009B, a viewer turns what follows U+202E around, and U+200B makes two names look the same.
Each becomes its escape, `\x9b` or `\u202e`, wherever people read it: on the terminal, in the log, in JUnit.
"""

from __future__ import annotations

import json
import re
from typing import Any

BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that show nothing. All others that do so are unprintable for Python: controls, formats, spaces."""


def printable(text: str) -> str:
    """The text in one line, without anything that a terminal would obey or that cannot be seen."""
    return text if _is_plain(text) else "".join(c if _is_plain(c) else _escaped(c) for c in text)


def printable_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON whose text is safe to look at. A parser finds the same value: only escapes of JSON are used."""
    lines = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False).split("\n")
    return "\n".join(
        line if _is_plain(line) else "".join(c if _is_plain(c) else json.dumps(c)[1:-1] for c in line) for line in lines
    )


def _is_plain(text: str) -> bool:
    return text.isprintable() and not BLANK.search(text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
