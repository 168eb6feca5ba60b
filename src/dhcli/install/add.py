"""`dh models add`: from ONNX files, here or on the web, to a model that has rendered a second of the sample."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dhcli.disk.hashes import cache_folder
from dhcli.errors import DhError
from dhcli.families.registry import family_called
from dhcli.install.describe import descriptor_text, refuse_strange
from dhcli.install.download import Address, fetched, is_url
from dhcli.install.quantise import FRAMES, NARROW, quantised, questions, require_tools
from dhcli.install.recognise import ENHANCER, PATCH, UNSURE, Recognised, known_as, look, refuse_roles, refuse_unlike
from dhcli.install.self_test import Sample, Tested, asking, self_test, sharpened_by
from dhcli.install.staging import Copied, OnBytes, copied, destination, put_in_place, refuse_taken, staging, write_text
from dhcli.jobs import strict_yaml
from dhcli.networks.bundle import Bundle, load_bundle
from dhcli.networks.descriptor import DESCRIPTOR, NAME
from dhcli.networks.network import Device
from dhcli.render.models import Models

MAIN = "network"
"""The role of the one file, in families that do not say otherwise."""
DOWNLOADS = "downloads"
"""In the cache folder: files that are being fetched, by their hashes."""
SHA256 = re.compile("[0-9a-fA-F]{64}")
ENDINGS: Mapping[str, str] = {".npz": ".npz"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for."""

    source: str
    """Path or address of the main network."""
    name: str
    family: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Paths or addresses of further files by role."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Hashes that files must have, by role; "" is the main network's."""
    licence: str | None = None
    models_dirs: tuple[Path, ...] = ()
    replace: bool = False
    narrow: bool = False
    """Add a network in 8 bits."""
    calibrate: tuple[Path, ...] = ()
    """Videos with speech that it is calibrated on, beside the sample."""


@dataclass(frozen=True, slots=True)
class Added:
    """What was done."""

    bundle: Bundle
    recognised: Recognised
    tested: Tested
    int8_db: float | None = None
    """PSNR of the network in 8 bits beside the one it was made from, dB."""


