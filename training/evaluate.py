"""How face networks do at native resolution, on videos that no training has seen.

    python -m training.evaluate VIDEOS face.onnx [OTHER.onnx ...] [--sheets FOLDER]

For pairs of frames of one video with about the same head pose, the mouth of the one is made from the pixels of the
other, at the video's resolution, and compared with the real one. The reference is the best of up to six frames of the
same video, none within half a second of the real one. A sheet shows mouths: a row for each network, and the real one.

    mouth   PSNR in dB and SSIM (grey) of the lips and 4 crop px around them
    inside  of open mouths: PSNR within the lips, and sharpness: the Laplacian's variance, rendered / real (median)
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from training.footage import Footage, analysed, crop_points, videos_in
from training.native import NAN, Figures, View, compare, opened, render

from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import (
    CROP_CENTRE,
    CROP_SIDE,
    INNER,
    LOWER_LIP,
    OUTER,
    PX_PER_UNIT,
    UPPER_LIP,
    Geometry,
    load_geometry,
)
from dhcli.families.dh_base.references import yaw_pitch
from dhcli.stages.align import crop_matrix
from dhcli.stages.mesh import pose_free
from dhcli.types import F32, F64, U8

MODEL = Path(__file__).parents[1] / "models/dh-base"
APART = 12
"""Frames between the real mouth and its references."""
REFERENCES = 6
POSE_WEIGHT = 0.4
"""Canonical units of distance between lips that count as much as a radian of pose."""
NEAR_POSE = 0.10
WIDE_SHARE, WIDE_FROM = 2 / 3, 0.6
"""Share of pairs whose mouth is opener than this share of all."""
CANDIDATES = 150
COLUMNS = 6
TILE = (72, 48)
"""Crop px of a mouth on a sheet."""

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mouths:
    """What the choice of frames needs to know, by frame in order."""

    indices: list[int]
    """Of the frames in the video."""
    shapes: F64  # (n, 20, 2) inner lips, canonical units
    angles: F64  # (n, 2)
    opening: F64  # (n,)

    def distances(self, to: int) -> F64:
        """How badly each frame would serve as a reference for frame `to`."""
        lips = np.linalg.norm(self.shapes - self.shapes[to], axis=-1).mean(-1)
        return np.asarray(lips + POSE_WEIGHT * np.abs(self.angles - self.angles[to]).sum(-1), np.float64)


@dataclass(frozen=True, slots=True)
class Judged:
    """One video."""

    name: str
    face_px: float  # side of the native crop
    figures: list[list[Figures]]  # for each pair, of each network
    tiles: list[list[U8]]  # of the open mouths: of each network, and the real one


def mouths_of(footage: Footage, rows: npt.NDArray[np.intp]) -> Mouths:
    """Of the frames in which the face is seen; `rows` are the landmarks of the mouth."""
    faces = [face for face in footage.rows.values() if face.seen]
    free = np.stack([pose_free(face.points[rows], face.pose) for face in faces])
    return Mouths(
        [face.index for face in faces],
        free[:, INNER, :2],
        np.stack([yaw_pitch(face) for face in faces]),
        np.linalg.norm(free[:, LOWER_LIP] - free[:, UPPER_LIP], axis=-1),
    )


def pairs(mouths: Mouths, count: int, seed: int = 1) -> list[tuple[int, int]]:
    """(source, real): most of the real ones open, the sources near in pose with another mouth."""
    random = np.random.default_rng(seed)
    everyone = np.arange(len(mouths.opening))
    wide = np.flatnonzero(mouths.opening > np.quantile(mouths.opening, WIDE_FROM))
    of_wide = round(count * WIDE_SHARE)
    real = np.concatenate([evenly(wide, of_wide), evenly(everyone, count - of_wide)])
    chosen = []
    for j in real:
        turned = np.abs(mouths.angles - mouths.angles[j]).sum(1)
        near = np.flatnonzero((turned < NEAR_POSE) & (np.abs(everyone - j) > 3))
        near = near if len(near) >= 3 else np.argsort(turned)[1:6]
        other = np.linalg.norm(mouths.shapes[near] - mouths.shapes[j], axis=-1).mean(1)
        chosen.append((int(random.choice(near[other >= np.median(other)])), int(j)))
    return chosen


def evenly(items: I64, count: int) -> I64:
    """`count` of them, spread evenly."""
    return np.asarray(items[np.linspace(0, len(items) - 1, count).astype(int)], np.int64)


def references(mouths: Mouths, allowed: npt.NDArray[np.bool_]) -> list[int]:
    """Up to REFERENCES frames that come nearest to every mouth of the video: the widest, then what helps most."""
    candidates = np.flatnonzero(allowed)
    candidates = candidates[np.argsort(-mouths.opening[candidates])]
    candidates = evenly(candidates, min(CANDIDATES, len(candidates)))
    costs = np.stack([mouths.distances(int(at)) for at in candidates])
    weight = 0.2 + mouths.opening / (mouths.opening.max() + 1e-6)
    chosen, nearest = [0], costs[0]
    while len(chosen) < min(REFERENCES, len(candidates)):
        gains = (np.maximum(0, nearest - costs) * weight).sum(1)
        best = int(np.argmax(gains))
        if gains[best] <= 0.01 * (nearest * weight).sum():
            break
        chosen.append(best)
        nearest = np.minimum(nearest, costs[best])
    return [int(candidates[at]) for at in chosen]


def asked_of(mouths: Mouths, count: int) -> list[tuple[int, int, int]]:
    """(source, real, reference) of each pair."""
    found = []
    everyone = np.arange(len(mouths.opening))
    for source, real in pairs(mouths, count):
        allowed = np.abs(everyone - real) > min(APART, len(everyone) // 4)
        best = min(references(mouths, allowed), key=lambda at: mouths.distances(real)[at])
        found.append((source, real, best))
    return found


def views(footage: Footage, indices: set[int], geometry: Geometry) -> dict[int, View]:
    """Crops of these frames, all of one side: as many px as the face has in the video."""
    scale = float(np.median([face.pose.scale for face in footage.rows.values()]))
    side = max(CROP_SIDE, round(CROP_SIDE * scale / PX_PER_UNIT))
    px = PX_PER_UNIT * side / CROP_SIDE
    matrices = {index: crop_matrix(footage.rows[index].pose, CROP_CENTRE, px, side) for index in indices}
    crops = footage.crops(matrices, side)
    return {index: View(crop, crop_points(footage.rows[index], geometry)) for index, crop in crops}


def judged(video: Path, networks: Sequence[Any], count: int, geometry: Geometry) -> Judged:
    """One video. Raises DhError input.*, decode.*, face.*."""
    footage = analysed(video)
    mouths = mouths_of(footage, geometry.mouth)
    chosen = asked_of(mouths, count)
    shown = views(footage, {mouths.indices[at] for three in chosen for at in three}, geometry)
    figures: list[list[Figures]] = []
    tiles: list[list[U8]] = []
    for three in chosen:
        source, real, reference = (shown[mouths.indices[at]] for at in three)
        made = [render(network, source, reference, real.points) for network in networks]
        figures.append([compare(one, real.picture, real.points) for one in made])
        if not np.isnan(figures[-1][0].inside_db):
            tiles.append([*(tile(one, real.points) for one in made), tile(real.picture, real.points)])
    return Judged(video.stem, len(next(iter(shown.values())).picture), figures, tiles)


def tile(crop: F32 | U8, points: F64) -> U8:
    """The mouth, px as they are."""
    scale = len(crop) / CROP_SIDE
    x, y = points[OUTER].mean(0) * scale
    size = (round(TILE[0] * scale), round(TILE[1] * scale))
    whole = np.clip(crop, 0, 255).astype(np.uint8)
    return np.asarray(cv2.getRectSubPix(whole, size, (float(x), float(y))), np.uint8)


def sheet(tiles: list[list[U8]]) -> U8:
    """A column for each of some pairs."""
    columns = [tiles[at] for at in np.linspace(0, len(tiles) - 1, min(COLUMNS, len(tiles))).astype(int)]
    return np.hstack([np.vstack(column) for column in columns])


def line(name: str, face_px: float, figures: list[list[Figures]]) -> str:
    """Means of all pairs, and of the sharpness the median."""
    values = np.array([[astuple(one) for one in pair] for pair in figures])  # (pairs, networks, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a video whose mouth is never open has no inside: NaN
        summed = [np.nanmean(values[..., at], 0) for at in range(3)] + [np.nanmedian(values[..., 3], 0)]
    cells = (
        " ".join(f"{value:7.{digits}f}" for value in part) for part, digits in zip(summed, (2, 4, 2, 2), strict=True)
    )
    return f"{name[:20]:20s} {face_px:5.0f} {len(values):5d} " + "  ".join(cells)


def main(argv: list[str] | None = None) -> None:
    """A line for each video, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--pairs", type=int, default=24, help="of each video")
    parser.add_argument("--sheets", type=Path, help="folder for pictures of mouths")
    parser.add_argument("--geometry", type=Path, default=MODEL / "geometry.npz", help="of the networks' model")
    asked = parser.parse_args(argv)
    geometry = load_geometry(asked.geometry.read_bytes())
    networks = [opened(path) for path in asked.networks]
    titles = ("mouth dB", "mouth SSIM", "inside dB", "sharpness")
    print(f"{'':20s} {'px':>5s} {'pairs':>5s} " + "  ".join(f"{title:>{8 * len(networks) - 1}s}" for title in titles))
    everything: list[list[Figures]] = []
    for video in videos_in(asked.videos):
        try:
            one = judged(video, networks, asked.pairs, geometry)
        except DhError as error:
            print(f"{video.name} is left out: {error}", file=sys.stderr)
            continue
        everything += one.figures
        print(line(one.name, one.face_px, one.figures), flush=True)
        if asked.sheets and one.tiles:
            asked.sheets.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(asked.sheets / f"{one.name}.png"), sheet(one.tiles)[..., ::-1])
    if not everything:
        sys.exit(f"No usable video in {asked.videos}.")
    print(line("all", NAN, everything))


if __name__ == "__main__":
    main()
