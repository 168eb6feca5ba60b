"""What the face network is trained on: triples out of a face pack, and what makes more of them.

Source and target are two frames of one clip with nearly the same head pose, so that only the mouth differs. The
reference is a third one: mostly the frame whose inner lips are nearest to the target's, out of those that are no
neighbours of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from training.face_network import INNER_LOWER, INNER_UPPER, SIDE, middles
from training.pack import Clip

from dhcli.families.dh_base.geometry import INNER

NEAR_POSE = 0.10
"""Most difference between the poses of source and target, rad."""
APART = 12
"""Frames between a target and its reference at least."""
POSE_PX = 20.0
"""Crop px of distance between lips that count as much as a radian of pose."""
SOURCE, BEST, GOOD, WIDE = 0.06, 0.44, 0.68, 0.88
"""Which reference, by chance, cumulative: the source itself (a still has no other frame), one of the four best, the
best of eight, one with a wide mouth; else one with a closed mouth."""
SAME = 0.05
"""Share of triples whose source is the target."""
GREY, TINTED = 0.08, 0.1
"""Share of triples without colour, and of those with the light of one colour."""
POINT_NOISE_PX = 0.3

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Triples:
    """A batch: frames (n, 3, 160, 160) RGB 0..1, points (n, 106, 2) crop px."""

    source: Tensor
    target: Tensor
    reference: Tensor
    source_points: Tensor
    target_points: Tensor
    reference_points: Tensor


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where a clip lies in the pool, and what the choice of triples needs of it."""

    start: int
    lips: npt.NDArray[np.float32]  # (n, 20, 2) centred
    pose: npt.NDArray[np.float32]
    usable: npt.NDArray[np.bool_]
    wide: I64
    closed: I64


