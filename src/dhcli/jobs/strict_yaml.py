"""The one reader of YAML: from bytes to a tree of texts with line numbers.

It refuses what makes YAML surprising. Ordinary readers turn `no` into False and `1:30` into 90, let the last of two
equal keys win, and run out of memory or stack on aliases and on 200,000 `[`. Here every scalar stays the text that was
written, duplicate keys and aliases are errors, and limits apply before the tree is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import yaml

from dhcli.errors import ManifestCode

MAX_BYTES = 16 * 2**20
"""About 80 000 jobs."""
MAX_DEPTH = 32
"""libyaml's own composer recurses; 200,000 levels crash the process."""
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
MAX_NODES = 1_000_000
"""Their tree takes about 200 MB."""
MAX_PROBLEMS = 100
"""Reading ends after so many: one mistake repeated through a file needs no more lines."""

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""Only its events are used, not its composer. libyaml is five times as fast as pure Python."""


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One text, exactly as written."""

    text: str
    line: int
    """From 1, as `column`."""
    column: int
    plain: bool
    """Written without quotes."""

    @property
    def is_null(self) -> bool:
        """No value: nothing, `~` or `null` without quotes."""
        return self.plain and self.text in NULLS


@dataclass(frozen=True, slots=True)
class SequenceNode:
    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class MappingNode:
    keys: Mapping[str, ScalarNode]
    """The node of each key, for its line; in the order of the file."""
    values: Mapping[str, Node]
    """In the same order."""
    line: int
    column: int


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode
Plain: TypeAlias = "str | list[Plain] | dict[str, Plain] | None"


