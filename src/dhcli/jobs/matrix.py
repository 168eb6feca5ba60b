"""`matrix:` of a manifest: from lists of audios and videos to one job for each pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from dhcli.errors import ManifestError
from dhcli.jobs import templates
from dhcli.jobs.files import Files
from dhcli.jobs.formats import ENCODERS
from dhcli.jobs.keys import ENTRY_KEYS, ID_MEANS, MATRIX_KEYS, PATHS, is_id, path_problem
from dhcli.jobs.options import Job
from dhcli.jobs.problems import Problems, kind, quoted
from dhcli.jobs.reader import JobReader, Layer
from dhcli.jobs.strict_yaml import MappingNode, Node, ScalarNode, SequenceNode

Pair: TypeAlias = Literal["product", "zip"]
PAIRS: tuple[Pair, ...] = ("product", "zip")
MAX_JOBS = 100_000
"""Of one manifest, as in a file of 16 MiB; 2,000 audios for 2,000 videos would be 4 million."""
NONE = Layer({}, {})

A = TypeVar("A")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a list, with what the manifest says of it."""

    path: Path
    layer: Layer
    line: int


Exclude: TypeAlias = Callable[[Path, Path], bool]
"""Whether a pair of audio and video is left out."""


def pairs(
    audios: Sequence[A], videos: Sequence[V], how: Pair, excluded: Callable[[A, V], bool] = lambda *_: False
) -> Iterator[tuple[A, V]]:
    """The pairs in order. `product`: every audio with the first video, then with the next; `zip`: one by one.

    Video by video, so that each is analysed once even where the cache is small.
    """
    every = ((audio, video) for video in videos for audio in audios)
    for audio, video in every if how == "product" else zip(audios, videos, strict=True):
        if not excluded(audio, video):
            yield audio, video