class Pool:
    """All frames of some clips on the device, and random triples of them."""

    def __init__(
        self, clips: Sequence[Clip], device: torch.device, seed: int, shares: Sequence[float] = (), same: float = SAME
    ) -> None:
        """`shares` says how often a clip comes, beside the root of its length; without, all count alike."""
        self._random, self._same = np.random.default_rng(seed), same
        starts = np.cumsum([0, *(len(clip.frames) for clip in clips)])
        self._rows = [_rows(clip, int(start)) for clip, start in zip(clips, starts, strict=False)]
        self._frames = torch.from_numpy(np.concatenate([clip.frames for clip in clips])).to(device)
        self._points = torch.from_numpy(np.concatenate([clip.points for clip in clips])).to(device)
        share = np.sqrt([len(clip.frames) for clip in clips]) * (shares or 1)
        self._share = share / share.sum()

    def choose(self, count: int) -> I64:  # (count, 3)
        """Source, target and reference, places in the pool."""
        return np.array([self._one() for _ in range(count)])

    def triples(self, chosen: I64) -> Triples:
        """Their frames and points."""
        at = torch.from_numpy(chosen).to(self._frames.device)
        frames = self._frames[at].permute(0, 1, 4, 2, 3).float() / 255
        return _triples(frames, self._points[at])

    def _one(self) -> tuple[int, int, int]:
        random = self._random
        clip = self._rows[random.choice(len(self._rows), p=self._share)]
        target = int(random.choice(np.flatnonzero(clip.usable)))
        turned = np.where(clip.usable, np.abs(clip.pose - clip.pose[target]).sum(1), np.inf)
        turned[target] = np.inf
        near = np.flatnonzero(turned < NEAR_POSE)
        near = near if len(near) >= 3 else np.argsort(turned)[:3]
        source = target if random.random() < self._same else int(random.choice(near))
        reference = self._reference(clip, source, target)
        return clip.start + source, clip.start + target, clip.start + reference

    def _reference(self, clip: _Rows, source: int, target: int) -> int:
        random, kind = self._random, self._random.random()
        if kind < SOURCE:
            return source
        apart = np.abs(np.arange(len(clip.usable)) - target) > min(APART, len(clip.usable) // 4)
        far = np.flatnonzero(clip.usable & apart)
        if kind < GOOD and len(far):
            if kind >= BEST:
                far = random.choice(far, 8)
            lips = np.linalg.norm(clip.lips[far] - clip.lips[target], axis=-1).mean(1)
            order = np.argsort(lips + POSE_PX * np.abs(clip.pose[far] - clip.pose[target]).sum(1))
            return int(far[random.choice(order[:4]) if kind < BEST else order[0]])
        few = clip.wide if kind < WIDE else clip.closed
        return int(random.choice(few[few != target]))


def _rows(clip: Clip, start: int) -> _Rows:
    opening = np.linalg.norm(clip.points[:, INNER_LOWER] - clip.points[:, INNER_UPPER], axis=-1)
    order = np.argsort(-opening)
    few = max(3, len(order) // 8)
    lips = clip.points[:, INNER]
    centred = lips - lips.mean(1, keepdims=True)
    return _Rows(start, centred, clip.pose, clip.usable, order[:few], order[-few:])


def _triples(frames: Tensor, points: Tensor) -> Triples:
    """Out of (n, 3, …): source, target, reference."""
    (source, target, reference), (begins, ends, shows) = frames.unbind(1), points.unbind(1)
    return Triples(source, target, reference, begins, ends, shows)


def augmented(batch: Triples, mirror: Tensor, random: torch.Generator) -> Triples:
    """The same triples in another light, mirrored, moved, scaled and rolled; `mirror` (106,) pairs the points."""
    frames = torch.stack([batch.source, batch.target, batch.reference], 1)
    points = torch.stack([batch.source_points, batch.target_points, batch.reference_points], 1)
    frames, points = _mirrored(frames, points, mirror, random)
    frames, points = _moved(_lit(frames, random), points, random)
    noise = torch.randn(points[:, 0].shape, device=points.device, generator=random) * POINT_NOISE_PX
    points = torch.cat([(points[:, 0] + noise)[:, None], points[:, 1:]], 1)
    return _triples(frames.clamp(0, 1), points)


def _uniform(like: Tensor, low: float, high: float, *shape: int, random: torch.Generator) -> Tensor:
    return torch.empty(len(like), *shape, device=like.device).uniform_(low, high, generator=random)


def _mirrored(frames: Tensor, points: Tensor, mirror: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    swap = (_uniform(frames, 0, 1, random=random) < 0.5)[:, None, None, None]
    turned = points[:, :, mirror]
    turned = torch.stack([SIDE - turned[..., 0], turned[..., 1]], -1)
    return torch.where(swap[..., None], frames.flip(-1), frames), torch.where(swap, turned, points)


def _lit(frames: Tensor, random: torch.Generator) -> Tensor:
    """Gamma, balance of the colours and black level of all three alike; the reference's light differs a little more.

    A few lose their colour, as old photos, or have the light of one colour, as a stage.
    """
    ones = (1, 1, 1, 1)
    frames = frames.clamp(1e-4, 1) ** _uniform(frames, 0.8, 1.25, *ones, random=random)
    tinted = (_uniform(frames, 0, 1, *ones, random=random) < TINTED).float()
    balance = _uniform(frames, -0.1, 0.1, 1, 3, 1, 1, random=random) * (1 + 2 * tinted)
    frames = frames * (1 + balance) + _uniform(frames, -0.08, 0.08, *ones, random=random)
    grey = _uniform(frames, 0, 1, *ones, random=random) < GREY
    frames = torch.where(grey, frames.mean(2, keepdim=True), frames)
    brighter = _uniform(frames, 0.92, 1.08, 1, 1, 1, random=random)
    return torch.cat([frames[:, :2], (frames[:, 2] * brighter)[:, None]], 1)


def _moved(frames: Tensor, points: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scaled by up to 8 %, rolled by up to 0.1 rad, shifted by up to 6 px."""
    n = len(frames)
    size, roll = _uniform(frames, 0.92, 1.08, random=random), _uniform(frames, -0.1, 0.1, random=random)
    shift = _uniform(frames, -6, 6, 2, random=random)[:, None]
    c, s = size * roll.cos(), size * roll.sin()
    turn = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    middle = SIDE / 2
    points = (points - middle) @ turn.transpose(1, 2)[:, None] + middle + shift[:, None]
    rows, columns = torch.meshgrid(middles(SIDE, frames), middles(SIDE, frames), indexing="ij")
    grid = torch.stack([columns, rows], -1).reshape(1, -1, 2)
    at = ((grid - middle - shift) @ torch.linalg.inv(turn).transpose(1, 2) + middle) * 2 / SIDE - 1
    whole, at = frames.reshape(n, 9, SIDE, SIDE), at.reshape(n, SIDE, SIDE, 2)
    moved = F.grid_sample(whole, at, padding_mode="reflection", align_corners=False)
    return moved.reshape(n, 3, 3, SIDE, SIDE), points


def mirrored_rows(mouth: npt.NDArray[np.float64]) -> I64:
    """(106,) which point of the canonical mouth (106, 3) is which when it is mirrored."""
    other = mouth * [-1, 1, 1]
    return np.asarray(((mouth[:, None] - other[None]) ** 2).sum(-1).argmin(0), np.int64)
