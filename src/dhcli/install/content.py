"""What a file is by its first bytes: an ONNX file, or one of the others that people have of the same model."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from pathlib import Path

from dhcli.disk.regular import open_regular
from dhcli.errors import Code, DhError
from dhcli.networks.descriptor import UNFIT
from dhcli.networks.network import MOST_BYTES

HEAD_BYTES = 512
PICKLE = re.compile(rb"\x80[\x02-\x05]")
"""The opcode that begins a pickle, and its protocol."""
PICKLED = "data.pkl"
"""In the archive that torch.save writes, below a folder of any name."""
SAFE_HEADER_BYTES = 100_000_000
"""The largest header of a safetensors file (https://github.com/huggingface/safetensors#format)."""
EXPORT = (
    "Export it with its own program: torch.onnx.export(net, (example, …), 'FILE.onnx', input_names=[…], "
    "output_names=[…], dynamic_axes={NAME: {0: 'n'}, …}, dynamo=False); docs/models.md has the call for each family."
)


def refuse_weights(path: Path) -> None:
    """Raise DhError model.incompatible for weights without a network, and model.missing or .corrupt for no file."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            head, size = file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size
            kind = _archive(path) if head.startswith(b"PK\x03\x04") else _kind(head, size)
    except OSError as error:
        raise unopened(path, error) from error
    if kind is not None:
        raise DhError("model.incompatible", f"{path}: {kind}: weights without the network they belong to.", hint=EXPORT)
    refuse_large(str(path), size)
    if not head:
        raise DhError("model.corrupt", f"{path}: it is empty.", hint="Fetch the file again.")
    if (other := other_content(head)) is not None:
        raise DhError("model.corrupt", f"{path}: {other}.", hint="Fetch the ONNX file itself.")


def refuse_large(name: str, size: int) -> None:
    """Raise DhError model.incompatible for more bytes than a file of a model may have."""
    if size > MOST_BYTES:
        raise DhError(
            "model.incompatible",
            f"{name}: {size} bytes, and a file of a model may have {MOST_BYTES}.",
            hint="Export the network with 16-bit numbers.",
        )


def unopened(path: Path, error: OSError) -> DhError:
    """What keeps a file from being read that is to become part of a model."""
    code: Code = "model.corrupt" if error.errno in UNFIT else "model.missing"
    return DhError(code, f"{path}: {error.strerror or error}.", hint="Look at the path.")


def other_content(head: bytes) -> str | None:
    """What often comes in place of a file that was to be fetched; None: nothing that is known."""
    start = head[:HEAD_BYTES].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, `git lfs pull` fetches the file itself"
    if start.startswith((b"<!doctype", b"<html")):
        return "it is a web page, not the file that was to be fetched"
    return None


def _kind(head: bytes, size: int) -> str | None:
    if PICKLE.match(head):
        return "a pickle, as PyTorch writes"
    if len(head) > 8:
        (header,) = struct.unpack_from("<Q", head)
        if head[8:9] == b"{" and header <= min(size - 8, SAFE_HEADER_BYTES):
            return "a safetensors file"
    return None


def _archive(path: Path) -> str | None:
    """The kind of a zip archive; its files are not unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        names = []
    if any(one.rpartition("/")[2] == PICKLED for one in names):
        return f"a PyTorch file (an archive with {PICKLED})"
    return "a zip archive"
