"""Model bundles: where `models/<name>/model.yaml` is found, what it says, and whether the files agree.

Every file is used only as bytes whose SHA-256 was just compared. The family of the bundle says what its networks
mean.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import platformdirs
from pydantic import JsonValue

from dhcli.disk.regular import open_regular
from dhcli.disk.user_folder import user_folder
from dhcli.errors import DhError
from dhcli.networks.descriptor import DESCRIPTOR, NAME, TensorEntry, corrupt, read_descriptor, unreadable
from dhcli.networks.network import Device, Network, TensorInfo, open_network

HASH_BLOCK_BYTES = 1 << 20
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


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
    settings: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))
    """What the family has to know beside the files, as the descriptor says it: numbers are text there."""

    @property
    def sha256(self) -> str:
        """One hash for the whole: of the family, of all files' roles and hashes, and of the settings."""
        lines = [self.family, *(f"{role} {file.sha256}" for role, file in sorted(self.files.items()))]
        if self.settings:
            lines.append(json.dumps(dict(self.settings), sort_keys=True, separators=(",", ":")))
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

    def check_all(self, on_step: Callable[[str], None] = lambda _: None) -> None:
        """Compare every file with its hash, block by block; `on_step` takes which one is read, and how much is left.

        Raises DhError model.missing or .corrupt.
        """
        for file in self.files.values():
            digest, head, left = hashlib.sha256(), b"", file.bytes
            on_step(f"{file.path}, {left} bytes to read")
            with _opened(file) as stream:
                while left and (block := stream.read(min(left, HASH_BLOCK_BYTES))):
                    head = head or block
                    left -= len(block)
                    digest.update(block)
                    on_step(f"{file.path}, {left} bytes to read")
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
        """The role's network, compared with the descriptor. Raises as `read` and `network.open_network` do."""
        network = open_network(self.read(role), role, device=device, threads=threads)
        if spec := self.networks.get(role):
            check_network(network, spec)
        return network


def search_path(models_dirs: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where models are looked for: `user_places`, then what came with dh.

    The user's data folder is left out where it may not be entered: nobody named it.
    """
    own = _data_folder()
    closed = own is not None and not _may_enter(own)
    return (*(place for place in user_places(models_dirs) if place != own or not closed), *shipped("models", "models"))


def user_places(models_dirs: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where the user's own models are: `models_dirs`, DH_MODELS_DIR (entries as in PATH), his data folder.

    Without a home there is no data folder.
    """
    named = [Path(entry) for entry in os.environ.get("DH_MODELS_DIR", "").split(os.pathsep) if entry]
    own = _data_folder()
    return (*models_dirs, *named, *([] if own is None else [own]))


def _data_folder() -> Path | None:
    data = user_folder(platformdirs.user_data_path)
    return None if data is None else data / "models"


def _may_enter(folder: Path) -> bool:
    try:
        os.lstat(folder / DESCRIPTOR)
    except OSError as error:
        return error.errno in ABSENT
    return True


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
    problems = [
        f"input {info} is not in the descriptor" for info in network.inputs if info.name not in _names(spec.inputs)
    ]
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


def _shapes_agree(want: tuple[int | str, ...], have: tuple[int | str, ...]) -> bool:
    """A size that the descriptor leaves free has to be free in the network: one with a fixed batch cannot take "n"."""
    return len(want) == len(have) and all(
        isinstance(there, str) or here == there for here, there in zip(want, have, strict=True)
    )


def _is_there(folder: Path) -> bool:
    """Whether anything has this name, also a broken link. Raises DhError model.missing where reading is denied."""
    try:
        os.lstat(folder)
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise unreadable(folder, error) from error
    return True


def _load(folder: Path) -> Bundle:
    descriptor = read_descriptor(folder / DESCRIPTOR)
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
        settings=MappingProxyType(descriptor.settings),
        networks=MappingProxyType(
            {
                role: NetworkSpec(_tensors(network.inputs), _tensors(network.outputs))
                for role, network in descriptor.networks.items()
            }
        ),
    )


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
                raise corrupt(file.path, f"it has {size} bytes, not {file.bytes}{_looks_like(stream.read(512))}")
            yield stream
    except OSError as error:
        raise unreadable(file.path, error) from error


def _compare(file: BundleFile, found: str, data: bytes) -> None:
    if found != file.sha256:
        raise corrupt(file.path, f"its SHA-256 is {found}, not {file.sha256}{_looks_like(data)}")


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
