"""model.yaml, the description of a bundle: its format, and reading one."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from dhcli.disk.regular import read_regular
from dhcli.errors import DhError
from dhcli.jobs import strict_yaml
from dhcli.jobs.misfit import misfits
from dhcli.networks.network import MOST_BYTES

DESCRIPTOR = "model.yaml"
DESCRIPTOR_BYTES = 1 << 20
"""A descriptor is about 3 kB; more is something else under its name."""
SCHEMA_VERSION = 1
UNFIT = frozenset({errno.EISDIR, errno.EINVAL, errno.EFBIG})
"""Something is there, but it is no file, or no file of that size."""
VERSION = re.compile(r"[0-9]{1,9}")
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def _number(text: Any) -> Any:
    """Every scalar of the YAML reader is text."""
    return int(text) if isinstance(text, str) and text.isdecimal() else text


Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Size = Annotated[int | str, BeforeValidator(_number)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorEntry(_Strict):
    dtype: Literal["float16", "float32", "float64", "int32", "int64", "uint8", "bool"] = Field(
        description="Type of the numbers."
    )
    shape: tuple[Size, ...] = Field(description="Sizes; a word stands for a size that is free, like the batch.")


class NetworkEntry(_Strict):
    inputs: dict[str, TensorEntry] = Field(min_length=1, description="Every input that the network has, by its name.")
    outputs: dict[str, TensorEntry] = Field(min_length=1, description="The outputs that the family uses, by name.")


class FileEntry(_Strict):
    path: Name = Field(description="File name inside the bundle's folder.")
    bytes: int = Field(gt=0, le=MOST_BYTES, description="Size of the file.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, in hex.")


class Descriptor(_Strict):
    """A model.yaml as it is written."""

    model_config = ConfigDict(title="dh model bundle")

    schema_version: Annotated[Literal[1], BeforeValidator(_number)] = Field(description="Version of this format.")
    name: Name = Field(description="Name of the model, the same as its folder's.")
    family: str = Field(pattern="^[a-z][a-z0-9_]*$", description="Name of the family: the code that runs the networks.")
    version: str = Field(min_length=1, description="Version of the model.")
    licence: str = Field(min_length=1, description="SPDX expression of the licence of all files together.")
    description: str = Field(description="One sentence for people who choose a model.")
    files: dict[Name, FileEntry] = Field(min_length=1, description="The files by their role in the family.")
    settings: dict[str, JsonValue] = Field(
        default={}, description="What the family has to know beside the files; each family has settings of its own."
    )
    networks: dict[Name, NetworkEntry] = Field(description="Inputs and outputs of those files that are networks.")

    @model_validator(mode="after")
    def _networks_are_files(self) -> Descriptor:
        if unknown := sorted(set(self.networks) - set(self.files)):
            raise ValueError(f"networks without a file: {', '.join(unknown)}")
        return self


def read_descriptor(path: Path) -> Descriptor:
    """The descriptor in a file. Raises DhError model.missing, .corrupt or .incompatible."""
    try:
        data = read_regular(path, DESCRIPTOR_BYTES, "descriptor")
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        written = strict_yaml.plain(strict_yaml.load(data, path.name))
    except strict_yaml.StrictYamlError as error:
        raise corrupt(path, "; ".join(error.problems)) from error
    version = written.get("schema_version") if isinstance(written, dict) else None
    if isinstance(version, str) and VERSION.fullmatch(version) and int(version) > SCHEMA_VERSION:
        raise DhError(
            "model.incompatible",
            f"{path}: written for a newer dh (format {version}; this one reads {SCHEMA_VERSION}).",
            hint="Use a newer dh.",
        )
    try:
        descriptor = Descriptor.model_validate(written)
    except ValidationError as error:
        raise corrupt(path, "; ".join(misfits(error))) from error
    if descriptor.name != path.parent.name:
        raise corrupt(path, f"it is the descriptor of '{descriptor.name}', not of '{path.parent.name}'")
    return descriptor


def model_schema() -> dict[str, Any]:
    """JSON Schema of model.yaml."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Descriptor.model_json_schema()}


def unreadable(path: Path, error: OSError) -> DhError:
    found = error.strerror or type(error).__name__
    if error.errno in UNFIT:
        return corrupt(path, found)
    return DhError("model.missing", f"{path}: {found}.", hint="Install the model again, or put the file back.")


def corrupt(path: Path, found: str) -> DhError:
    return DhError(
        "model.corrupt", f"{path}: {found}.", hint="Install the model again; `dh models verify` lists its files."
    )
