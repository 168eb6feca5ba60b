"""From the bytes of a manifest to one tree, whatever its format: YAML, JSON, JSON lines, CSV or TSV.

The format follows from the name of the file. Every value is a text with its line, as in YAML.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import PurePath

from dhcli.jobs.keys import OPTIONS, VERSION
from dhcli.jobs.strict_yaml import (
    MAX_NODES,
    NULLS,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    StrictYamlError,
    compose,
    decode,
)

SEPARATORS = ",;\t"
JSON_ESCAPE = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)


def parse(data: bytes, name: str, suffix: str) -> Node:
    """The tree of a manifest. Raises StrictYamlError, whose problems name the file `name`.

    `suffix` is that of the file: of tables, as `.csv`, and JSON lines every line is a job; the rest is YAML.
    """
    text = decode(data, name)
    kind = suffix.lower()
    if kind in (".csv", ".tsv", ".tab"):
        return _of_jobs(_table(text, name, "\t" if kind != ".csv" else None))
    if kind == ".json":
        return compose(_joined_escapes(text), name)
    if kind in (".jsonl", ".ndjson"):
        lines = [f"{line}," if line.strip() else line for line in _joined_escapes(text).split("\n")]
        root = compose("[" + "\n".join(lines) + "]", name)
        return _of_jobs(root.items) if isinstance(root, SequenceNode) else root
    return compose(text, name)


def suffix_of(path: PurePath | None) -> str:
    """The suffix that decides the format; empty for standard input, which is YAML or JSON."""
    return path.suffix if path is not None else ""


def _of_jobs(jobs: tuple[Node, ...]) -> MappingNode:
    """The manifest of a file that holds nothing but jobs."""
    keys = {key: ScalarNode(key, 1, 1, plain=True) for key in ("version", "jobs")}
    values: dict[str, Node] = {"version": ScalarNode(VERSION, 1, 1, plain=True), "jobs": SequenceNode(jobs, 1, 1)}
    return MappingNode(keys, values, 1, 1)


def _joined_escapes(text: str) -> str:
    r"""The text with the one thing of JSON that YAML has not: characters in two parts, as `\ud83d\ude00`."""

    def joined(escape: re.Match[str]) -> str:
        if escape[1] is None:
            return escape[0]
        return bytes.fromhex(escape[1] + escape[2]).decode("utf-16-be")

    return JSON_ESCAPE.sub(joined, text) if "\\u" in text else text


def _table(text: str, name: str, separator: str | None) -> tuple[Node, ...]:
    """A job for each row of a table whose first row has the keys. Rows and columns that are empty do not count."""
    lines = list(io.StringIO(text, newline=""))
    skipped = 0
    if lines and (said := re.fullmatch(r"sep=(.)\s*", lines[0])):  # Excel writes and reads this
        separator, skipped = said[1], 1
    separator = separator or _separator(lines[0] if lines else "")
    reader = csv.reader(lines[skipped:], delimiter=separator, strict=True)
    header: list[str] | None = None
    jobs: list[Node] = []
    problems: list[str] = []
    began = nodes = 0
    try:
        for cells in reader:
            line, began = skipped + began + 1, reader.line_num
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if header is None:
                header = stripped
                problems += _header_problems(header, f"{name}:{line}")
                continue
            if any(not key and cell for key, cell in zip(header, stripped, strict=False)) or any(
                stripped[len(header) :]
            ):
                problems.append(f"{name}:{line}: a value without a key above it, in the first row")
            nodes += len(header)
            if nodes > MAX_NODES:
                raise StrictYamlError(
                    "manifest.limit", [f"{name}:{line}: more than {MAX_NODES} values; split the file"]
                )
            jobs.append(_row(dict(zip(header, stripped, strict=False)), line))
    except csv.Error as error:
        problems.append(f"{name}:{skipped + reader.line_num}: not CSV: {error}")
    if problems:
        raise StrictYamlError("manifest.syntax", problems)
    if header is None:
        raise StrictYamlError("manifest.syntax", [f"{name}: the file is empty, expected keys in its first row"])
    return tuple(jobs)


def _row(cells: dict[str, str], line: int) -> MappingNode:
    given = {key: cell for key, cell in cells.items() if cell}
    keys = {key: ScalarNode(key, line, 1, plain=True) for key in given}
    return MappingNode(
        keys, {key: ScalarNode(cell, line, 1, _may_be_null(key, cell)) for key, cell in given.items()}, line, 1
    )


def _may_be_null(key: str, cell: str) -> bool:
    """`null` in a table is no value where an option may have none; elsewhere it is a text."""
    return cell in NULLS and OPTIONS.get(key, {}).get("default", "") is None


def _header_problems(header: list[str], where: str) -> list[str]:
    named = [key for key in header if key]
    return [f"{where}: duplicate key '{key}'" for key in dict.fromkeys(named) if named.count(key) > 1]


def _separator(line: str) -> str:
    """Of a table: what stands most often outside of quotes in its first row."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)