class StrictYamlError(Exception):
    """The text is not YAML as dh reads it, or it is too large; every problem names file and line."""

    def __init__(self, code: Literal["manifest.syntax", "manifest.limit"], problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.code: ManifestCode = code
        self.problems = tuple(problems)


def load(data: bytes, name: str) -> Node:
    """The tree of one YAML document; an empty file gives a null scalar. Messages name the file `name`.

    Raises StrictYamlError, with every duplicate key, anchor, alias and tag of the file.
    """
    return compose(decode(data, name), name)


def compose(text: str, name: str) -> Node:
    """The same for a text that is decoded."""
    return _Composer(name).compose(text)


def plain(node: Node) -> Plain:
    """The same tree as lists, dicts and texts; a null scalar is None."""
    if isinstance(node, MappingNode):
        return {key: plain(value) for key, value in node.values.items()}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return None if node.is_null else node.text


def decode(data: bytes, name: str) -> str:
    """The text of a manifest. Raises StrictYamlError where it is too large, not UTF-8, or has control characters."""
    if len(data) > MAX_BYTES:
        raise StrictYamlError(
            "manifest.limit", [f"{name}: larger than {MAX_BYTES // 2**20} MiB; split it into several files"]
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise StrictYamlError("manifest.syntax", [f"{name}:1:1: UTF-16 text; save the file as UTF-8"])
    body = data.removeprefix(b"\xef\xbb\xbf")  # some editors write a byte order mark
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        where = _where(name, body[: error.start].decode())
        byte = body[error.start]
        raise StrictYamlError(
            "manifest.syntax", [f"{where}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"]
        ) from error
    if found := UNPRINTABLE.search(text):
        where = _where(name, text[: found.start()])
        raise StrictYamlError(
            "manifest.syntax", [f"{where}: control character U+{ord(found[0]):04X}; is this a binary file, or UTF-16?"]
        )
    return text


def _where(name: str, before: str) -> str:
    """`name:line:column`, both from 1, of the character after the text `before`."""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{name}:{line}:{column}"


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that the parser has begun and not ended."""

    is_mapping: bool
    line: int
    column: int
    items: list[Node] = field(default_factory=list)
    keys: dict[str, ScalarNode] = field(default_factory=dict)
    values: dict[str, Node] = field(default_factory=dict)
    key: ScalarNode | None = None
    """The key whose value comes next."""

    def close(self) -> Node:
        if self.is_mapping:
            return MappingNode(self.keys, self.values, self.line, self.column)
        return SequenceNode(tuple(self.items), self.line, self.column)


class _Composer:
    """Builds the tree from parser events. Its own stack instead of recursion: deep nesting cannot exhaust the stack."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: list[_Open] = []
        self._root: Node = ScalarNode("", 1, 1, plain=True)
        self._nodes = 0
        self._problems: list[str] = []

    def compose(self, text: str) -> Node:
        documents = 0
        for event in self._events(text):
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            if isinstance(event, yaml.AliasEvent):
                self._add(line, f"alias '*{event.anchor}': repeat the value instead")
                self._place(ScalarNode("", line, column, plain=True))
            elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
                self._node(event, line, column)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._place(self._open.pop().close())
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._add(line, "a second document starts here; one file holds one document")
                    break
        if self._problems:
            raise StrictYamlError("manifest.syntax", self._problems)
        return self._root

    def _events(self, text: str) -> Iterator[yaml.Event]:
        loader = LOADER(text)
        try:
            while len(self._problems) < MAX_PROBLEMS and (event := loader.get_event()):
                yield event
        except yaml.MarkedYAMLError as error:
            # The scanner reads ahead of the events, so its limit (1000 levels since PyYAML 6.0.4) may come first.
            if "nesting depth" in (error.problem or "") and (mark := error.problem_mark):
                raise self._limit(mark.line + 1, TOO_DEEP) from error
            self._problems.append(_syntax(error, self._name, text))
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # The pure Python scanner calls chr() with "\\UFFFFFFFF"; that error has no position.
            self._problems.append(f"{self._name}: not YAML: {error}")
        finally:
            loader.dispose()

    def _node(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int, column: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._limit(line, f"more than {MAX_NODES} values; split the file")
        if event.anchor is not None:
            self._add(line, f"anchor '&{event.anchor}': anchors and aliases are not read; remove it")
        if event.tag is not None:
            self._add(line, f"tag '{event.tag}': every value is text here; remove the tag")
        if isinstance(event, yaml.ScalarEvent):
            self._place(ScalarNode(event.value, line, column, not event.style))
            return
        if len(self._open) == MAX_DEPTH:
            raise self._limit(line, TOO_DEEP)
        self._open.append(_Open(isinstance(event, yaml.MappingStartEvent), line, column))

    def _place(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if not parent.is_mapping:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            key, parent.key = parent.key, None
            if first := parent.keys.get(key.text):
                self._add(key.line, f"duplicate key '{key.text}', first on line {first.line}")
            else:
                parent.keys[key.text], parent.values[key.text] = key, node

    def _key(self, node: Node) -> ScalarNode:
        if not isinstance(node, ScalarNode):
            self._add(node.line, "a list or mapping cannot be a key")
            return ScalarNode("", node.line, node.column, plain=False)
        if node.plain and node.text == "<<":
            self._add(node.line, "merge key '<<': repeat the values instead")
        return node

    def _add(self, line: int, text: str) -> None:
        self._problems.append(f"{self._name}:{line}: {text}")

    def _limit(self, line: int, text: str) -> StrictYamlError:
        return StrictYamlError("manifest.limit", [*self._problems, f"{self._name}:{line}: {text}"])


def _syntax(error: yaml.MarkedYAMLError, name: str, text: str) -> str:
    mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    if mark and problem and "cannot start any token" in problem:
        # libyaml's message does not name the character. It usually is a tab, which an editor shows as spaces.
        if text[mark.index : mark.index + 1] == "\t":
            return f"{where}: not YAML: a tab; indent with spaces"
        return f"{where}: not YAML: '{text[mark.index : mark.index + 1]}' cannot begin a value; put it in quotes"
    began = error.context_mark
    since = f", {error.context} that begins on line {began.line + 1}" if error.problem and began else ""
    return f"{where}: not YAML: {problem}{since}"
