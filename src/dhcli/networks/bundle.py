"""Model bundles: where `models/<name>/model.yaml` is found, what it promises, and whether the files keep the promise.

Every file is used only as bytes whose SHA-256 was just compared. What the networks mean is the business of the bundle's
family.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dhcli.disk.regular import open_regular, read_regular
from dhcli.errors import DhError
from dhcli.jobs import strict_yaml
from dhcli.networks.network import MOST_BYTES, Device, Network, TensorInfo, open_network

DESCRIPTOR = "model.yaml"
DESCRIPTOR_BYTES = 1 << 20
"""A descriptor is about 3 kB; more is something else under its name."""
SCHEMA_VERSION = 1
HASH_BLOCK_BYTES = 1 << 20
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
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
    family: str = Field(pattern="^[a-z][a-z0-9_]*$", description="Which code in dh knows what the networks mean.")
    version: str = Field(min_length=1, description="Version of the model.")
    licence: str = Field(min_length=1, description="SPDX expression of the licence of all files together.")
    description: str = Field(description="One sentence for people who choose a model.")
    files: dict[Name, FileEntry] = Field(min_length=1, description="The files by their role in the family.")
    networks: dict[Name, NetworkEntry] = Field(description="Inputs and outputs of those files that are networks.")

    @model_validator(mode="after")
    def _networks_are_files(self) -> Descriptor:
        if unknown := sorted(set(self.networks) - set(self.files)):
            raise ValueError(f"networks without a file: {', '.join(unknown)}")
        return self


@dataclass(frozen=True, slots=True)
class BundleFile:
    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What a family counts on: all inputs of a network, and the outputs it reads."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model whose files are all there in the right size."""

    name: str
    version: str
    family: str
    licence: str
    description: str
    folder: Path
    files: Mapping[str, BundleFile]
    networks: Mapping[str, NetworkSpec]

    @property
    def sha256(self) -> str:
        """One hash for the whole: of the family and of all files' roles and hashes."""
        lines = [self.family, *(f"{role} {file.sha256}" for role, file in sorted(self.files.items()))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def read(self, role: str) -> bytes:
        """The bytes of a file, compared with its hash. Raises DhError model.missing, .corrupt or .incompatible."""
        file = self._file(role)
        with _opened(file) as stream:
            try:
                data = stream.read(file.bytes)
            except MemoryError as error:
                raise DhError(
                    "job.out_of_memory",
                    f"{file.path}: its {file.bytes} bytes do not fit into the memory.",
                    hint="End other programs, raise the memory limit, or use a smaller model.",
                ) from error
        _compare(file, hashlib.sha256(data).hexdigest(), data)
        return data

    def check_all(self, told: Callable[[str], None] = lambda _: None) -> None:
        """Compare every file with its hash, block by block; `told` takes which one is read, and how much is left.

        Raises DhError model.missing or .corrupt.
        """
        for file in self.files.values():
            digest, head, left = hashlib.sha256(), b"", file.bytes
            told(f"{file.path}, {left} bytes to read")
            with _opened(file) as stream:
                while left and (block := stream.read(min(left, HASH_BLOCK_BYTES))):
                    head = head or block
                    left -= len(block)
                    digest.update(block)
                    told(f"{file.path}, {left} bytes to read")
            _compare(file, digest.hexdigest(), head)

    def require(self, *roles: str) -> None:
        """Raise DhError model.incompatible where one of these files is not in the bundle."""
        for role in roles:
            if role not in self.files:
                raise DhError(
                    "model.incompatible",
                    f"The model '{self.name}' has no file '{role}', which its family '{self.family}' needs. "
                    f"It has: {', '.join(self.files)}.",
                    hint=f"Add the file to {self.folder / DESCRIPTOR}, or correct the family there.",
                )

    def _file(self, role: str) -> BundleFile:
        self.require(role)
        return self.files[role]

    def open_network(self, role: str, *, device: Device, threads: int = 0) -> Network:
        """The role's network, compared with the descriptor. Raises as `read` and `inference.open_network` do."""
        network = open_network(self.read(role), role, device=device, threads=threads)
        if spec := self.networks.get(role):
            check_network(network, spec)
        return network


def search_path(models_dirs: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where models are looked for: `models_dirs`, DH_MODELS_DIR (entries as in PATH), then what came with dh."""
    named = [Path(entry) for entry in os.environ.get("DH_MODELS_DIR", "").split(os.pathsep) if entry]
    return (*models_dirs, *named, *shipped("models", "models"))


def shipped(installed: str, in_checkout: str) -> tuple[Path, ...]:
    """Where data that comes with dh may lie: in the installed package, or in the checkout that it runs from."""
    package = Path(__file__).parents[1]
    checkout = package.parents[1]  # where dh is installed, this is a folder of other people's
    ours = [checkout / in_checkout] if (checkout / "pyproject.toml").is_file() else []
    return (package / installed, *ours)


def available_models(models_dirs: Sequence[Path] = ()) -> tuple[str, ...]:
    """Names of all folders with a descriptor on the search path, sorted; whether they are sound is not looked at."""
    names: set[str] = set()
    for place in search_path(models_dirs):
        with contextlib.suppress(OSError):  # a folder that is not there, or may not be entered, lists no models
            names.update(path.name for path in place.iterdir() if os.path.lexists(path / DESCRIPTOR))
    return tuple(sorted(names))


def load_bundle(name: str, models_dirs: Sequence[Path] = ()) -> Bundle:
    """The first bundle called `name` on the search path. Raises DhError model.missing, .corrupt or .incompatible.

    The first one is used or is the error: a later one of the same name may be another model.
    """
    places = search_path(models_dirs)
    if re.fullmatch(NAME, name):  # "../x" names no model
        for place in places:
            if _is_there(place / name):
                return _load(place / name)
    known = ", ".join(available_models(models_dirs)) or "none"
    raise DhError(
        "model.missing",
        f"There is no model '{name}'.",
        hint=f"Models here: {known}. Looked in: {', '.join(map(str, places))}; --models-dir adds a place.",
    )


def check_network(network: Network, spec: NetworkSpec) -> None:
    """Compare a network with what the family counts on. Raises DhError model.incompatible with all differences."""
    problems = [f"input {info} is not known" for info in network.inputs if info.name not in _names(spec.inputs)]
    for kind, wanted, found in (("input", spec.inputs, network.inputs), ("output", spec.outputs, network.outputs)):
        by_name = {info.name: info for info in found}
        for want in wanted:
            have = by_name.get(want.name)
            if have is None:
                problems.append(f"{kind} {want} is missing (it has: {', '.join(by_name)})")
            elif have.dtype != want.dtype or not _shapes_agree(want.shape, have.shape):
                problems.append(f"{kind} is {have}, expected {want}")
    if problems:
        raise DhError(
            "model.incompatible",
            f"The network '{network.name}' differs from its descriptor: {'; '.join(problems)}.",
            hint=f"Put the network that the model's {DESCRIPTOR} describes there, or correct the descriptor.",
        )


def model_schema() -> dict[str, Any]:
    """JSON Schema of model.yaml."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Descriptor.model_json_schema()}


def _shapes_agree(want: tuple[int | str, ...], have: tuple[int | str, ...]) -> bool:
    """A free size may be fixed by nobody but the caller: a network with a fixed batch cannot take "n"."""
    return len(want) == len(have) and all(
        isinstance(there, str) or here == there for here, there in zip(want, have, strict=True)
    )


def _is_there(folder: Path) -> bool:
    """Whether anything has this name, also a broken link. Raises DhError model.missing where nobody may look."""
    try:
        os.lstat(folder)
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise _unreadable(folder, error) from error
    return True


def _load(folder: Path) -> Bundle:
    descriptor = _descriptor(folder / DESCRIPTOR)
    files = {role: BundleFile(folder / file.path, file.sha256, file.bytes) for role, file in descriptor.files.items()}
    for file in files.values():
        with _opened(file):
            pass
    return Bundle(
        name=descriptor.name,
        version=descriptor.version,
        family=descriptor.family,
        licence=descriptor.licence,
        description=descriptor.description,
        folder=folder,
        files=MappingProxyType(files),
        networks=MappingProxyType(
            {
                role: NetworkSpec(_tensors(network.inputs), _tensors(network.outputs))
                for role, network in descriptor.networks.items()
            }
        ),
    )


def _descriptor(path: Path) -> Descriptor:
    try:
        data = read_regular(path, DESCRIPTOR_BYTES, "descriptor")
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        written = strict_yaml.plain(strict_yaml.load(data, path.name))
    except strict_yaml.StrictYamlError as error:
        raise _corrupt(path, "; ".join(error.problems)) from error
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
        raise _corrupt(path, "; ".join(_problems(error))) from error
    if descriptor.name != path.parent.name:
        raise _corrupt(path, f"it is the descriptor of '{descriptor.name}', not of '{path.parent.name}'")
    return descriptor


def _problems(error: ValidationError) -> Iterable[str]:
    for problem in error.errors(include_url=False):
        where = ".".join(map(str, problem["loc"]))
        yield f"{where}: {problem['msg']}" if where else problem["msg"]


def _tensors(entries: Mapping[str, TensorEntry]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(name, entry.shape, entry.dtype) for name, entry in entries.items())


def _names(infos: Iterable[TensorInfo]) -> set[str]:
    return {info.name for info in infos}


@contextlib.contextmanager
def _opened(file: BundleFile) -> Iterator[BinaryIO]:
    """The file, which has the size that its descriptor says. Raises DhError model.missing or .corrupt."""
    try:
        with os.fdopen(open_regular(file.path), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != file.bytes:
                raise _corrupt(file.path, f"it has {size} bytes, not {file.bytes}{_looks_like(stream.read(512))}")
            yield stream
    except OSError as error:
        raise _unreadable(file.path, error) from error


def _compare(file: BundleFile, found: str, data: bytes) -> None:
    if found != file.sha256:
        raise _corrupt(file.path, f"its SHA-256 is {found}, not {file.sha256}{_looks_like(data)}")


def _looks_like(data: bytes) -> str:
    """What people find in place of a model file."""
    start = data[:512].lstrip().lower()
    if not start:
        return "; it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "; it is a Git LFS pointer, `git lfs pull` fetches the file itself"
    if start.startswith((b"<!doctype", b"<html")):
        return "; it is a web page, not the file that was to be downloaded"
    return ""


def _unreadable(path: Path, error: OSError) -> DhError:
    found = error.strerror or type(error).__name__
    if error.errno in UNFIT:
        return _corrupt(path, found)
    return DhError("model.missing", f"{path}: {found}.", hint="Install the model again, or put the file back.")


def _corrupt(path: Path, found: str) -> DhError:
    return DhError(
        "model.corrupt", f"{path}: {found}.", hint="Install the model again; `dh models verify` lists its files."
    )
