"""The canonical face that the default model was trained on, and where its crop lies: numbers only, no pixels.

Image points are (x, y) px, x right, y down; z is in the same scale. Canonical units are those of the frontal canonical
face, whose eyes are 1.775 apart.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from dhcli.errors import DhError, describe
from dhcli.stages.align import crop_matrix
from dhcli.types import F64, Pose

LANDMARKS = 478
CROP_SIDE = 160
"""px, side of the crop that the face network sees."""
PX_PER_UNIT = 50.0
"""Crop px per canonical unit."""
CROP_CENTRE = np.array([0.0, 1.72, -0.2])
"""Canonical point in the middle of the crop."""
UPPER_LIP, LOWER_LIP = 35, 25
"""Rows of the mouth points: the inner lips' middles."""
CLOSED_GAP = 0.02
"""Canonical units between closed inner lips; people at rest have 0.01 to 0.02."""

MOST_BYTES = 1 << 20
"""Of a geometry file: its numbers take 74 kB in double precision."""
SHAPES: dict[str, tuple[int, ...]] = {
    "canonical": (LANDMARKS, 3),
    "stable": (38,),
    "mouth": (106,),
    "basis": (12, 106, 3),
    "projection": (12, 106, 3),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the default model knows about faces in general."""

    canonical: F64  # (478, 3)
    stable: np.typing.NDArray[np.intp]  # (38,) landmarks that speech does not move: brow, eyes, nose
    mouth: np.typing.NDArray[np.intp]  # (106,) landmarks that speech moves
    basis: F64  # (12, 106, 3) mouth code -> move of the mouth points, canonical units
    projection: F64  # (12, 106, 3) move of the mouth points -> mouth code

    def mouth_code(self, mouth: F64, rest: F64) -> F64:  # (106, 3), (106, 3) -> (12,)
        """The code of a pose-free mouth, relative to the same person's rest shape."""
        return self.projection.reshape(len(self.projection), -1) @ (mouth - rest).reshape(-1)

    def closed(self, mouth: F64) -> F64:  # (106, 3) -> (106, 3)
        """`mouth`, moved along the basis just as far as it takes to close the inner lips; a smile never closes them."""
        gap = mouth[LOWER_LIP, 1] - mouth[UPPER_LIP, 1]
        if gap <= CLOSED_GAP:
            return mouth
        gap_of_code = self.basis[:, LOWER_LIP, 1] - self.basis[:, UPPER_LIP, 1]
        code = (CLOSED_GAP - gap) * gap_of_code / (gap_of_code @ gap_of_code)
        return mouth + np.tensordot(code, self.basis, 1)


class _UnfitError(ValueError):
    """An array is not what is expected; the text says how."""


def load_geometry(data: bytes, name: str = "geometry.npz") -> Geometry:
    """The geometry in an .npz file's bytes. Raises model.incompatible where an array is missing or of another shape."""
    if len(data) > MOST_BYTES:
        raise _incompatible(name, f"it has {len(data)} bytes, no geometry has more than {MOST_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays: dict[str, Any] = {key: _array(archive, key, shape) for key, shape in SHAPES.items()}
    except _UnfitError as error:
        raise _incompatible(name, str(error)) from error
    except Exception as error:  # zipfile, zlib and numpy raise whatever a stranger's bytes lead them to
        raise _incompatible(name, f"not an .npz archive of plain arrays ({describe(error)})") from error
    rows = {key: arrays[key].astype(np.intp) for key in ("stable", "mouth")}
    for key, index in rows.items():
        if index.min() < 0 or index.max() >= LANDMARKS:
            raise _incompatible(name, f"'{key}' names landmarks outside 0..{LANDMARKS - 1}")
    floats = {key: arrays[key].astype(np.float64) for key in ("canonical", "basis", "projection")}
    return Geometry(**rows, **floats)


def _array(archive: zipfile.ZipFile, key: str, shape: tuple[int, ...]) -> np.typing.NDArray[Any]:
    """An array, unpacked only where its header promises what is expected: 1.5 MB may unpack to 1.5 GB.

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


def _incompatible(name: str, found: str) -> DhError:
    return DhError(
        "model.incompatible", f"{name}: {found}.", hint="Install the model again; 'dh models verify' checks it."
    )


def face_crop_matrix(pose: Pose) -> F64:
    """Image px to px of the face network's crop, (2, 3)."""
    return crop_matrix(pose, CROP_CENTRE, PX_PER_UNIT, CROP_SIDE)


def pose_free(points: F64, pose: Pose) -> F64:  # (n, 3) image px -> (n, 3) canonical units
    """The points with the head's pose taken out."""
    return (points - pose.translation) @ pose.rotation / pose.scale


def mouth_opening(mouth: F64) -> float:  # (106, 3) canonical units
    """Distance of the inner lips' middles, canonical units."""
    return float(np.linalg.norm(mouth[LOWER_LIP] - mouth[UPPER_LIP]))
