"""The face network of dh-base, version 2: what it takes, what it gives, and how its answer becomes a picture.

Crops are (n, 3, 160, 160) RGB 0..1, points (n, 106, 2) crop px. A flow is crop px from a pixel of the target to the one
it is taken from. A *reference* is another frame of the same person whose lips stand about as wanted. The picture is

    (1 - w_colour - w_reference) * source under flow
    + w_colour * rgb
    + w_reference * (reference under reference_flow + light)

All of it scales up: at the video's own resolution the skin comes from the frame's pixels and the teeth from the
reference's; the network's colour shows only what neither of them has. `light` is the low frequencies of `rgb` less the
reference's, so that the teeth have the light of the scene.

The code keeps to what ONNX Runtime is quick at: sizes are fixed, and what is separable is computed by rows and columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 160
POINTS = 106
INNER_LOWER, INNER_UPPER = 25, 35
"""Rows of the points: the middle of the inner lips."""
GROUPS = ((0, 20), (20, 40), (40, 57))
"""Rows of the points: outer lips, inner lips, line of the jaw."""
WIDTHS = (24, 64, 112, 160)
"""Channels at 80, 40, 20 and 10 px."""
COARSE, QUARTER = 20, 40
"""Cells of the coarse flow and of the point maps along a side."""
BELL_PX, BELL_LEAST = 7.0, 0.15
"""Of the coarse flow: sigma of the bell around each point, and the weight of no movement."""
HEAT_PX = 2.5
FLOW_SCALE = 4.0
"""Crop px of one unit of the last layer."""
LEAST_GAP, FULL_GAP = 0.3, 0.6
"""Gap between the reference's lips against the wanted one: not trusted below the first, fully above the second."""
SLOPE = 0.1
"""Of the leaky ReLU."""


class Answer(NamedTuple):
    """What the network gives; all but `residual` are outputs of face.onnx."""

    flow: Tensor  # (n, 2, 160, 160) crop px, target to source
    reference_flow: Tensor  # (n, 2, 160, 160) crop px, target to reference
    rgb: Tensor  # (n, 3, 160, 160) 0..1
    weights: Tensor  # (n, 2, 160, 160) 0..1, of the colour and of the reference; their sum is at most 1
    light: Tensor  # (n, 3, 40, 40) to add to the reference
    residual: Tensor  # (n, 4, 40, 40) crop px, the learned part of both flows


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.c2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        same = inputs == outputs and stride == 1
        self.sk = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.c2(F.leaky_relu(self.c1(x), SLOPE)) + self.sk(x), SLOPE)


def middles(cells: int, like: Tensor) -> Tensor:
    """(cells,) crop px of the middles of `cells` cells along a side."""
    return (torch.arange(cells, device=like.device, dtype=like.dtype) + 0.5) * (SIDE / cells)


def bells(points: Tensor, cells: int, sigma: float) -> tuple[Tensor, Tensor]:
    """(n, k, cells) each: a Gaussian of the distance from each point, along x and along y."""
    distance_x, distance_y = (middles(cells, points) - points[..., axis : axis + 1] for axis in (0, 1))
    scale = -1 / (2 * sigma**2)
    return torch.exp(distance_x * distance_x * scale), torch.exp(distance_y * distance_y * scale)


def coarse_flows(starts: list[Tensor], target: Tensor) -> Tensor:
    """(n, 2 * k, 20, 20) crop px: from target points to each of k sets of points, 0 far away from them all.

    A mean of the points' shifts, weighted by a Gaussian of the distance, which is a product of one of x and one of y.
    """
    bell_x, bell_y = bells(target, COARSE, BELL_PX)
    rows = bell_y.transpose(1, 2)
    weight = rows @ bell_x + BELL_LEAST
    planes = []
    for start in starts:
        shift = start - target
        planes += [rows @ (bell_x * shift[..., axis : axis + 1]) / weight for axis in (0, 1)]
    return torch.stack(planes, 1)


