"""Train the face network on a face pack, on a CPU or with CUDA.

    python -m training.train_face PACK RUN --minutes 30 --begin models/dh-base/face.onnx
    python -m training.train_face PACK RUN --minutes 30 --resume RUN/checkpoint.pt

RUN gets checkpoint.pt (net, ema, critic, step), optimiser.pt, which a resumed run takes from beside its checkpoint, and
held_out.png: source, reference, target, answer, the reference's part, colour, weights. A line a minute tells the costs,
and one at each checkpoint how the held-out clips do: PSNR of the mouth, of the answer, the source and the coarse flow;
PSNR and detail (answer / real) inside open lips, and the reference's share there. Beside other work, run it under
`nice -n 19` with OMP_WAIT_POLICY=PASSIVE: on shared cores, threads that wait by spinning make a step ten times as long.
"""

from __future__ import annotations

import argparse
import math
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from training.costs import Critic, mouth_crops, picture_costs
from training.face_network import Answer, FaceNetwork
from training.pack import held_out, load_faces
from training.pairs import I64, Pool, Triples, augmented, mirrored_rows
from training.validation import Validation
from training.weights import weights_of

MODEL = Path(__file__).parents[1] / "models/dh-base"
KEPT = "checkpoint", "optimiser"
EMA = 0.998
CRITIC_RATE, CRITIC_AHEAD = 2e-4, 200
"""Its learning rate, and the steps for which it learns before it is heard."""
WARM_STEPS, RESUMED_STEPS = 100, 20
"""Over which the learning rate rises."""
LAST_RATE = 0.05
"""Of the learning rate, at the schedule's end."""
MINUTE = 60.0
AHEAD = 32
"""Batches chosen while the network learns."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train."""

    minutes: float
    schedule_minutes: float
    elapsed_minutes: float
    checkpoint_minutes: float
    batch: int
    rate: float
    critic_from: int
    colour_cost: float
    bf16: bool


