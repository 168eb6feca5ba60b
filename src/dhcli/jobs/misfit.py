"""What is wrong with a value of a file, in words of dh instead of pydantic's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "int": "a whole number",
        "float": "a number",
        "finite_number": "a finite number",
        "bool": "true or false",
        "string": "a text",
        "list": "a list",
        "tuple": "a list",
        "dict": "a mapping",
        "model": "a mapping",
        "none": "null",
    }
)
"""By the beginning of pydantic's type of error, as `int_parsing` and `int_type`."""
LIMITS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "greater_than_equal": ("ge", "at least {}"),
        "greater_than": ("gt", "more than {}"),
        "less_than_equal": ("le", "at most {}"),
        "less_than": ("lt", "less than {}"),
        "string_too_short": ("min_length", "at least {} characters"),
        "string_too_long": ("max_length", "at most {} characters"),
        "too_short": ("min_length", "at least {} values"),
        "too_long": ("max_length", "at most {} values"),
        "string_pattern_mismatch": ("pattern", "a text of the form {}"),
        "literal_error": ("expected", "{}"),
        "enum": ("expected", "{}"),
    }
)
"""By pydantic's type of error: the name of its limit, and the words for it."""
LONGEST = 60


def misfits(error: ValidationError) -> Iterable[str]:
    """A text for each wrong value: where it is, what was found, what was expected."""
    for detail in error.errors(include_url=False):
        where = ".".join(map(str, detail["loc"]))
        text = misfit(detail)
        yield f"{where}: {text}" if where else text


def misfit(detail: ErrorDetails) -> str:
    """What is wrong with one value."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "missing"
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "value_error" and "error" in context:
        return str(context["error"])
    if kind in LIMITS:
        name, words = LIMITS[kind]
        return f"found {_quoted(detail['input'])}, expected {words.format(context.get(name))}"
    expected = KINDS.get(kind) or KINDS.get(kind.partition("_")[0])
    if expected is not None:
        return f"found {_quoted(detail['input'])}, expected {expected}"
    return detail["msg"].removeprefix("Value error, ")


def _quoted(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return "no value" if value is None else text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