def heat(points: Tensor, groups: tuple[tuple[int, int], ...] = GROUPS, sigma: float = HEAT_PX) -> Tensor:
    """(n, groups, 40, 40), 0..1: where the points of each group are."""
    bell_x, bell_y = bells(points, QUARTER, sigma)
    maps = [bell_y[:, first:last].transpose(1, 2) @ bell_x[:, first:last] for first, last in groups]
    return torch.stack(maps, 1).clamp(max=1.0)


def warp(image: Tensor, flow: Tensor, side: int = SIDE) -> Tensor:
    """The image (n, 3, side, side) looked up bilinearly at pixel + flow (n, 2, side, side), in its own px."""
    line = torch.arange(side, device=flow.device, dtype=flow.dtype) + 0.5
    across, down = line.expand(1, side), torch.zeros(1, side, device=flow.device, dtype=flow.dtype)
    x, y = torch.stack([across, down]), torch.stack([down, across]).transpose(1, 2)  # (2, 1, side), (2, side, 1)
    at = (flow + x + y) * (2 / side) - 1
    return F.grid_sample(image, at.permute(0, 2, 3, 1).to(image.dtype), padding_mode="border", align_corners=False)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Bilinear."""
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def low_pass(x: Tensor) -> Tensor:
    """(n, 3, 80, 80) -> (n, 3, 40, 40): means of 2 x 2, then 1 2 1 both ways, edges repeated: sigma 3.5 crop px."""
    line = torch.arange(QUARTER, device=x.device)
    take = torch.zeros(QUARTER, 2 * QUARTER, device=x.device)
    for step, share in ((-1, 0.125), (0, 0.25), (1, 0.125)):
        for half in (0, 1):
            take[line, 2 * (line + step).clamp(0, QUARTER - 1) + half] += share
    return take @ x @ take.T


def spread(weight: Tensor) -> Tensor:
    """Weights (o, 4 * i, 3, 3) for 2 x 2 px sorted into channels -> (o, i, 6, 6) for the px as they are, stride 2."""
    outputs, inputs, height, width = weight.shape
    split = weight.reshape(outputs, inputs // 4, 2, 2, height, width)
    return split.permute(0, 1, 4, 2, 5, 3).reshape(outputs, inputs // 4, 2 * height, 2 * width)


def gap(points: Tensor) -> Tensor:
    """(n,) crop px between the inner lips."""
    across = points[:, INNER_LOWER] - points[:, INNER_UPPER]
    return (across * across).sum(-1).sqrt()


def trust(reference: Tensor, target: Tensor) -> Tensor:
    """(n, 1, 1, 1): 1 where the reference's lips are about as far apart as wanted, 0 where they hide what is needed.

    So a person who never opens the mouth is drawn in the network's own colour, whatever the layers say.
    """
    ratio = (gap(reference) + 1) / (gap(target) + 1)
    return ((ratio - LEAST_GAP) / (FULL_GAP - LEAST_GAP)).clamp(0, 1)[:, None, None, None]


class FaceNetwork(nn.Module):
    """Source, reference and where the mouth is in both and should be -> flows, colour, weights, light."""

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        full, half, quarter, eighth = widths
        self.stem1 = nn.Conv2d(36, full, 3, 1, 1)  # source, moved source and moved reference, 2 x 2 px as channels
        self.stem2 = nn.Conv2d(4 * full + 13, half, 3, 1, 1)  # the same of what stem1 gives, and 13 maps
        self.e0, self.e1 = Block(half, half), Block(half, quarter, 2)
        self.e2, self.mid = Block(quarter, eighth, 2), Block(eighth, eighth)
        self.d1, self.d0 = Block(eighth + quarter, quarter), Block(quarter + half, half)
        self.up, self.fuse = nn.Conv2d(half, 128, 1), nn.Conv2d(32 + full, 48, 3, 1, 1)
        self.flow, self.out = nn.Conv2d(half, 4, 3, 1, 1), nn.Conv2d(48, 20, 3, 1, 1)
        self._begin()

    def _begin(self) -> None:
        """Only the coarse flows move the source, nothing is painted."""
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(self.flow.bias)
        nn.init.normal_(self.out.weight, 0, 0.02)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[12:16] = -2.0

    def forward(
        self,
        source: Tensor,
        reference: Tensor,
        source_points: Tensor,
        reference_points: Tensor,
        target_points: Tensor,
    ) -> Answer:
        with torch.no_grad():
            points = [some.float() for some in (source_points, reference_points, target_points)]
            far = enlarged(coarse_flows(points[:2], points[2]), SIDE // COARSE)
            pictures = torch.cat([source, warp(source, far[:, :2]), warp(reference, far[:, 2:])], 1)
        return self.answer(pictures, reference, *points)

    def answer(
        self, pictures: Tensor, reference: Tensor, sources: Tensor, references: Tensor, targets: Tensor
    ) -> Answer:
        """The part that face.onnx has; `pictures` are source, moved source and moved reference, (n, 9, 160, 160)."""
        with torch.no_grad():
            coarse = coarse_flows([sources, references], targets)
            far = enlarged(coarse, SIDE // COARSE)
            shown = enlarged(coarse, QUARTER // COARSE) / 10
            maps = torch.cat([shown[:, :2], heat(sources), heat(targets), shown[:, 2:], heat(references)], 1)
        residual, painted = self._layers(pictures, maps)
        flows, rgb = far + enlarged(residual, SIDE // QUARTER), painted[:, :3]
        smooth = F.avg_pool2d(
            painted[:, 3:5], 3, 1, 1, count_include_pad=False
        )  # the pixel shuffle would show as a mesh
        new, shared = smooth[:, :1], smooth[:, 1:] * trust(references, targets)
        weights = torch.cat([new * (1 - shared), new * shared], 1)
        half = warp(F.avg_pool2d(reference.float(), 2), F.avg_pool2d(flows[:, 2:], 2) / 2, SIDE // 2)
        light = low_pass(F.avg_pool2d(rgb, 2) - half)  # low frequencies need no more than half the px
        return Answer(flows[:, :2], flows[:, 2:], rgb, weights, light, residual)

    def _layers(self, pictures: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, 9, 160, 160), maps (n, 13, 40, 40) -> residual flows, and (n, 5, 160, 160) 0..1."""
        first = F.conv2d(pictures, spread(self.stem1.weight), self.stem1.bias, 2, 2)
        detail = F.leaky_relu(first, SLOPE)
        shuffled = 4 * self.stem1.out_channels
        of_detail, of_maps = self.stem2.weight[:, :shuffled], self.stem2.weight[:, shuffled:]
        a = F.conv2d(detail, spread(of_detail), self.stem2.bias, 2, 2)
        a = a + F.conv2d(maps.to(detail.dtype), of_maps, None, 1, 1)
        a = self.e0(F.leaky_relu(a, SLOPE))
        b = self.e1(a)
        c = self.mid(self.e2(b))
        b = self.d1(torch.cat([doubled(c), b], 1))
        a = self.d0(torch.cat([doubled(b), a], 1))
        fused = F.leaky_relu(self.fuse(torch.cat([F.pixel_shuffle(self.up(a), 2), detail], 1)), SLOPE)
        painted = torch.sigmoid(F.pixel_shuffle(self.out(fused).float(), 2))
        return self.flow(a).float() * FLOW_SCALE, painted


def compose(source: Tensor, reference: Tensor, answer: Answer) -> tuple[Tensor, Tensor]:
    """(n, 3, 160, 160) each: the picture, and the reference's part of it alone."""
    fitted = warp(reference, answer.reference_flow) + enlarged(answer.light, SIDE // QUARTER)
    colour, shared = answer.weights[:, :1], answer.weights[:, 1:]
    picture = (1 - colour - shared) * warp(source, answer.flow) + colour * answer.rgb + shared * fitted
    return picture, fitted
