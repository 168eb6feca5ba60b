"""From the texts of a manifest or of the command line to checked jobs: keys, types, values, paths.

All problems are collected, each as a sentence with its line. The file system is not read here.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dhcli.errors import ManifestError
from dhcli.jobs.formats import ENCODERS, clash
from dhcli.jobs.options import LIKE, Job, JobOptions, option_schemas
from dhcli.jobs.strict_yaml import NULLS, MappingNode, Node, ScalarNode, SequenceNode

VERSION = "1"
ID_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
"""No dash or dot in front: the id is an argument of `--job` and the name of a result file."""
PATHS = MappingProxyType(
    {
        "audio": "the speech: a sound file, or a video with sound",
        "video": "the person: a video or a picture",
        "save_path": "the video to write, ending in .mp4, .mov, .mkv or .webm",
    }
)
OPTIONS = MappingProxyType(option_schemas())
TOP_KEYS = ("version", "defaults", "jobs")
JOB_KEYS = ("id", *PATHS, *OPTIONS)
MAX_PATH_BYTES = 4095
"""The longest path that Linux accepts."""
MAX_NAME_BYTES = 250
"""Of an output. File systems allow 255 bytes, and the name of the result adds `.json`."""
MAX_PROBLEMS = 100
"""Further problems are only counted: the same key misspelt in 10,000 jobs needs no 10,000 lines."""


class Problems:
    """The problems of one manifest, reported in the order of its lines."""

    def __init__(self, name: str) -> None:
        """`name` is the manifest's path as the user gave it."""
        self._name = name
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
        place = f"{self._name}:{line}: " if line else ""
        self._found.append((line or 0, f"{place}{where}: {text}"))

    def raise_any(self) -> None:
        """Raise a ManifestError with all problems, if there are any."""
        if not self._found:
            return
        lines = [text for _, text in sorted(self._found, key=lambda found: found[0])]
        if self._left_out:
            lines.append(f"{self._name}: and {self._left_out} more problems")
        raise ManifestError("manifest.invalid" if self._invalid else "manifest.conflict", lines)


