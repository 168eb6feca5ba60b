"""The values that flags take: words to choose from, paths and folders."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

import typer


class IfExists(StrEnum):
    """What to do where the output exists."""

    skip = "skip"
    overwrite = "overwrite"
    fail = "fail"


class PairKind(StrEnum):
    """How audios and videos are paired."""

    product = "product"
    zip = "zip"


class ProgressKind(StrEnum):
    """How progress is shown."""

    auto = "auto"
    bar = "bar"
    plain = "plain"
    none = "none"


class FacePrecision(StrEnum):
    """What `--precision` can be."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class SchemaKind(StrEnum):
    """The formats that have a JSON Schema."""

    manifest = "manifest"
    result = "result"
    model = "model"
    event = "event"
    bench = "bench"
    score = "score"
    report = "report"


def path_value(text: str) -> Path:
    """The path as the user wrote it. Raises typer.BadParameter for an empty text.

    An empty text usually comes from a shell variable that is not set; as a path it would mean the current folder.
    This does not check whether the path can be used: a run goes on without a cache that it cannot read, for example.
    """
    if not text:
        raise typer.BadParameter("expected a path, found nothing.")
    return Path(text)


def folder_value(text: str) -> Path:
    """The absolute path of a folder that exists. Raises typer.BadParameter where there is none.

    Absolute, since messages name it at the end of a sentence: "outside of .." would be "." and a full stop.
    """
    folder = path_value(text)
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where a folder may not be entered
        raise typer.BadParameter(f"there is no folder '{folder}'.")
    return folder.absolute()