class Trainer:
    """The network, its critic, and what both have learned."""

    def __init__(self, plan: Plan, device: torch.device, mirror: Tensor) -> None:
        self._plan, self._device, self._mirror = plan, device, mirror
        self._random = torch.Generator(device=device)
        self._random.manual_seed(time.time_ns() % 2**31)
        self.net: Any = FaceNetwork().to(device, memory_format=torch.channels_last)
        self._critic: Any = Critic().to(device, memory_format=torch.channels_last)
        self._learn = torch.optim.AdamW(self.net.parameters(), plan.rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self._learn_critic = torch.optim.Adam(self._critic.parameters(), CRITIC_RATE, betas=(0.5, 0.99))
        self.ema = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
        self.step = self._first = 0
        self._warm = WARM_STEPS

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint."""
        kept = torch.load(checkpoint, map_location=self._device, weights_only=True)
        self.net.load_state_dict(kept["net"])
        self._critic.load_state_dict(kept["critic"])
        self.ema, self.step = dict(kept["ema"]), kept["step"]
        self._first, self._warm = self.step, RESUMED_STEPS
        beside = checkpoint.with_name("optimiser.pt")
        if beside.exists():
            states = torch.load(beside, map_location=self._device, weights_only=True)
            self._learn.load_state_dict(states["net"])
            self._learn_critic.load_state_dict(states["critic"])

    def begin(self, network: Path) -> None:
        """Start from the weights of a face.onnx; the critic starts from nothing."""
        self.net.load_state_dict({name: torch.from_numpy(value) for name, value in weights_of(network).items()})
        self.ema = {name: value.detach().clone() for name, value in self.net.state_dict().items()}

    def save(self, run: Path) -> None:
        """Both files, each replaced only when it is whole."""
        net, critic = self.net.state_dict(), self._critic.state_dict()
        states = (
            {"net": net, "ema": self.ema, "critic": critic, "step": self.step},
            {"net": self._learn.state_dict(), "critic": self._learn_critic.state_dict()},
        )
        for name, state in zip(KEPT, states, strict=True):
            part = run / f"{name}.part"
            torch.save(state, part)
            part.rename(run / f"{name}.pt")

    def one_step(self, batch: Triples, minutes: float) -> dict[str, float]:
        """Learn from one batch; the costs by name."""
        self._set_rate(minutes)
        batch = augmented(batch, self._mirror, self._random)
        answer = self.answer(self.net, batch)
        softer = 2 if self.step % 2 else 4
        picture, costs = picture_costs(batch, answer, softer, self._plan.colour_cost)
        loss = 10 * sum(costs.values())
        fake, real = (mouth_crops(x, batch.target_points) for x in (picture, batch.target))
        if self.step >= self._plan.critic_from:
            loss = loss + self._critic_cost(fake, real)
        self._learn.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self._learn.step()
        if self.step >= self._plan.critic_from - CRITIC_AHEAD:
            self._teach_critic(fake.detach(), real)
        self._smooth()
        self.step += 1
        return {name: cost.item() for name, cost in costs.items()}

    def answer(self, network: nn.Module, batch: Triples) -> Answer:
        """What a network says to a batch."""
        last = torch.channels_last
        source, reference = (x.contiguous(memory_format=last) for x in (batch.source, batch.reference))
        with self._narrow():
            said: Answer = network(source, reference, batch.source_points, batch.reference_points, batch.target_points)
        return said

    def _critic_cost(self, fake: Tensor, real: Tensor) -> Tensor:
        """Lower where the critic takes the mouths for real, and sees in them what it sees in real ones."""
        with self._narrow():
            judged, seen = self._critic(fake)
            with torch.no_grad():
                _, wanted = self._critic(real)
        alike = sum((a.float() - b.float()).abs().mean() for a, b in zip(seen, wanted, strict=True))
        return 0.5 * alike - 0.05 * judged.mean()

    def _teach_critic(self, fake: Tensor, real: Tensor) -> None:
        with self._narrow():
            on_fake, on_real = self._critic(fake)[0], self._critic(real)[0]
        cost = torch.relu(1 - on_real).mean() + torch.relu(1 + on_fake).mean()
        self._learn_critic.zero_grad(set_to_none=True)
        cost.backward()
        self._learn_critic.step()

    def _set_rate(self, minutes: float) -> None:
        """A cosine over the whole schedule, after a short rise."""
        plan = self._plan
        part = min(1.0, (plan.elapsed_minutes + minutes) / plan.schedule_minutes)
        falling = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * part))
        rising = min(1.0, (self.step - self._first + 1) / self._warm)
        for group in self._learn.param_groups:
            group["lr"] = plan.rate * rising * falling

    def _smooth(self) -> None:
        decay = min(EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                self.ema[name].lerp_(value, 1 - decay)

    def _narrow(self) -> Any:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._plan.bf16)


def chosen_ahead(pool: Pool, batch: int) -> Queue[I64]:
    """Batches, chosen by a thread that ends with the process."""
    queue: Queue[I64] = Queue(AHEAD)

    def fill() -> None:
        while True:
            queue.put(pool.choose(batch))

    threading.Thread(target=fill, name="choose", daemon=True).start()
    return queue


def train(trainer: Trainer, pool: Pool, validation: Validation, plan: Plan, run: Path) -> None:
    """Learn for `plan.minutes`; a line a minute, a checkpoint now and then and at the end."""
    queue = chosen_ahead(pool, plan.batch)
    began = told = saved = time.monotonic()
    sums: Counter[str] = Counter()
    count = 0
    print(validation.line(trainer, run), flush=True)
    while (minutes := (time.monotonic() - began) / MINUTE) < plan.minutes:
        sums.update(trainer.one_step(pool.triples(queue.get()), minutes))
        count += 1
        now = time.monotonic()
        if now - told > MINUTE:
            costs = "  ".join(f"{name} {value / count:.4f}" for name, value in sums.items())
            print(f"step {trainer.step}  {minutes:.1f} min  {(now - told) / count:.2f} s/step  {costs}", flush=True)
            told, count = now, 0
            sums.clear()
        if now - saved > MINUTE * plan.checkpoint_minutes:
            trainer.save(run)
            print(validation.line(trainer, run), flush=True)
            saved = now
    trainer.save(run)
    print(validation.line(trainer, run), flush=True)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", type=Path, help="a checkpoint")
    parser.add_argument("--begin", type=Path, help="a face.onnx whose weights are the first ones")
    parser.add_argument("--minutes", type=float, default=30, help="of this run")
    parser.add_argument(
        "--schedule-minutes", type=float, help="of all runs together: the learning rate falls over them"
    )
    parser.add_argument("--elapsed-minutes", type=float, default=0, help="how much of that earlier runs took")
    parser.add_argument("--checkpoint-minutes", type=float, default=10, help="between checkpoints")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-4, help="largest learning rate")
    parser.add_argument("--critic-from", type=int, default=300, help="step from which the critic is heard")
    parser.add_argument(
        "--colour-cost", type=float, default=0.8, help="of colour inside the lips, where the reference fits"
    )
    parser.add_argument(
        "--share", action="append", default=[], metavar="PREFIX=X", help="how often clips so named come"
    )
    parser.add_argument("--bf16", action="store_true", help="16-bit sums where the hardware is quick at them")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--geometry", type=Path, default=MODEL / "geometry.npz", help="of the model that gets the network"
    )
    return parser.parse_args(argv)


def share_of(name: str, shares: list[str]) -> float:
    """How often a clip comes, by the first rule PREFIX=X that fits its name; 1 where none does."""
    for prefix, share in (rule.split("=") for rule in shares):
        if name.startswith(prefix):
            return float(share)
    return 1.0


def main(argv: list[str] | None = None) -> None:
    """Read the pack, go on or begin, train."""
    asked = arguments(argv)
    torch.set_num_threads(asked.threads)
    cv2.setNumThreads(asked.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    asked.run.mkdir(parents=True, exist_ok=True)
    clips, back = load_faces(asked.pack), held_out(asked.pack)
    kept_back = [clip for name, clip in clips.items() if name in back]
    learned = {name: clip for name, clip in clips.items() if name not in back}
    with np.load(asked.geometry, allow_pickle=False) as geometry:
        mirror = torch.from_numpy(mirrored_rows(geometry["canonical"][geometry["mouth"]])).to(device)
    plan = Plan(
        asked.minutes,
        asked.schedule_minutes or asked.minutes,
        asked.elapsed_minutes,
        asked.checkpoint_minutes,
        asked.batch,
        asked.rate,
        asked.critic_from,
        asked.colour_cost,
        asked.bf16,
    )
    trainer = Trainer(plan, device, mirror)
    if asked.resume:
        trainer.resume(asked.resume)
    elif asked.begin:
        trainer.begin(asked.begin)
    pool = Pool(list(learned.values()), device, time.time_ns(), [share_of(name, asked.share) for name in learned])
    train(trainer, pool, Validation(kept_back, device), plan, asked.run)


if __name__ == "__main__":
    main()