class MatrixReader:
    """Reads the matrices of a manifest, after the reader of its jobs has read all else."""

    def __init__(self, reader: JobReader, files: Files, problems: Problems) -> None:
        self._reader, self._files, self._problems = reader, files, problems
        self._index = reader.count

    def read(self, node: Node) -> list[Job]:
        """The jobs of `matrix:`, one mapping or a list. Raises ManifestError manifest.limit and DhError stalled."""
        if isinstance(node, MappingNode):
            return self._block(node, "matrix.")
        if not isinstance(node, SequenceNode) or not node.items:
            self._problems.add(node.line, "matrix", f"found {kind(node)}, expected 'audio:' and 'video:' with lists")
            return []
        jobs: list[Job] = []
        for number, item in enumerate(node.items):
            if isinstance(item, MappingNode):
                jobs += self._block(item, f"matrix[{number}].")
            else:
                self._problems.add(
                    item.line, f"matrix[{number}]", f"found {kind(item)}, expected 'audio:' and 'video:'"
                )
        return jobs

    def of_flags(self, audios: Sequence[str], videos: Sequence[str], out: str, pair: Pair) -> list[Job]:
        """The jobs of --audio, --video and --out, a folder or a template. Raises as `read`."""
        found = {key: self._entries(_texts(texts), key, "") for key, texts in (("audio", audios), ("video", videos))}
        text = out
        if not out.lower().endswith(tuple(ENCODERS)):
            text = f"{out or '.'}/{_names(len(found['audio']), len(found['video']), pair)}.mp4"
        template = self._reader.checked_template("save_path", ScalarNode(text, 0, 0, plain=False), "--out")
        if template is None or not found["audio"] or not found["video"]:
            return []
        return self._jobs(found["audio"], found["video"], pair, (lambda *_: False), (NONE, template, None))

    def _block(self, node: MappingNode, place: str) -> list[Job]:
        layer = self._reader.layer(_without_lists(node), MATRIX_KEYS, place)
        audios, videos = (self._list(node, key, place) for key in ("audio", "video"))
        pair = self._pair(layer, place)
        excluded = self._excludes(node.values.get("exclude"), place)
        template, ident = layer.texts.get("save_path"), layer.texts.get("id")
        if template is not None:
            template = self._reader.checked_template("save_path", template, f"{place}save_path")
        elif "save_path" not in node.keys:
            template = self._reader.default_template
            if "save_path" not in self._reader.default_paths:
                self._problems.add(node.line, f"{place}save_path", f"missing; {PATHS['save_path']}")
        if ident is not None:
            ident = self._reader.checked_template("id", ident, f"{place}id")
        if pair is None or template is None or not audios or not videos:
            self._index += len(audios) * len(videos)
            return []
        return self._jobs(audios, videos, pair, excluded, (layer, template, ident), place)

    def _jobs(
        self,
        audios: Sequence[Entry],
        videos: Sequence[Entry],
        pair: Pair,
        excluded: Exclude,
        of_all: tuple[Layer, ScalarNode, ScalarNode | None],
        place: str = "",
    ) -> list[Job]:
        """A job for each pair; `of_all`: what the matrix says of all, with its templates of save_path and id."""
        layer, template, ident = of_all
        if pair == "zip" and len(audios) != len(videos):
            text = f"zip needs as many audios as videos; found {len(audios)} and {len(videos)}"
            line = layer.texts["pair"].line if "pair" in layer.texts else None
            self._problems.add(line, f"{place}pair" if place else "--pair", text)
            return []
        if pair == "product" and self._index + len(audios) * len(videos) > MAX_JOBS:
            where = f"{self._problems.name}:{audios[0].line}" if place else self._problems.name
            raise ManifestError("manifest.limit", [f"{where}: more than {MAX_JOBS} jobs; split the lists"])
        jobs: list[Job] = []
        for audio, video in pairs(audios, videos, pair, lambda a, v: excluded(a.path, v.path)):
            index, self._index = self._index, self._index + 1
            if any(said.skip for said in (layer, video.layer, audio.layer)):
                self._reader.skipped.add(index)
            options = self._reader.options((layer, video.layer, audio.layer))
            values = templates.Values(audio.path, video.path, "", index + 1, options.label)
            where = f"jobs[{index}]." if place else ""
            if ident is not None:
                values = replace(values, id=self._id(ident, values, audio.line, where))
            save_path = self._reader.from_template(
                template, values, audio.line, f"{where}save_path" if place else "--out"
            )
            if save_path is not None:
                jobs.append(Job(index, audio.line or None, values.id, audio.path, video.path, save_path, options))
        return jobs

    def _id(self, template: ScalarNode, values: templates.Values, line: int, where: str) -> str:
        """The id that the template gives; what an id cannot have becomes a dash."""
        filled = templates.filled(template.text, values)
        text = "".join(char if char in ".-" or is_id("a" + char) else "-" for char in filled)
        if not is_id(text):
            self._problems.add(line, f"{where}id", f"found {quoted(filled)}, expected {ID_MEANS}")
        return text

    def _list(self, node: MappingNode, key: str, place: str) -> list[Entry]:
        if key in node.values:
            return self._entries(node.values[key], key, place)
        default = self._reader.default_paths.get(key)
        if default is not None:
            return [Entry(default, NONE, node.line)]
        if key not in self._reader.default_paths:
            self._problems.add(node.line, place + key, f"missing; {PATHS[key]}")
        return []

    def _entries(self, node: Node, key: str, place: str) -> list[Entry]:
        """The files of a list. A pattern leaves out what the list names itself, and what was found before."""
        items = node.items if isinstance(node, SequenceNode) else (node,)
        if not items:
            self._problems.add(node.line, place + key, "found an empty list, expected at least one file")
        listed = isinstance(node, SequenceNode) and bool(place)
        base = place + key if place else f"--{key}"
        read = [self._entry(item, key, f"{base}[{number}]" if listed else base) for number, item in enumerate(items)]
        known = {entry.path for found, is_pattern in read if not is_pattern for entry in found}
        entries: list[Entry] = []
        for found, is_pattern in read:
            new = [entry for entry in found if entry.path not in known] if is_pattern else found
            known |= {entry.path for entry in new}
            entries += new
        return entries

    def _entry(self, node: Node, key: str, where: str) -> tuple[list[Entry], bool]:
        """The files that one item of a list names, and whether by a pattern."""
        layer = NONE
        text: Node | None = node
        if isinstance(node, MappingNode):
            layer = self._reader.layer(node, ENTRY_KEYS, f"{where}.")
            text, given = layer.texts.get("path"), "path" in node.keys
            if text is None and not given:
                self._problems.add(node.line, f"{where}.path", f"missing; {PATHS[key]}")
        if text is None:
            return [], False
        if not isinstance(text, ScalarNode) or text.is_null:
            self._problems.add(text.line, where, f"found {kind(text)}, expected a path, or a mapping with 'path:'")
            return [], False
        if wrong := path_problem(key, text.text):
            self._problems.add(text.line, where, wrong)
            return [], False
        try:
            found = self._files.find(text.text)
        except ValueError as error:
            self._problems.add(text.line, where, str(error))
            return [], True
        paths = [self._files.path(text.text)] if found is None else found
        return [Entry(path, layer, text.line) for path in paths], found is not None

    def _pair(self, layer: Layer, place: str) -> Pair | None:
        node = layer.texts.get("pair")
        if node is None:
            return "product"
        for pair in PAIRS:
            if node.text == pair:
                return pair
        self._problems.add(node.line, f"{place}pair", f"found {quoted(node.text)}, expected product or zip")
        return None

    def _excludes(self, node: Node | None, place: str) -> Exclude:
        """Whether one of the items of `exclude` names both files of a pair. A key that an item lacks fits all."""
        tests: list[tuple[Callable[[Path], bool], Callable[[Path], bool]]] = []
        items: Iterable[Node] = node.items if isinstance(node, SequenceNode) else (node,) if node is not None else ()
        for number, item in enumerate(items):
            where = f"{place}exclude[{number}]" if isinstance(node, SequenceNode) else f"{place}exclude"
            layer = self._reader.layer(item, ("audio", "video"), f"{where}.") if isinstance(item, MappingNode) else NONE
            if not isinstance(item, MappingNode) or not item.keys:
                self._problems.add(item.line, where, f"found {kind(item)}, expected 'audio:', 'video:' or both")
                continue
            texts = [layer.texts.get(key) for key in ("audio", "video")]
            audio, video = (self._files.matcher(text.text) if text else (lambda _: True) for text in texts)
            tests.append((audio, video))
        return lambda audio, video: any(a(audio) and v(video) for a, v in tests)


def _without_lists(node: MappingNode) -> MappingNode:
    """The mapping without the keys whose values may be lists."""
    lists = ("audio", "video", "exclude")
    keys = {key: at for key, at in node.keys.items() if key not in lists}
    return MappingNode(keys, {key: node.values[key] for key in keys}, node.line, node.column)


def _texts(texts: Sequence[str]) -> SequenceNode:
    return SequenceNode(tuple(ScalarNode(text, 0, 0, plain=False) for text in texts), 0, 0)


def _names(audios: int, videos: int, pair: Pair) -> str:
    """The template of names below --out: no longer than needed to tell the jobs apart."""
    if videos < 2 or pair == "zip":
        return "{audio.stem}"
    return "{video.stem}" if audios < 2 else "{video.stem}/{audio.stem}"
