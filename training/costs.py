"""What the training of the face network counts as wrong."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training.face_network import SIDE, Answer, compose, enlarged, gap, heat
from training.pairs import Triples

from dhcli.families.dh_base.geometry import INNER

ALL_POINTS, LIPS = ((0, 106),), ((0, 40),)
EDGE_CELL, EDGE_STEP = 6, 4
"""px of the windows in which detail is summed, and between them."""
CRITIC_SIDE = 64
"""px of the mouth that the critic sees."""
SHAPE_PX = 6.0
"""Mean distance between inner lips at which a reference is hardly like the target."""


@dataclass(frozen=True, slots=True)
class Masks:
    """(n, 1, 160, 160) 0..1."""

    face: Tensor  # where source or target have points
    mouth: Tensor
    inner: Tensor  # inside the inner lips


class Critic(nn.Module):
    """Tells real mouths from painted ones, in patches."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 48, 2), (48, 96, 2), (96, 192, 2), (192, 1, 1))
        self.layers = nn.ModuleList([nn.utils.spectral_norm(nn.Conv2d(i, o, 4, step, 1)) for i, o, step in sizes])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """How real each patch looks, and what the layers before saw."""
        seen = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.2)
            seen.append(x)
        return self.layers[-1](x).float(), seen


def masks(batch: Triples) -> Masks:
    """Where the costs look."""
    source, target = batch.source_points, batch.target_points
    face = torch.maximum(heat(target, ALL_POINTS, 8.0), heat(source, ALL_POINTS, 8.0))
    return Masks(enlarged(face, 4), enlarged(heat(target, LIPS, 4.0), 4), inner_mask(target))


def inner_mask(points: Tensor) -> Tensor:
    """(n, 1, 160, 160): 1 inside the inner lips, soft over about a pixel."""
    filled = np.zeros((len(points), 1, SIDE, SIDE), np.float32)
    for mask, lips in zip(filled[:, 0], points[:, INNER].cpu().numpy(), strict=True):
        area = cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [_sixteenths(lips)], 255, cv2.LINE_8, 4)
        mask[:] = cv2.GaussianBlur(area, (3, 3), 0) / 255
    return torch.from_numpy(filled).to(points.device)


def _sixteenths(line: np.typing.NDArray[np.float32]) -> np.typing.NDArray[np.int32]:
    """Points in 1/16 px, counted from a pixel's middle, as OpenCV wants them."""
    return np.round((line - 0.5) * 16).astype(np.int32)


def fit(reference: Tensor, target: Tensor) -> Tensor:
    """(n, 1, 1, 1) 0..1: how likely the reference shows what the target does: as open, and of like form."""
    lips, wanted = (points[:, INNER] - points[:, INNER].mean(1, keepdim=True) for points in (reference, target))
    apart = (lips - wanted).norm(dim=-1).mean(1)
    open_enough = (gap(reference) / gap(target).clamp(min=1)).clamp(max=1)
    return (open_enough * torch.exp(-((apart / SHAPE_PX) ** 2)))[:, None, None, None]


def edge_energy(x: Tensor) -> Tensor:
    """(n, 1, 39, 39) local mean of the Laplacian's size: how much detail there is, wherever exactly it lies."""
    grey = x.mean(1, keepdim=True)
    middle = grey[..., 1:-1, 1:-1]
    beside = grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1] + grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:]
    return F.avg_pool2d((4 * middle - beside).abs(), EDGE_CELL, EDGE_STEP)


def edge_cells(mask: Tensor) -> Tensor:
    """A mask on the grid of `edge_energy`."""
    return F.avg_pool2d(mask, EDGE_CELL, EDGE_STEP)[..., :39, :39]


def steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """From each pixel to the next one, along x and along y."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def mouth_crops(pictures: Tensor, target_points: Tensor) -> Tensor:
    """(n, 3, 64, 64) around the middle of the lips."""
    middle = target_points[:, :20].mean(1)
    line = torch.arange(CRITIC_SIDE, device=pictures.device) - (CRITIC_SIDE - 1) / 2
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    at = (torch.stack([columns, rows], -1)[None] + middle[:, None, None]) * 2 / SIDE - 1
    return F.grid_sample(pictures, at, padding_mode="border", align_corners=False)


def picture_costs(batch: Triples, answer: Answer, softer: int, colour_cost: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The picture (n, 3, 160, 160) as it will be seen, and the costs by name; their sum is to become small.

    The network's own colour is seen `softer` times softer than it is, as it is on a face so much wider than the crop:
    detail has to come from the reference, and where that fits, colour costs extra.
    """
    soft = answer._replace(rgb=enlarged(F.avg_pool2d(answer.rgb, softer), softer))
    picture, fitted = compose(batch.source, batch.reference, soft)
    where, target = masks(batch), batch.target
    fits = fit(batch.reference_points, batch.target_points)
    inner, mouth = where.inner, where.mouth
    drawn = answer.weights.sum(1, keepdim=True)
    share = drawn.detach() * answer.weights[:, :1] / (drawn + 1e-4)  # what counts is colour's share of what is drawn
    less = 0.02 * (drawn * (1 - mouth)).mean() + 0.002 * drawn.mean()
    costs = {
        "picture": _unlike(picture, target, where.face + 3 * mouth * (1 - 0.5 * inner * fits) + 0.03),
        "colour": 0.3 * (mouth * (answer.rgb - target).abs()).mean() + 0.2 * _steps_apart(answer.rgb, target, mouth),
        "reference": 0.3 * (inner * (fitted - target).abs()).mean(),
        "share": colour_cost * (inner * fits * share).mean(),
        "detail": 4 * (edge_cells(inner) * (edge_energy(picture) - edge_energy(target)).abs()).mean(),
        "tidy": less + 0.001 * sum(step.abs().mean() for step in steps(answer.residual)),
    }
    return picture, costs


def _unlike(picture: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Of px, of the steps between them, and of means over 2, 4 and 8 px."""
    cost = (weight * (picture - target).abs()).mean() + 0.7 * _steps_apart(picture, target, weight)
    for size in (2, 4, 8):
        means = (F.avg_pool2d(picture, size) - F.avg_pool2d(target, size)).abs()
        cost = cost + 0.5 * (F.avg_pool2d(weight, size) * means).mean()
    return cost


def _steps_apart(picture: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    along = steps(picture - target)
    return sum((weight[..., : d.shape[-2], : d.shape[-1]] * d.abs()).mean() for d in along)
