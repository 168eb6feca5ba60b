"""The keys of a manifest, what their texts must be, and the words for texts that are not.

The file system is not read here.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from pydantic_core import ErrorDetails

from dhcli.jobs.formats import ENCODERS
from dhcli.jobs.options import option_schemas
from dhcli.jobs.problems import quoted

VERSION = "1"
MAX_ID = 128
"""Characters."""
ID_MEANS = "1 to 128 letters, digits, dots, dashes and underscores, no dot or dash in front"
PATHS = MappingProxyType(
    {
        "audio": "the speech: a sound file, or a video with sound",
        "video": "the person: a video or a picture",
        "save_path": "the video to write, ending in .mp4, .mov, .mkv or .webm",
    }
)
OPTIONS = MappingProxyType(option_schemas())
CHOICES = ("use", "skip")
"""Keys that are neither a path nor an option: the presets of a job, and whether it is left out."""
TOP_KEYS = ("version", "vars", "presets", "defaults", "matrix", "jobs")
DEFAULT_KEYS = (*PATHS, "use", *OPTIONS)
JOB_KEYS = ("id", *PATHS, *CHOICES, *OPTIONS)
MATRIX_KEYS = ("audio", "video", "pair", "exclude", "id", "save_path", *CHOICES, *OPTIONS)
ENTRY_KEYS = ("path", *CHOICES, *OPTIONS)
"""Of one file, or pattern, in the lists of a matrix."""
FORMS = MappingProxyType(
    {
        "channel": "auto, left, right, or a channel's number from 1 to 99",
        "audio_track": "a number from 1 to 99 or a language, as de or deu; or null",
    }
)
"""The texts of options that have a pattern, in words."""
MAX_PATH_BYTES = 4095
"""The longest path that Linux accepts."""
MAX_NAME_BYTES = 250
"""Of an output. File systems allow 255 bytes, and the name of the result adds `.json`."""


def is_id(text: str) -> bool:
    """Whether the text may be an `id`: letters (with their marks) and digits of any script, `_`, and `.-` inside.

    No dash or dot in front: the id is an argument of `--job` and the name of a result file.
    """
    if text.isascii():
        known = text.replace("_", "a")
        return 0 < len(text) <= MAX_ID and known[0].isalnum() and known.replace(".", "").replace("-", "").isalnum()
    kinds = ["L" if character == "_" else unicodedata.category(character)[0] for character in text]
    inside = all(kind in "LNM" or character in ".-" for kind, character in zip(kinds, text, strict=True))
    return len(text) <= MAX_ID and kinds[0] in "LN" and inside


def path_problem(key: str, text: str) -> str | None:
    """What is wrong with the text of a path; None: nothing."""
    if not text:
        return f"no path; {PATHS[key]}"
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError:
        return f"found {quoted(text)}, which the system's file name encoding cannot express"
    if "\0" in text:
        return f"found {quoted(text)}; a path cannot hold a NUL character"
    if size > MAX_PATH_BYTES:
        return f"found a path of {size} bytes, expected at most {MAX_PATH_BYTES}"
    if key == "save_path" and Path(text).suffix.lower() not in ENCODERS:
        return f"found {quoted(text)}, expected a name that ends in {', '.join(ENCODERS)}"
    if key == "save_path" and (size := len(os.fsencode(Path(text).name))) > MAX_NAME_BYTES:
        return f"found a file name of {size} bytes, expected at most {MAX_NAME_BYTES}"
    return None


@lru_cache(maxsize=256)
def unknown(key: str, allowed: tuple[str, ...]) -> str:
    """What to say of a key that is not `allowed` where it stands."""
    near = difflib.get_close_matches(key[:100], allowed, n=1)
    if near:
        return f"unknown key, did you mean '{near[0]}'?"
    if key in JOB_KEYS:
        return f"does not belong here, but in {'a job or in defaults' if key in DEFAULT_KEYS else 'a job'}"
    return f"unknown key; allowed: {', '.join(allowed)}"


def expected(key: str, detail: ErrorDetails) -> str:
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
    if schema.get("type") == "boolean":
        return "true or false"
    if "error" in (context := detail.get("ctx", {})):
        return str(context["error"])
    return FORMS.get(key) or _expected_of_several(schema, str(schema["description"]))


def _expected_of_several(schema: dict[str, object], description: str) -> str:
    """For an option that is a text of a pattern or may be null: its limits, or else its meaning."""
    forms = schema.get("anyOf")
    for form in forms if isinstance(forms, list) else ():
        if "minimum" in form:
            return f"a number from {form['minimum']} to {form['maximum']}, or null"
        if "maxLength" in form:
            return f"a text of {form.get('minLength', 0)} to {form['maxLength']} characters, or null"
    return description
