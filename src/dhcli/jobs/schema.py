"""The JSON Schema of a manifest, for editors and other programs."""

from __future__ import annotations

from typing import Any

from dhcli.jobs.formats import ENCODERS
from dhcli.jobs.keys import MAX_ID, OPTIONS, PATHS, VERSION

CLOSED = {"type": "object", "additionalProperties": False}
TEXT = {"type": ["string", "number", "boolean"]}
"""Other YAML readers make a number of `id: 7` and a boolean of `label: yes`."""
VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""A value that `vars` makes."""
ID_PATTERN = rf"^[^\u0000-/:-@\[-^`{{-\u00a9]([^\u0000-,/:-@\[-^`{{-\u00a9]){{0,{MAX_ID - 1}}}$"
"""Not all dialects of patterns know letters of every script: it refuses the ASCII characters that no id has."""


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a manifest."""
    options = {name: {"anyOf": [{"$ref": f"#/$defs/{name}"}, VARIABLE]} for name in OPTIONS}
    paths = {name: {"type": "string", "minLength": 1, "description": what} for name, what in PATHS.items()}
    paths["save_path"]["pattern"] = rf"({'|'.join(map(_any_case, ENCODERS))})$|\$\{{"
    ident = TEXT | {"pattern": rf"{ID_PATTERN}|\$\{{", "description": "unique name; default: the stem of save_path"}
    use = {"description": "presets whose options apply", "anyOf": [TEXT, {"type": "null"}, _list(TEXT)]}
    skip = {"description": "leave it out", "enum": [True, False, "true", "false"]}
    choices = {"use": use, "skip": skip}
    job = {**CLOSED, "properties": {"id": ident, **paths, **choices, **options}}
    matrix = _matrix(paths, choices | options)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dh manifest",
        "description": "Lip-sync jobs. Relative paths are relative to the manifest.",
        **CLOSED,
        "required": ["version"],
        "anyOf": [{"required": ["jobs"]}, {"required": ["matrix"]}],
        "allOf": [_needed(key) for key in PATHS],
        "properties": {
            "version": {"enum": [int(VERSION), VERSION], "description": "version of this format"},
            "vars": _variables(),
            "presets": {
                "type": "object",
                "description": "named sets of options",
                "additionalProperties": {**CLOSED, "properties": options},
            },
            "defaults": {
                **CLOSED,
                "description": "options for every job, and its paths where it has none",
                "properties": {**paths, "use": use, **options},
            },
            "matrix": {
                "description": "a job for each pair of audio and video",
                "anyOf": [matrix, _list(matrix) | {"minItems": 1}],
            },
            "jobs": {"type": "array", "minItems": 1, "items": job},
        },
        "$defs": {**OPTIONS, "label": OPTIONS["label"] | TEXT},
    }


def _any_case(ending: str) -> str:
    """A pattern for an ending, in small or large letters."""
    return "\\" + "".join(f"[{char}{char.upper()}]" if char.isalpha() else char for char in ending)


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _variables() -> dict[str, Any]:
    env = {"type": "string", "minLength": 1, "description": "environment variable to read"}
    declared = {**CLOSED, "properties": {"env": env, "default": TEXT}}
    return {
        "type": "object",
        "description": "variables with their defaults; null needs --var",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
        "additionalProperties": {"anyOf": [TEXT, {"type": "null"}, declared]},
    }


def _matrix(paths: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    path = {"type": "string", "minLength": 1, "description": "a file, or a pattern as takes/*.wav"}
    entry = {"anyOf": [path, {**CLOSED, "required": ["path"], "properties": {"path": path, **rest}}]}
    files = {"anyOf": [entry, _list(entry) | {"minItems": 1}]}
    exclude = {**CLOSED, "minProperties": 1, "properties": {"audio": path, "video": path}}
    own = {
        "audio": files,
        "video": files,
        "pair": {"enum": ["product", "zip"], "description": "every audio with every video, or one by one"},
        "exclude": {"description": "pairs to leave out", "anyOf": [exclude, _list(exclude)]},
        "id": {"type": "string", "description": "template of the ids"},
        "save_path": paths["save_path"],
    }
    return {**CLOSED, "properties": {**own, **rest}}


def _needed(key: str) -> dict[str, Any]:
    """Each job has the path itself unless the defaults have it."""
    given = {"required": ["defaults"], "properties": {"defaults": {"required": [key]}}}
    jobs = {"items": {"required": [key]}}
    matrix = {"if": {"type": "array"}, "then": jobs, "else": {"required": [key]}}
    return {"if": {"not": given}, "then": {"properties": {"jobs": jobs, "matrix": matrix}}}