class JobReader:
    """Reads the jobs of one manifest. The id of a job without `id` is empty."""

    def __init__(self, folder: Path, problems: Problems, overrides: Mapping[str, str]) -> None:
        """`folder`, absolute, is the folder of relative paths. `overrides` win over the options of the manifest."""
        self.lines: dict[tuple[int, str], int] = {}
        """The line of each path and id, by the job's index and the key."""
        self._folder = folder
        self._problems = problems
        texts = {name: self._override(name, text) for name, text in overrides.items()}
        known = {name: node for name, node in texts.items() if self._known(name, tuple(OPTIONS), None, f"--set {name}")}
        self._overrides = self._values(known, "--set ")
        self._base = JobOptions().model_copy(update=self._overrides)

    @staticmethod
    def _override(name: str, text: str) -> ScalarNode:
        return ScalarNode(text, 0, 0, plain=text in NULLS and OPTIONS.get(name, {}).get("default", "") is None)

    def read(self, root: Node) -> list[Job]:
        """The jobs without problems; the problems of the others are added to `problems`."""
        if not isinstance(root, MappingNode):
            found = "the file is empty" if isinstance(root, ScalarNode) and root.is_null else f"found {_kind(root)}"
            self._problems.add(root.line, "manifest", f"{found}, expected 'version: 1' and 'jobs:'")
            return []
        for key, node in root.keys.items():
            self._known(key, TOP_KEYS, node.line, key)
        self._version(root)
        if defaults := root.values.get("defaults"):
            self._defaults(defaults)
        jobs = root.values.get("jobs")
        if isinstance(jobs, SequenceNode) and jobs.items:
            read = [self._job(index, item) for index, item in enumerate(jobs.items)]
            return [job for job in read if job]
        found = f"found {_kind(jobs)}" if jobs else "missing"
        self._problems.add(jobs.line if jobs else root.line, "jobs", f"{found}, expected a list of at least one job")
        return []

    def single(self, texts: Mapping[str, str]) -> list[Job]:
        """The one job with these values of audio, video and save_path; an empty list if one is wrong."""
        nodes = {key: ScalarNode(text, 0, 0, plain=False) for key, text in texts.items()}
        paths = self._paths(nodes, {key: f"--{key.replace('_', '-')}" for key in PATHS})
        if paths is None:
            return []
        if wrong := clash(paths[2], self._base.encoder, self._base.audio_codec):
            self._problems.add(None, f"--set {wrong[0]}", wrong[1])
        return [Job(0, None, "", *paths, self._base)]

    def _version(self, root: MappingNode) -> None:
        node = root.values.get("version")
        if node is None:
            self._problems.add(root.line, "version", "missing; add 'version: 1' as the first line")
        elif not isinstance(node, ScalarNode) or node.text != VERSION:
            self._problems.add(node.line, "version", f"found {_kind(node)}; this dh reads version {VERSION}")

    def _defaults(self, node: Node) -> None:
        if isinstance(node, MappingNode):
            given = self._texts(node, tuple(OPTIONS), "defaults.")
            self._base = self._base.model_copy(update=self._values(given, "defaults.") | self._overrides)
        else:
            self._problems.add(node.line, "defaults", f"found {_kind(node)}, expected options as 'loop: hold'")

    def _job(self, index: int, node: Node) -> Job | None:
        if not isinstance(node, MappingNode):
            self._problems.add(node.line, f"jobs[{index}]", f"found {_kind(node)}, expected audio, video and save_path")
            return None
        place = f"jobs[{index}]."
        texts = self._texts(node, JOB_KEYS, place)
        self.lines |= {(index, key): node.keys[key].line for key in ("id", *PATHS) if key in node.keys}
        for key in PATHS:
            if key not in node.keys:
                self._problems.add(node.line, place + key, f"missing; {PATHS[key]}")
        ident = texts.get("id")
        if ident and not re.fullmatch(ID_PATTERN, ident.text):
            expected = "1 to 128 letters, digits, dots, dashes and underscores, no dot or dash in front"
            self._problems.add(ident.line, place + "id", f"found {_quoted(ident.text)}, expected {expected}")
        paths = self._paths(texts, {key: place + key for key in PATHS})
        own = self._values({key: text for key, text in texts.items() if key in OPTIONS}, place)
        options = self._base.model_copy(update=own | self._overrides) if own else self._base
        if paths is None:
            return None
        if wrong := clash(paths[2], options.encoder, options.audio_codec):
            key, found = wrong
            self._problems.add(texts[key].line if key in texts else node.line, place + key, found)
        return Job(index, node.line, ident.text if ident else "", *paths, options)

    def _texts(self, node: MappingNode, allowed: tuple[str, ...], place: str) -> dict[str, ScalarNode]:
        """The values of known keys. A list, a mapping, or no value where one is needed is a problem."""
        texts: dict[str, ScalarNode] = {}
        for key, value in node.values.items():
            line = node.keys[key].line
            if not self._known(key, allowed, line, place + key):
                continue
            if not isinstance(value, ScalarNode):
                self._problems.add(line, place + key, f"found {_kind(value)}, expected one value")
            elif value.is_null and OPTIONS.get(key, {}).get("default", "") is not None:
                self._problems.add(line, place + key, f"no value; {PATHS.get(key, 'give one or remove the key')}")
            else:
                texts[key] = value
        return texts

    def _known(self, key: str, allowed: tuple[str, ...], line: int | None, where: str) -> bool:
        if key in allowed:
            return True
        # The search for a similar key takes 0.1 ms: too long for a million problems that are only counted.
        self._problems.add(line, where, "" if self._problems.full else _unknown(key, allowed))
        return False

    def _values(self, texts: Mapping[str, ScalarNode], place: str) -> dict[str, Any]:
        """The values of the options, typed; empty if one of them is wrong."""
        given = {key: None if node.is_null else node.text for key, node in texts.items()}
        if not given:
            return {}
        try:
            options = JobOptions.model_validate(given)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                key = str(detail["loc"][0])
                text = f"found {_quoted(texts[key].text)}, expected {_expected(key, detail)}"
                self._problems.add(texts[key].line, place + key, text)
            return {}
        values = {key: getattr(options, key) for key in given}
        if (face := str(values.get("face", ""))).startswith(LIKE):
            values["face"] = LIKE + os.path.normpath(self._folder / face.removeprefix(LIKE))
        return values

    def _paths(self, texts: Mapping[str, ScalarNode], where: Mapping[str, str]) -> tuple[Path, Path, Path] | None:
        """Audio, video and save_path; None if one is missing or wrong."""
        found: list[Path] = []
        for key in PATHS:
            if node := texts.get(key):
                if wrong := _path_problem(key, node.text):
                    self._problems.add(node.line, where[key], wrong)
                else:
                    found.append(Path(os.path.normpath(self._folder / node.text)))
        if len(found) < len(PATHS):
            return None
        audio, video, save_path = found
        return audio, video, save_path


def _path_problem(key: str, text: str) -> str | None:
    if not text:
        return f"no path; {PATHS[key]}"
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError:
        return f"found {_quoted(text)}, which the system's file name encoding cannot express"
    if "\0" in text:
        return f"found {_quoted(text)}; a path cannot hold a NUL character"
    if size > MAX_PATH_BYTES:
        return f"found a path of {size} bytes, expected at most {MAX_PATH_BYTES}"
    if key == "save_path" and Path(text).suffix.lower() not in ENCODERS:
        return f"found {_quoted(text)}, expected a name that ends in {', '.join(ENCODERS)}"
    if key == "save_path" and (size := len(os.fsencode(Path(text).name))) > MAX_NAME_BYTES:
        return f"found a file name of {size} bytes, expected at most {MAX_NAME_BYTES}"
    return None


@lru_cache(maxsize=256)
def _unknown(key: str, allowed: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key[:100], allowed, n=1)
    if near:
        return f"unknown key, did you mean '{near[0]}'?"
    if key in JOB_KEYS:
        return f"does not belong here, but in {'a job or in defaults' if key in OPTIONS else 'a job'}"
    return f"unknown key; allowed: {', '.join(allowed)}"


def _expected(key: str, detail: ErrorDetails) -> str:
    """A phrase that says which values the option takes."""
    schema = OPTIONS[key]
    if "enum" in schema:
        near = difflib.get_close_matches(str(detail["input"])[:100], schema["enum"], n=1)
        return f"one of {', '.join(schema['enum'])}" + (f"; did you mean '{near[0]}'?" if near else "")
    if "minimum" in schema:
        what = "a whole number" if schema["type"] == "integer" else "a number"
        return f"{what} from {schema['minimum']} to {schema['maximum']}"
    if "maxLength" in schema:
        return f"a text of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return str(detail["ctx"]["error"])


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list" if node.items else "an empty list"
    return "no value" if node.is_null else _quoted(node.text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
