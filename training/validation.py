"""How the face network does on the clips that it never saw, at 160 px."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import torch
from torch import Tensor, nn
from training.costs import edge_cells, edge_energy, masks
from training.face_network import SIDE, Answer, FaceNetwork, coarse_flows, compose, enlarged, warp
from training.pack import Clip
from training.pairs import Pool, Triples

BATCHES, BATCH = 6, 16
SEED = 7
SHOWN = 10
LEAST_INSIDE = 80
"""px from which a mouth counts as open."""
PICTURE = "held_out.png"


class Judged(Protocol):
    """What has weights to validate."""

    ema: dict[str, Tensor]
    step: int

    def answer(self, network: nn.Module, batch: Triples) -> Answer: ...


class Validation:
    """The same triples each time."""

    def __init__(self, clips: Sequence[Clip], device: torch.device) -> None:
        self._batches: list[Triples] = []
        if clips:
            pool = Pool(clips, device, SEED, same=0)
            self._batches = [pool.triples(pool.choose(BATCH)) for _ in range(BATCHES)]
        self._device = device

    def line(self, trainer: Judged, run: Path) -> str:
        """The figures, in words; draws PICTURE into `run`."""
        if not self._batches:
            return f"step {trainer.step}  no clip is held out"
        network = FaceNetwork().to(self._device, memory_format=torch.channels_last).eval()
        network.load_state_dict(trainer.ema)
        mouths, insides = [], []
        with torch.no_grad():
            for number, batch in enumerate(self._batches):
                answer = trainer.answer(network, batch)
                picture, fitted = compose(batch.source, batch.reference, answer)
                mouths.append(_mouth(batch, picture))
                insides.append(_inside(batch, picture, answer))
                if not number:
                    _draw(run / PICTURE, batch, [picture, fitted, answer.rgb, _shares(answer)])
        mouth, inside = torch.cat(mouths).mean(0).tolist(), torch.cat(insides).mean(0).tolist()
        return (
            f"step {trainer.step}  held out: mouth {mouth[0]:.2f} dB (source {mouth[1]:.2f}, coarse {mouth[2]:.2f})  "
            f"inside {inside[0]:.2f} dB, detail {inside[1]:.2f}, reference {inside[2]:.2f}"
        )


def psnr(one: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """(n,) dB within a mask (n, 1, 160, 160)."""
    error = (mask * (one - other) ** 2).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)))
    return -10 * torch.log10(error)


def _mouth(batch: Triples, picture: Tensor) -> Tensor:
    """(n, 3) dB of the answer, of the source as it is, and under the coarse flow alone."""
    coarse = coarse_flows([batch.source_points], batch.target_points)
    moved = warp(batch.source, enlarged(coarse, SIDE // coarse.shape[-1]))
    mouth = masks(batch).mouth
    return torch.stack([psnr(x, batch.target, mouth) for x in (picture, batch.source, moved)], 1)


def _inside(batch: Triples, picture: Tensor, answer: Answer) -> Tensor:
    """(k, 3) of the open mouths: dB, detail against the real one, share of the reference."""
    inner = masks(batch).inner
    area = inner.sum((1, 2, 3))
    cells = edge_cells(inner)
    detail, real = ((cells * edge_energy(x)).sum((1, 2, 3)) for x in (picture, batch.target))
    share = (inner * answer.weights[:, 1:]).sum((1, 2, 3)) / area.clamp(min=1)
    figures = torch.stack([psnr(picture, batch.target, inner), detail / real.clamp(min=1e-6), share], 1)
    return figures[area > LEAST_INSIDE]


def _shares(answer: Answer) -> Tensor:
    """The weights as a picture: red for the colour, green for the reference."""
    return torch.cat([answer.weights, torch.zeros_like(answer.weights[:, :1])], 1)


def _draw(path: Path, batch: Triples, answers: list[Tensor]) -> None:
    columns = [batch.source, batch.reference, batch.target, *answers]
    rows = [torch.cat([column[k] for column in columns], -1) for k in range(SHOWN)]
    sheet = (torch.cat(rows, -2).clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
