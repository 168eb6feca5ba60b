"""`vars:` of a manifest: `${NAME}` in its values, from `--var`, the environment where it is named, or the default."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace

from dhcli.errors import ManifestError
from dhcli.jobs.problems import Problems, kind
from dhcli.jobs.strict_yaml import MAX_BYTES, MappingNode, Node, ScalarNode, SequenceNode

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
USE = re.compile(rf"\$\$\{{|\$\{{({NAME.pattern})\}}")
DECLARATION = ("env", "default")


def without_variables(
    document: Node, given: Mapping[str, str], environment: Mapping[str, str], problems: Problems
) -> Node:
    """The document with the values of its variables in place, and without `vars`. One without `vars` stays as it is.

    `given` are the values of --var; they win over the environment, and that over the defaults. Raises ManifestError
    manifest.limit where the values make the manifest too large.
    """
    declared = document.values.get("vars") if isinstance(document, MappingNode) else None
    if not isinstance(document, MappingNode) or declared is None:
        for name in given:
            problems.add(None, f"--var {name}", "the manifest has no 'vars:' that declares it")
        return document
    keys = {key: node for key, node in document.keys.items() if key != "vars"}
    values = {key: node for key, node in document.values.items() if key != "vars"}
    rest = replace(document, keys=keys, values=values)
    if not isinstance(declared, MappingNode):
        problems.add(declared.line, "vars", f"found {kind(declared)}, expected names with defaults, as 'show: monday'")
        return rest
    for name in given:
        if name not in declared.keys:
            problems.add(None, f"--var {name}", f"'vars:' does not declare it{_near(name, declared)}")
    texts = {name: _value(name, declared, given, environment, problems) for name in declared.keys}
    return _Replacing(texts, declared, problems).node(rest)


def _value(
    name: str, declared: MappingNode, given: Mapping[str, str], environment: Mapping[str, str], problems: Problems
) -> str | None:
    """The value of one variable; None where it has none, which is a problem by then."""
    line, node, place = declared.keys[name].line, declared.values[name], f"vars.{name}"
    variable: str | None = None
    default: Node | None = node
    if not NAME.fullmatch(name):
        problems.add(line, place, "expected a name of letters A to Z, digits and underscores")
        return None
    if isinstance(node, MappingNode):
        for key in node.keys:
            if key not in DECLARATION:
                problems.add(node.keys[key].line, f"{place}.{key}", "unknown key; allowed: env, default")
        env, default = node.values.get("env"), node.values.get("default")
        if env is not None and (not isinstance(env, ScalarNode) or not env.text):
            problems.add(env.line, f"{place}.env", f"found {kind(env)}, expected the name of an environment variable")
            return None
        variable = env.text if env is not None else None
    if default is not None and not isinstance(default, ScalarNode):
        problems.add(default.line, place, f"found {kind(default)}, expected one value")
        return None
    if name in given:
        return given[name]
    if variable is not None and variable in environment:
        return environment[variable]
    if default is None or default.is_null:
        of_env = f", or set {variable}" if variable is not None else ""
        problems.add(line, place, f"no value; give --var {name}=VALUE{of_env}")
        return None
    return default.text


class _Replacing:
    """Puts values into texts, and counts how large that makes the manifest."""

    def __init__(self, texts: Mapping[str, str | None], declared: MappingNode, problems: Problems) -> None:
        self._texts, self._declared, self._problems = texts, declared, problems
        self._size = 0

    def node(self, node: Node) -> Node:
        """The same tree with values in its texts; keys stay as written."""
        if isinstance(node, MappingNode):
            return replace(node, values={key: self.node(value) for key, value in node.values.items()})
        if isinstance(node, SequenceNode):
            return replace(node, items=tuple(self.node(item) for item in node.items))
        if "${" not in node.text:
            return node
        text = USE.sub(lambda use: self._used(use, node.line), node.text)
        self._size += len(text)
        if self._size > MAX_BYTES:
            where = f"{self._problems.name}:{node.line}"
            raise ManifestError("manifest.limit", [f"{where}: larger than {MAX_BYTES // 2**20} MiB with its variables"])
        return replace(node, text=text, plain=False)

    def _used(self, use: re.Match[str], line: int) -> str:
        name = use[1]
        if name is None:
            return "${"
        if name not in self._declared.keys:
            text = f"'vars:' does not declare it{_near(name, self._declared)}; write '$${{' where '${{' is meant"
            self._problems.add(line, use[0], text)
        return self._texts.get(name) or ""


def _near(name: str, declared: MappingNode) -> str:
    near = difflib.get_close_matches(name[:100], declared.keys, n=1)
    return f", did you mean '{near[0]}'?" if near else ""
