"""The problems of one manifest, collected, and the words for what was found."""

from __future__ import annotations

from dhcli.errors import ManifestError
from dhcli.jobs.strict_yaml import MappingNode, Node, SequenceNode

MAX_PROBLEMS = 100
"""Further problems are only counted: the same key misspelt in 10,000 jobs needs no 10,000 lines."""


class Problems:
    """The problems of one manifest, reported in the order of its lines."""

    def __init__(self, name: str) -> None:
        """`name` is the manifest's path as the user gave it."""
        self.name = name
        self._found: list[tuple[int, str]] = []
        self._left_out = 0
        self._invalid = False

    @property
    def full(self) -> bool:
        """Whether further problems are only counted."""
        return len(self._found) == MAX_PROBLEMS

    def add(self, line: int | None, where: str, text: str, *, conflict: bool = False) -> None:
        self._invalid |= not conflict
        if self.full:
            self._left_out += 1
            return
        place = f"{self.name}:{line}: " if line else ""
        self._found.append((line or 0, f"{place}{where}: {text}"))

    def raise_any(self) -> None:
        """Raise a ManifestError with all problems, if there are any."""
        if not self._found:
            return
        lines = [text for _, text in sorted(self._found, key=lambda found: found[0])]
        if self._left_out:
            lines.append(f"{self.name}: and {self._left_out} more problems")
        raise ManifestError("manifest.invalid" if self._invalid else "manifest.conflict", lines)


def kind(node: Node) -> str:
    """What a node is, in words, or its text in quotes."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list" if node.items else "an empty list"
    return "no value" if node.is_null else quoted(node.text)


def quoted(text: str) -> str:
    """The text in quotes, cut where it is long."""
    return repr(text if len(text) <= 60 else text[:60] + "…")
