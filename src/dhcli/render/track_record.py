"""One frame's entry in a face track: 2470 bytes that say where the face is, as exactly as a renderer can tell."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dhcli.stages.mesh import LANDMARKS, FaceMesh, posed
from dhcli.types import F64, Box, FaceRow, Pose

MISSING, LOOKED, BETWEEN, HIDDEN, COVERED = 0, 1, 2, 3, 4
RECORD = np.dtype(
    [
        ("state", "u1"),
        ("person", "u1"),
        ("unused", "<u2"),
        ("weight", "<f4"),
        ("scale", "<f4"),
        ("rotation", "<f4", (3, 3)),
        ("translation", "<f4", (3,)),
        ("box", "<f4", (4,)),
        ("relief", "<f4"),
        ("points", "<u2", (LANDMARKS, 2)),
        ("depths", "i1", (LANDMARKS,)),
    ]
)
"""2470 bytes. Points are parts of the box: steps of 0.03 px in a face of 2000 px. A depth is the difference to the
canonical face in the same pose, in steps of `relief` / 127: 0.001 canonical units, 0.1 px in the same face.
"""
STEPS, DEPTH_STEPS = 65535, 127

Records: TypeAlias = np.typing.NDArray[np.void]


def packed_row(row: FaceRow, mesh: FaceMesh) -> Records:
    """The record of a face, shape (1,)."""
    record = np.zeros(1, RECORD)
    record["state"] = COVERED if row.covered else LOOKED if row.looked else BETWEEN if row.seen else HIDDEN
    record["person"], record["weight"] = row.person, row.weight
    record["scale"], record["rotation"] = row.pose.scale, row.pose.rotation
    record["translation"] = row.pose.translation
    record["box"] = (row.box.x, row.box.y, row.box.width, row.box.height)
    corner, size = _corner_and_size(record)
    record["points"] = np.clip(np.rint((row.points[:, :2] - corner) * (STEPS / size)), 0, STEPS)
    depths = (row.points[:, 2] - posed(mesh.canonical, pose_of(record[0]))[:, 2]) / row.pose.scale
    record["relief"] = relief = max(float(np.abs(depths).max()), 1e-6)
    record["depths"] = np.rint(depths * (DEPTH_STEPS / relief))
    return record


def unpacked_row(index: int, record: np.void, mesh: FaceMesh) -> FaceRow:
    """The face in a record that has one."""
    one = np.array([record], RECORD)
    pose = pose_of(record)
    box = Box(*one["box"][0].astype(np.float64).tolist())
    points = points_of(one, mesh)[0]
    state = int(record["state"])
    return FaceRow(
        index,
        int(record["person"]),
        float(record["weight"]),
        pose,
        box,
        points,
        seen=state in {LOOKED, BETWEEN},
        looked=state == LOOKED,
        covered=state == COVERED,
    )


def pose_of(record: np.void) -> Pose:
    return Pose(float(record["scale"]), record["rotation"].astype(np.float64), record["translation"].astype(np.float64))


def _corner_and_size(records: Records) -> tuple[F64, F64]:  # (n,) -> (n, 1, 2) each
    box = records["box"].astype(np.float64)[:, None]
    return box[..., :2], np.maximum(box[..., 2:], 1e-6)


def points_of(records: Records, mesh: FaceMesh) -> F64:  # (n,) -> (n, 478, 3)
    corner, size = _corner_and_size(records)
    scale = records["scale"].astype(np.float64)[:, None]
    usual = mesh.canonical @ records["rotation"][:, 2, :, None].astype(np.float64)  # (n, 478, 1): along the view
    step = records["relief"].astype(np.float64)[:, None] / DEPTH_STEPS
    points = np.empty((len(records), LANDMARKS, 3))
    points[..., :2] = corner + records["points"] * (size / STEPS)
    points[..., 2] = scale * (usual[..., 0] + records["depths"] * step) + records["translation"][:, 2, None]
    return points