def parse_setting(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value in YAML as in model.yaml. Raises ValueError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{text}: expected KEY=VALUE")
    try:
        return key, strict_yaml.plain(strict_yaml.load(value.encode(), key))
    except strict_yaml.StrictYamlError as error:
        raise ValueError(f"{text}: {'; '.join(error.problems)}") from error


def add_model(wanted: Wanted, on_bytes: OnBytes, say: Callable[[str], None]) -> Added:
    """Install a model. `say` takes a line about what is done now.

    Raises DhError, with nothing installed: model.*, env.disk_full, and what a render ends with.
    """
    place = destination(wanted.models_dirs)
    if not re.fullmatch(NAME, wanted.name):
        raise DhError("model.incompatible", f"--name {wanted.name}: letters, digits, '.', '_' and '-', 64 at most.")
    refuse_taken(wanted.name, place, wanted.models_dirs, replace=wanted.replace)
    _refuse_texts(wanted)
    with _here(wanted, on_bytes) as sources:
        recognised, roles = _roles(wanted, sources)
        if wanted.narrow:
            _refuse_narrow(recognised)
        tensors = {role: look(path) for role, path in roles.items() if path.suffix not in ENDINGS}
        for role, found in tensors.items():
            refuse_strange(roles[role], found)
        refuse_unlike(recognised, tensors)
        with staging(place) as staged:
            folder = staged / wanted.name
            folder.mkdir()
            files = {role: _copy(wanted, role, path, folder, sources, on_bytes) for role, path in roles.items()}
            licence = wanted.licence or UNSURE

            def describe() -> None:
                (folder / DESCRIPTOR).unlink(missing_ok=True)
                write_text(folder / DESCRIPTOR, descriptor_text(wanted.name, licence, recognised, files, tensors))

            describe()
            models = _models(staged, wanted.models_dirs)
            say("rendering a second of the sample")
            options = (sharpened_by if recognised.family == ENHANCER else asking)(wanted.name)
            with _told_of(staged / wanted.name, roles):
                tested = self_test(models, options, Sample.packed(), lambda: shutil.rmtree(staged, ignore_errors=True))
            int8_db = None
            if wanted.narrow:
                say("quantising to 8 bits: rendering for the calibration")
                int8_db = _narrow(wanted, folder, files)
                tensors[NARROW] = tensors[MAIN]
                describe()
                say("rendering a second of the sample in 8 bits")
                models = _models(staged, wanted.models_dirs)
                tested = self_test(models, options, Sample.packed())
            put_in_place(folder, place, replace=wanted.replace)
    return Added(load_bundle(wanted.name, (place,)), recognised, tested, int8_db)


def _refuse_texts(wanted: Wanted) -> None:
    """Raise DhError model.incompatible for a role that is no file's name, and a licence that cannot be written."""
    for role in wanted.files:
        if not re.fullmatch(NAME, role):
            raise DhError(
                "model.incompatible",
                f"--file {role}=…: a role has letters, digits, '.', '_' and '-'.",
                hint="docs/models.md has the roles of each family.",
            )
    if wanted.licence is not None and not wanted.licence.isprintable():
        raise DhError(
            "model.incompatible",
            f"--licence {wanted.licence!r}: expected one line of text.",
            hint="Give an SPDX expression, as LicenseRef-mine.",
        )


@contextlib.contextmanager
def _told_of(folder: Path, roles: Mapping[str, Path]) -> Iterator[None]:
    """Errors about a model that will not stay, told about the files that it is made of."""
    try:
        yield
    except DhError as error:
        for role, path in roles.items():
            error.message = error.message.replace(str(folder / _file_name(role, path)), str(path))
        if str(folder) in (error.hint or ""):
            error.hint = "Give another file, or settings with --set; docs/models.md has them all."
        raise


def _refuse_narrow(recognised: Recognised) -> None:
    if recognised.family != PATCH:
        raise DhError(
            "model.incompatible",
            f"--int8: networks of the family '{recognised.family}' are not quantised.",
            hint="Leave --int8 out.",
        )
    require_tools()


def _narrow(wanted: Wanted, folder: Path, files: dict[str, Copied]) -> float:
    """Add the main network in 8 bits to the files; gives its PSNR beside the other, dB."""
    clips = [Sample.packed(FRAMES), *(Sample(video, video, FRAMES) for video in wanted.calibrate)]
    asked = questions((folder.parent, *wanted.models_dirs), wanted.name, clips)
    target = folder / f"{NARROW}.onnx"
    found = quantised(files[MAIN].path, target, asked)
    data = target.read_bytes()
    files[NARROW] = Copied(target, len(data), hashlib.sha256(data).hexdigest())
    return found


def _models(staged: Path, models_dirs: Sequence[Path]) -> Models:
    """The new model, and what finds faces."""
    return Models((staged, *models_dirs), Device("cpu"))


@contextlib.contextmanager
def _here(wanted: Wanted, on_bytes: OnBytes) -> Iterator[Mapping[str, Path]]:
    """The paths of all files by role, the main network's under "". What was fetched is gone after success."""
    texts = {"": wanted.source, **wanted.files}
    addresses = {role: Address.of(text, _sha256(wanted, role, text)) for role, text in texts.items() if is_url(text)}
    for role in wanted.sha256:
        if role not in texts:
            raise DhError("model.incompatible", f"--sha256 {role}=…: there is no --file {role}=….")
    folder = cache_folder()
    if addresses and folder is None:
        raise DhError("model.missing", "There is no cache folder to fetch into: no home, and no DH_CACHE_DIR.")
    paths = {role: Path(text) for role, text in texts.items() if role not in addresses}
    for role, address in addresses.items():
        assert folder is not None
        paths[role] = fetched(address, folder / DOWNLOADS, on_bytes)
    yield paths
    for role in addresses:
        paths[role].unlink(missing_ok=True)


def _sha256(wanted: Wanted, role: str, text: str) -> str:
    """The hash that is required for an address."""
    found = wanted.sha256.get(role, "")
    if SHA256.fullmatch(found):
        return found.lower()
    flag = f"--sha256 {role}=HEX" if role else "--sha256 HEX"
    raise DhError(
        "model.incompatible",
        f"{text}: a file from the network is taken only with its SHA-256, 64 hex digits.",
        hint=f"Give it: {flag}; `sha256sum FILE` on a copy that you trust.",
    )


def _roles(wanted: Wanted, sources: Mapping[str, Path]) -> tuple[Recognised, Mapping[str, Path]]:
    """What the model is, and its files by role."""
    recognised = known_as(sources[""], look(sources[""]), wanted.family, wanted.settings)
    required = (MAIN,) if recognised.family == ENHANCER else family_called(recognised.family).roles
    main = recognised.role or next((role for role in required if role not in wanted.files), MAIN)
    if main in wanted.files:
        raise DhError(
            "model.incompatible",
            f"{wanted.source}: its role is '{main}', and --file {main}=… gives that to another file.",
            hint="Name each file once.",
        )
    refuse_roles(recognised, wanted.files)
    roles = {main: sources[""], **{role: sources[role] for role in wanted.files}}
    if missing := [role for role in (*required, *recognised.needs) if role not in roles]:
        raise DhError(
            "model.incompatible",
            f"{wanted.source}: a model of the family '{recognised.family}'{_preset(recognised)} needs more files: "
            f"{', '.join(missing)}; it has {', '.join(roles)}.",
            hint=f"Name them: {' '.join(f'--file {role}=PATH' for role in missing)}; docs/models.md tells which.",
        )
    return recognised, roles


def _preset(recognised: Recognised) -> str:
    name = recognised.settings.get("preset")
    return f" with the preset '{name}'" if name else ""


def _file_name(role: str, path: Path) -> str:
    return f"{role}{ENDINGS.get(path.suffix, '.onnx')}"


def _copy(
    wanted: Wanted, role: str, path: Path, folder: Path, sources: Mapping[str, Path], on_bytes: OnBytes
) -> Copied:
    """Copy a file of the model, and compare its hash with the one that the user gave."""
    key = role if role in wanted.files else ""
    file = copied(path, folder / _file_name(role, path), on_bytes)
    stated = wanted.sha256.get(key, file.sha256).lower()
    if file.sha256 != stated:
        raise DhError("model.corrupt", f"{sources[key]}: its SHA-256 is {file.sha256}, not {stated}.")
    return file
