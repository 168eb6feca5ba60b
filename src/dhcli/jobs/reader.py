"""From the texts of a manifest or of the command line to checked jobs: keys, types, values, paths.

All problems are collected, each as a sentence with its line. The file system is not read here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dhcli.jobs import templates
from dhcli.jobs.keys import (
    DEFAULT_KEYS,
    ID_MEANS,
    JOB_KEYS,
    OPTIONS,
    PATHS,
    TOP_KEYS,
    VERSION,
    expected,
    is_id,
    path_problem,
    unknown,
)
from dhcli.jobs.options import LIKE, Job, JobOptions
from dhcli.jobs.problems import Problems, kind, quoted
from dhcli.jobs.strict_yaml import NULLS, MappingNode, Node, ScalarNode, SequenceNode


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place of a manifest says of a job: its defaults, the job itself, an entry of a matrix."""

    texts: Mapping[str, ScalarNode]
    """By key; those of the options are here, too."""
    options: Mapping[str, Any]
    """Typed."""
    use: tuple[str, ...] | None = None
    """Names of presets; None: it does not say."""
    skip: bool = False


class JobReader:
    """Reads the jobs of one manifest. The id of a job without `id` is empty."""

    def __init__(self, folder: Path, problems: Problems, overrides: Mapping[str, str]) -> None:
        """`folder`, absolute, is the folder of relative paths. `overrides` win over the options of the manifest."""
        self.lines: dict[tuple[int, str], int] = {}
        """The line of each path and id, by the job's index and the key."""
        self.skipped: set[int] = set()
        """The index of each job that is left out."""
        self.count = 0
        """Of the jobs in the list, with those that have problems."""
        self.default_paths: dict[str, Path | None] = {}
        """Audio and video of the defaults; None: that of the manifest is wrong."""
        self.default_template: ScalarNode | None = None
        """The save_path of the defaults."""
        self.folder = folder
        self._problems = problems
        texts = {name: self._override(name, text) for name, text in overrides.items()}
        known = {name: node for name, node in texts.items() if self._known(name, tuple(OPTIONS), None, f"--set {name}")}
        self._overrides = self._values(known, "--set ")
        self._defaults = Layer({}, {})
        self._presets: dict[str, Mapping[str, Any]] = {}
        self._bases: dict[tuple[str, ...], JobOptions] = {}

    @staticmethod
    def _override(name: str, text: str) -> ScalarNode:
        return ScalarNode(text, 0, 0, plain=text in NULLS and OPTIONS.get(name, {}).get("default", "") is None)

    def read(self, root: Node) -> list[Job]:
        """The jobs of `jobs` without problems; the problems of the others are added to `problems`."""
        if not isinstance(root, MappingNode):
            found = "the file is empty" if isinstance(root, ScalarNode) and root.is_null else f"found {kind(root)}"
            self._problems.add(root.line, "manifest", f"{found}, expected 'version: 1' and 'jobs:'")
            return []
        for key, node in root.keys.items():
            self._known(key, TOP_KEYS, node.line, key)
        self._version(root)
        if presets := root.values.get("presets"):
            self._read_presets(presets)
        if defaults := root.values.get("defaults"):
            self._read_defaults(defaults)
        jobs = root.values.get("jobs")
        if isinstance(jobs, SequenceNode) and jobs.items:
            self.count = len(jobs.items)
            read = [self._job(index, item) for index, item in enumerate(jobs.items)]
            return [job for job in read if job]
        if jobs is None and "matrix" in root.values:
            return []
        found = f"found {kind(jobs)}" if jobs else "missing"
        self._problems.add(jobs.line if jobs else root.line, "jobs", f"{found}, expected a list of at least one job")
        return []

    def single(self, texts: Mapping[str, str]) -> list[Job]:
        """The one job with these values of audio, video and save_path; an empty list if one is wrong."""
        found = [self.path(key, texts[key], None, f"--{key.replace('_', '-')}") for key in PATHS]
        audio, video, save_path = found
        if audio is None or video is None or save_path is None:
            return []
        return [Job(0, None, "", audio, video, save_path, self._base(()))]

    def layer(self, node: MappingNode, allowed: tuple[str, ...], place: str) -> Layer:
        """What a mapping says, where it may have the keys `allowed`. `place` is its name and a dot, for problems."""
        texts: dict[str, ScalarNode] = {}
        for key, value in node.values.items():
            line = node.keys[key].line
            if not self._known(key, allowed, line, place + key) or key in ("use", "exclude"):
                continue
            if not isinstance(value, ScalarNode):
                self._problems.add(line, place + key, f"found {kind(value)}, expected one value")
            elif value.is_null and OPTIONS.get(key, {}).get("default", "") is not None:
                self._problems.add(line, place + key, f"no value; {PATHS.get(key, 'give one or remove the key')}")
            else:
                texts[key] = value
        options = self._values({key: text for key, text in texts.items() if key in OPTIONS}, place)
        use = self._used(node.values["use"], place) if "use" in node.values and "use" in allowed else None
        return Layer(texts, options, use, self._skips(texts, place))

    def options(self, layers: Sequence[Layer]) -> JobOptions:
        """The options of a job: of what the layers say the last wins, over their presets and the defaults."""
        use = next((layer.use for layer in reversed(layers) if layer.use is not None), self._defaults.use or ())
        own = {key: value for layer in layers for key, value in layer.options.items()}
        base = self._base(use)
        return base.model_copy(update=own | self._overrides) if own else base

    def path(self, key: str, text: str, line: int | None, where: str) -> Path | None:
        """The path that the text of a key means; None, and a problem, where it is none."""
        if wrong := path_problem(key, text):
            self._problems.add(line, where, wrong)
            return None
        return Path(os.path.normpath(self.folder / text))

    def from_template(
        self, template: ScalarNode, values: templates.Values, line: int | None, where: str
    ) -> Path | None:
        """The save_path that a template gives a job; None, and a problem, where that is no path."""
        if not values.id and templates.asks_for(template.text, "id"):
            self._problems.add(line, where, f"the template {quoted(template.text)} needs an id here")
            return None
        return self.path("save_path", templates.filled(template.text, values), line, where)

    def checked_template(self, key: str, node: ScalarNode, where: str) -> ScalarNode | None:
        """The template, where it can be filled; it makes the values of `key`, which it cannot ask for."""
        if wrong := templates.wrong(node.text, without=key):
            self._problems.add(node.line, where, wrong)
            return None
        return node

    def _version(self, root: MappingNode) -> None:
        node = root.values.get("version")
        if node is None:
            self._problems.add(root.line, "version", "missing; add 'version: 1' as the first line")
        elif not isinstance(node, ScalarNode) or node.text != VERSION:
            self._problems.add(node.line, "version", f"found {kind(node)}; this dh reads version {VERSION}")

    def _read_presets(self, node: Node) -> None:
        if not isinstance(node, MappingNode):
            self._problems.add(node.line, "presets", f"found {kind(node)}, expected names with options")
            return
        for name, preset in node.values.items():
            if isinstance(preset, MappingNode):
                self._presets[name] = self.layer(preset, tuple(OPTIONS), f"presets.{name}.").options
            else:
                text = f"found {kind(preset)}, expected options as 'loop: hold'"
                self._problems.add(preset.line, f"presets.{name}", text)
                self._presets[name] = {}

    def _read_defaults(self, node: Node) -> None:
        if not isinstance(node, MappingNode):
            self._problems.add(node.line, "defaults", f"found {kind(node)}, expected options as 'loop: hold'")
            return
        self._defaults = self.layer(node, DEFAULT_KEYS, "defaults.")
        texts = self._defaults.texts
        for key in ("audio", "video"):
            if key in node.values:
                text = texts.get(key)
                self.default_paths[key] = self.path(key, text.text, text.line, f"defaults.{key}") if text else None
        if "save_path" in node.values:
            text = texts.get("save_path")
            self.default_template = self.checked_template("save_path", text, "defaults.save_path") if text else None
            self.default_paths["save_path"] = None

    def _job(self, index: int, node: Node) -> Job | None:
        if not isinstance(node, MappingNode):
            self._problems.add(node.line, f"jobs[{index}]", f"found {kind(node)}, expected audio, video and save_path")
            return None
        place = f"jobs[{index}]."
        layer = self.layer(node, JOB_KEYS, place)
        self.lines |= {(index, key): node.keys[key].line for key in ("id", *PATHS) if key in node.keys}
        if layer.skip:
            self.skipped.add(index)
        for key in PATHS:
            if key not in node.keys and key not in self.default_paths:
                self._problems.add(node.line, place + key, f"missing; {PATHS[key]}")
        ident = layer.texts.get("id")
        if ident and not is_id(ident.text):
            self._problems.add(ident.line, place + "id", f"found {quoted(ident.text)}, expected {ID_MEANS}")
        found: list[Path | None] = []
        for key in PATHS:
            given = layer.texts.get(key)
            default = None if key in node.keys else self.default_paths.get(key)
            found.append(self.path(key, given.text, given.line, place + key) if given else default)
        options = self.options((layer,))
        audio, video, save_path = found
        name = ident.text if ident else ""
        if audio and video and self.default_template and "save_path" not in node.keys:
            values = templates.Values(audio, video, name, index + 1, options.label)
            save_path = self.from_template(self.default_template, values, node.line, place + "save_path")
        return Job(index, node.line, name, audio, video, save_path, options) if audio and video and save_path else None

    def _used(self, node: Node, place: str) -> tuple[str, ...]:
        """The presets that `use` names: none, one, or a list."""
        names: list[str] = []
        for item in node.items if isinstance(node, SequenceNode) else (node,):
            if not isinstance(item, ScalarNode):
                self._problems.add(item.line, f"{place}use", f"found {kind(item)}, expected names of presets")
            elif item.text in self._presets and not item.is_null:
                names.append(item.text)
            elif not item.is_null:
                near = difflib.get_close_matches(item.text[:100], self._presets, n=1)
                text = f"no preset {quoted(item.text)}" + (f", did you mean '{near[0]}'?" if near else "")
                self._problems.add(item.line, f"{place}use", text)
        return tuple(names)

    def _skips(self, texts: Mapping[str, ScalarNode], place: str) -> bool:
        node = texts.get("skip")
        if node is None:
            return False
        if (text := node.text.lower()) not in ("true", "false"):
            self._problems.add(node.line, f"{place}skip", f"found {quoted(node.text)}, expected true or false")
        return text == "true"

    def _known(self, key: str, allowed: tuple[str, ...], line: int | None, where: str) -> bool:
        if key in allowed:
            return True
        # The search for a similar key takes 0.1 ms: too long for a million problems that are only counted.
        self._problems.add(line, where, "" if self._problems.full else unknown(key, allowed))
        return False

    def _base(self, use: tuple[str, ...]) -> JobOptions:
        """The options of jobs that say none themselves."""
        if use not in self._bases:
            presets = {key: value for name in use for key, value in self._presets[name].items()}
            values = {**self._defaults.options, **presets, **self._overrides}
            self._bases[use] = JobOptions().model_copy(update=values)
        return self._bases[use]

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
                text = f"found {quoted(texts[key].text)}, expected {expected(key, detail)}"
                self._problems.add(texts[key].line, place + key, text)
            return {}
        values = {key: getattr(options, key) for key in given}
        if (face := str(values.get("face", ""))).startswith(LIKE):
            values["face"] = LIKE + os.path.normpath(self.folder / face.removeprefix(LIKE))
        return values
