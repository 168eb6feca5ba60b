"""Arrays from a file of a model: numbers of the shapes that are expected, and nothing else."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from dhcli.errors import DhError, describe

Array: TypeAlias = np.typing.NDArray[Any]

MOST_BYTES = 1 << 20
"""Of a file: the largest one has 74 kB of numbers in double precision."""


class _UnfitError(ValueError):
    """An array is not what is expected; the text says how."""


def read_arrays(data: bytes, shapes: Mapping[str, tuple[int, ...]], name: str) -> dict[str, Array]:
    """The arrays of these shapes in an .npz file's bytes; `name` is the file's, for messages.

    Raises DhError model.incompatible where one is missing, of another shape, or has values that are no numbers.
    """
    if len(data) > MOST_BYTES:
        raise unfit(name, f"it has {len(data)} bytes, and may have {MOST_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {key: _array(archive, key, shape) for key, shape in shapes.items()}
    except _UnfitError as error:
        raise unfit(name, str(error)) from error
    except Exception as error:  # zipfile, zlib and numpy raise whatever a stranger's bytes lead them to
        raise unfit(name, f"not an .npz archive of plain arrays ({describe(error)})") from error


def unfit(name: str, found: str) -> DhError:
    """The error for a file whose numbers cannot be used."""
    return DhError(
        "model.incompatible", f"{name}: {found}.", hint="Install the model again; 'dh models verify' checks it."
    )


def _array(archive: zipfile.ZipFile, key: str, shape: tuple[int, ...]) -> Array:
    """An array, unpacked only where its header says what is expected: 1.5 MB may unpack to 1.5 GB.

    Raises _UnfitError with what was found instead, and what zipfile and numpy raise.
    """
    try:
        entry = archive.getinfo(f"{key}.npy")
    except KeyError:
        raise _UnfitError(f"no array '{key}'") from None
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # what numpy writes
        raise _UnfitError(f"'{key}' is compressed in a way that numpy does not use ({entry.compress_type})")
    with archive.open(entry) as file:
        if np.lib.format.read_magic(file) != (1, 0):  # newer ones are for arrays with named fields
            raise _UnfitError(f"'{key}' is no plain array")
        found, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject:
            raise _UnfitError(f"not an .npz archive of plain arrays ('{key}' has objects)")
        if found != shape or dtype.kind not in "iuf":
            raise _UnfitError(f"'{key}' is {dtype} {found}, not numbers {shape}")
        size = math.prod(shape) * dtype.itemsize
        if entry.file_size - file.tell() != size:
            raise _UnfitError(f"'{key}' has {entry.file_size - file.tell()} bytes of numbers, not {size}")
        array = np.frombuffer(file.read(size), dtype).reshape(shape, order="F" if columns_first else "C")
    if not np.isfinite(array).all():
        raise _UnfitError(f"'{key}' has values that are not numbers")
    return array
